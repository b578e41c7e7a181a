"""Samples: where they come from, how they are transformed, how they fit a model, how outputs are scored."""
