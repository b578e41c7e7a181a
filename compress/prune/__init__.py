"""Structured pruning on the graph: what can be cut together, what matters, how much, and the smaller graph."""
