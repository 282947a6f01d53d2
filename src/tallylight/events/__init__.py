"""What happened on this server, the newest thousand events: the control plane's own and copies of the engine's."""

from tallylight.events.log import Event, EventLog, Reader

__all__ = ["Event", "EventLog", "Reader"]
