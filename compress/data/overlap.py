"""Samples that two sets have in common."""

from compress.data.samples import SampleSet


def count_overlap(calibration: SampleSet, evaluation: SampleSet) -> int:
    """Return how many different evaluation samples, as they lie in their source, calibration has seen too."""
    return len(calibration.sample_digests() & evaluation.sample_digests())
