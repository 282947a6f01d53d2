"""Tallylight: the control plane, supervisor and command line around the media engine."""

__version__ = "0.1.0"
