"""The only code that talks to the media engine: its HTTP API on a Unix socket, and its stream of events."""
