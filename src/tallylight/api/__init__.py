"""The control plane's HTTP side: a FastAPI application on a Unix socket behind the engine's front, and the internal listener."""
