"""Where a quantized model loses its accuracy: layer by layer, weights or activations, and which channels."""
