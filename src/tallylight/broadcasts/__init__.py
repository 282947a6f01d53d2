"""Broadcasts: each time on air of a stream, from its first media to its end."""
