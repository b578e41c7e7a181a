"""edge-compress: takes a trained model to a device."""

__version__ = "0.1.0"
