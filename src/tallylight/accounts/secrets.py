"""Session cookies and API tokens: random, and kept only as a hash by which they are found."""

import hashlib
import secrets

# 256 bits cannot be guessed, so a plain SHA-256 protects a stolen database (OWASP ASVS 5.0, 6.5.2).
SECRET_BYTES = 32
# So that people and secret scanners recognise a leaked one.
TOKEN_PREFIX = "tly_"  # noqa: S105 - a prefix is no secret
# Longer text was never handed out.
MAX_SECRET_CHARACTERS = 128


def new_session_secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


def new_token_secret() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def hash_secret(secret: str) -> bytes:
    """What the database keeps, and finds it by: the time of a look-up tells something about a hash, never a secret."""
    return hashlib.sha256(secret.encode()).digest()
