"""Passwords as argon2id hashes, computed off the event loop and few at a time."""

import asyncio
import base64
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from tallylight.errors import TallylightError

# Each takes 64 MiB and some 50 ms on a few cores (RFC 9106 section 4, second recommended option).
AT_ONCE = 2
# Two seconds of work; whoever comes later is told to try again instead of being kept waiting.
MAX_WAITING = 32

MIN_CHARACTERS = 8  # OWASP ASVS 5.0, 6.2.1
MAX_CHARACTERS = 256
# 128 bits, when nobody chose a password.
GENERATED_BYTES = 16

Result = TypeVar("Result")


class BusyError(TallylightError):
    """Too many passwords are being checked."""

    def __init__(self) -> None:
        super().__init__("server_busy", "Too many people are signing in at the moment.", "Try again in a second.")


def new_password() -> str:
    """A password that nobody has to invent."""
    return secrets.token_urlsafe(GENERATED_BYTES)


class Passwords:
    """Hashes and checks passwords. Raises BusyError when too many are waiting."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._pool = ThreadPoolExecutor(AT_ONCE, "passwords")
        self._waiting = 0
        self._nobodys = _hash_of_nothing(self._hasher)

    async def hash(self, password: str) -> str:
        """What the database keeps of a password."""
        return await self._run(partial(self._hasher.hash, password))

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether this is the password; without a hash (there is no such user) it takes as long, and is not."""
        verified = await self._run(partial(self._verify, password, password_hash or self._nobodys))
        return verified and password_hash is not None

    def outdated(self, password_hash: str) -> bool:
        """The hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._waiting >= AT_ONCE + MAX_WAITING:
            raise BusyError
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def _verify(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False


def _hash_of_nothing(hasher: PasswordHasher) -> str:
    """A hash with the same parameters that no password has: its digest is all zeros."""
    parameters = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = (
        base64.b64encode(bytes(length)).rstrip(b"=").decode() for length in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v=19${parameters}${salt}${digest}"
