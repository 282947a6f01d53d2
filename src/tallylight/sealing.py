"""Secrets that are needed again: kept in the database encrypted, under a key in a file outside it."""

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallylight.errors import TallylightError
from tallylight.paths import write_private

KEY_BYTES = 32
# What AES-GCM is made for (NIST SP 800-38D section 8.2.2): random ones repeat only after billions of secrets.
NONCE_BYTES = 12


class SealError(TallylightError):
    """A secret cannot be read again."""


class Sealer:
    """Encrypts with AES-256-GCM. What was sealed for one context opens for no other, so rows cannot be swapped."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, secret: bytes, context: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises SealError (`secret_unreadable`): another key, another context, or altered."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError) as error:
            raise SealError(
                "secret_unreadable",
                "This secret was sealed with another key than that in the file secret-key.",
                "Put the old file back, or make a new secret.",
            ) from error


def load_sealing_key(path: Path) -> bytes:
    """Reads the key; makes one when there is none yet.

    Raises:
        SealError: `secret_key_invalid`. It is not replaced: everything that it sealed would be lost.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        key = os.urandom(KEY_BYTES)
        write_private(path, base64.b64encode(key).decode() + "\n")
        return key
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SealError(
            "secret_key_invalid",
            f"The file {path.name} in the data directory does not hold {KEY_BYTES} bytes in base64.",
            "Restore it from a copy; without it the secrets of webhooks must be made anew.",
        )
    return key
