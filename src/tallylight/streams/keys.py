"""Stream keys: random, shown once, kept only as a hash."""

import hashlib
import hmac
import secrets

# 128 bits cannot be guessed, so a plain SHA-256 protects a stolen database (OWASP ASVS 5.0, 6.5.2: from 112 bits on no
# slow hash is needed).
KEY_BYTES = 16


def new_key() -> str:
    """A new key: 32 hexadecimal digits, safe in any URL and in OBS's key field."""
    return secrets.token_hex(KEY_BYTES)


def hash_key(key: str) -> bytes:
    """What the database keeps of a key (32 bytes)."""
    return hashlib.sha256(key.encode()).digest()


def key_matches(key: str, key_hash: bytes) -> bool:
    """Compares in a time that tells nothing about the stored hash."""
    return hmac.compare_digest(hash_key(key), key_hash)
