"""Structured logs: an event name plus fields, JSON lines on stderr (text on a terminal). Secrets are never fields."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import structlog

# Shown in front of a line or of no use to a person.
_HIDDEN_FIELDS = frozenset({"at", "timestamp", "event", "level", "part", "target", "message", "fields", "seq"})


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
        logger_factory=lambda *_args: _LineLogger(),
        cache_logger_on_first_use=False,
    )
    # The libraries' own words: only what is wrong, and what our handlers have said already not again.
    logging.basicConfig(level=logging.WARNING, handlers=[_ForwardingHandler()], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def write_line(line: str) -> None:
    """Writes one JSON line to stderr; on a terminal as text. What cannot be written is dropped: it ends nothing.

    A reader that went away is one reason for that, a full disk under the log another.
    """
    try:
        sys.stderr.write((for_people(line) if sys.stderr.isatty() else line) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def for_people(line: str) -> str:
    """One log line for a terminal: `12:00:00 control stream_created stream=main`."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    if not isinstance(fields, dict):
        return line
    inner = fields.get("fields")
    if isinstance(inner, dict):  # the engine's lines keep their fields apart
        fields = inner | fields
    words = [_local_time(fields.get("at") or fields.get("timestamp")), str(fields.get("part", "engine"))]
    if str(fields.get("level", "info")).lower() not in ("info", "debug", "trace"):
        words.append(str(fields["level"]).upper())
    words.append(str(fields.get("event") or fields.get("message") or ""))
    words += [f"{name}={value}" for name, value in fields.items() if name not in _HIDDEN_FIELDS and value is not None]
    return " ".join(word for word in words if word)


def _local_time(value: Any) -> str:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        moment = datetime.now(UTC)
    return moment.astimezone().strftime("%H:%M:%S")


class _LineLogger:
    def msg(self, message: str) -> None:
        write_line(message)

    debug = info = warning = error = critical = exception = log = msg


class _ForwardingHandler(logging.Handler):
    """Libraries log through the standard library; their lines take the same shape."""

    def emit(self, record: logging.LogRecord) -> None:
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        structlog.get_logger().log(
            record.levelno, "library_message", library=record.name, message=record.getMessage(), exc_info=exc_info
        )
