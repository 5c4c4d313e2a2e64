"""The operator's console for a federation of hospitals."""

__version__ = "0.1.0"
