"""Structured logs: JSON lines on stderr, one event name plus fields. Secrets are never fields."""

import logging
import sys
from typing import Any

import structlog


class _StderrLogger:
    """Writes lines to stderr; a reader that went away must not end the server."""

    def msg(self, message: str) -> None:
        try:
            sys.stderr.write(message + "\n")
            sys.stderr.flush()
        except (BrokenPipeError, ValueError):
            pass

    debug = info = warning = error = critical = exception = log = msg


def configure(part: str, level: int = logging.INFO) -> None:
    """Sets up logging for this process.

    Args:
        part: `supervisor` or `control`; goes into each line.
    """

    def add_part(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("part", part)
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            add_part,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(sort_keys=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_args: _StderrLogger(),
        cache_logger_on_first_use=True,
    )
