"""float16 as explicit casts in the graph, where measured ranges allow it."""
