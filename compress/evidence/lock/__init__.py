"""``recipe.lock.toml``: a run with every default resolved, written beside its results, and the run that repeats it."""
