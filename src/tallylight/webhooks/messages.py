"""What is sent and how it is signed (Standard Webhooks 1.0). Pure."""

import base64
import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from tallylight.broadcasts.lifecycle import Happening

EventType = Literal[
    "broadcast.started", "broadcast.reconnecting", "broadcast.ended", "recording.ready", "health.changed"
]

# Of the server as a whole, so of no streamer's business.
SERVER_EVENTS: frozenset[EventType] = frozenset({"health.changed"})

# Asked for by its owner, so nobody subscribes to it.
TEST_EVENT = "webhook.test"

OF_HAPPENING: dict[Happening, EventType] = {
    Happening.STARTED: "broadcast.started",
    Happening.RECONNECTING: "broadcast.reconnecting",
    Happening.ENDED: "broadcast.ended",
}

# The standard asks for 24 to 64 bytes; this is the strength of the hash.
SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, no secret


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def secret_as_text(secret: bytes) -> str:
    """The form in which receivers' libraries take it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def new_message_id() -> str:
    """Names a message at every attempt, so that its receiver can tell a repetition."""
    return f"msg_{uuid.uuid4().hex}"


def body(event: str, happened_at: datetime, data: Mapping[str, Any]) -> str:
    """The JSON text that is signed and sent."""
    return json.dumps({"type": event, "timestamp": happened_at.isoformat(), "data": data}, separators=(",", ":"))


def signed_headers(message_id: str, sent_at: datetime, text: str, secret: bytes) -> dict[str, str]:
    """The headers by which a receiver knows who sent this, and when."""
    timestamp = str(int(sent_at.timestamp()))
    signature = hmac.digest(secret, f"{message_id}.{timestamp}.{text}".encode(), hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }
