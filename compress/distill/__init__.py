"""Distillation: a student learns to give the outputs of its teacher on unlabelled samples."""
