"""Playback tokens: signed by the control plane, verified by the engine alone (docs/engine-api.md). Pure."""

from datetime import datetime, timedelta

import jwt

from tallylight.db import Stream

AUDIENCE = "tallylight-playback"
MIN_TTL_S = 60
# A page asks for a new one when it opens; an hour bounds what a link that got around is worth.
DEFAULT_TTL_S = 3600
# For a link that was sent out before an event.
MAX_TTL_S = 7 * 24 * 3600


def sign(stream: Stream, now: datetime, ttl_s: int) -> tuple[str, datetime]:
    """A token that admits to this stream, and when it expires; a new playback key of the stream voids it before."""
    expires_at = (now + timedelta(seconds=ttl_s)).replace(microsecond=0)
    claims = {"sub": stream.name, "aud": AUDIENCE, "exp": int(expires_at.timestamp())}
    return jwt.encode(claims, stream.playback_key, algorithm="HS256"), expires_at
