"""The control plane's HTTP side: one application behind the engine's front, one for programs on this host."""
