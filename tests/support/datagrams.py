"""Datagrams in the shapes that share one WebRTC port (RFC 7983), of any length and of no value."""

from __future__ import annotations

import random
import struct

SHAPES = ("stun", "dtls", "rtp", "rtcp", "random")


def shaped(shape: str, length: int, rng: random.Random, *, ufrag: str = "abcd:efgh") -> bytes:
    """One datagram that begins like `shape` and is `length` bytes long, truncated where it must be."""
    body = rng.randbytes(length)
    head = {
        "stun": struct.pack(">HHI", 1, max(0, length - 20), 0x2112A442) + rng.randbytes(12) + _username(ufrag),
        "dtls": b"\x16\xfe\xfd" + bytes(8) + struct.pack(">H", max(0, length - 13)) + b"\x01" + rng.randbytes(11),
        "rtp": bytes([0x80 | rng.randrange(64), rng.choice((96, 102, 111, 127, 255))]) + rng.randbytes(10),
        "rtcp": bytes([0x80 | rng.randrange(32), rng.choice((200, 201, 202, 203, 205, 206, 207))]) + rng.randbytes(6),
        "random": b"",
    }[shape]
    return (head + body)[:length]


def _username(ufrag: str) -> bytes:
    value = ufrag.encode()
    padding = -len(value) % 4
    return struct.pack(">HH", 0x0006, len(value)) + value + bytes(padding)
