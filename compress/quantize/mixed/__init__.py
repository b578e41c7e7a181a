"""Mixed precision: which layers of a quantized graph stay float, found by measuring."""
