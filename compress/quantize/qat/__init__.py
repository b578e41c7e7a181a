"""Quantization-aware training: weights and scales of a quantized graph learn to imitate the original model."""
