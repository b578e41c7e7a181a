"""Learned rounding: the integers of a quantized graph are chosen by what blocks of it give, not one by one."""
