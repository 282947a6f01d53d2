"""Streams and their keys: who exists, and who may publish."""
