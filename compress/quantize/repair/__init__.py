"""Repair of INT8 without training: weights, scales and biases are changed so that quantization costs less."""
