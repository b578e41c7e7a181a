"""Measuring: accuracy and fidelity on the engine itself, latency interleaved with the original, the machine's facts."""
