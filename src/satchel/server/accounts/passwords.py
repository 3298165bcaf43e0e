"""Passwords and their hash. Invariant: a password's length is bounded before any work is done.

Argon2id with the library's parameters (RFC 9106, low memory). Hashing runs on two threads: it takes 64 MiB and tens of
milliseconds each time, and neither the loop nor the machine's memory is given to guessers.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2

from satchel.core.errors import LimitExceeded, MessageInvalid, TooManyRequests
from satchel.core.limits import PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN

T = TypeVar("T")

HASHES_AT_ONCE_MAX = 2
HASHES_WAITING_MAX = 64

NO_PASSWORD = "none"
"""What stands in place of a hash where an account has no password."""

_hasher = argon2.PasswordHasher()
_threads = ThreadPoolExecutor(HASHES_AT_ONCE_MAX, thread_name_prefix="satchel-passwords")
_waiting = 0


def check_new_password(password: str) -> None:
    """Accept a password that may be set. Raises: MessageInvalid (too short), LimitExceeded."""
    check_password_size(password)
    if len(password) < PASSWORD_CHARS_MIN:
        raise MessageInvalid(f"A password has at least {PASSWORD_CHARS_MIN} characters.", reason="password_short")


def check_password_size(password: str) -> None:
    """Accept a password that may be hashed. Raises: LimitExceeded."""
    # The count of characters comes first, so that even the encoding of a huge text is not done.
    size = len(password) if len(password) > PASSWORD_BYTES_MAX else len(password.encode(errors="surrogatepass"))
    if size > PASSWORD_BYTES_MAX:
        raise LimitExceeded(
            "The password is too long.", limit="PASSWORD_BYTES_MAX", maximum=PASSWORD_BYTES_MAX, actual=size
        )


def is_password(stored: str) -> bool:
    """Tell whether what is stored is a password's hash: whether the account has a password."""
    return stored.startswith("$argon2")


async def hash_password(password: str) -> str:
    """Return the Argon2id text that is stored. Raises: LimitExceeded, TooManyRequests."""
    check_password_size(password)
    return await _in_thread(lambda: _hasher.hash(password.encode(errors="surrogatepass")))


async def matches(password: str, stored: str | None) -> bool:
    """Tell whether the password is the stored one; for an account that does not exist (None) the work is the same.

    Raises: LimitExceeded, TooManyRequests.
    """
    check_password_size(password)
    return await _in_thread(lambda: _verify(password, stored))


def _verify(password: str, stored: str | None) -> bool:
    # An account without a password holds a text that is no hash: for a guesser it is like any other.
    known = stored if stored is not None and is_password(stored) else None
    try:
        _hasher.verify(known or _nobody(), password.encode(errors="surrogatepass"))
    except argon2.exceptions.VerificationError:
        return False
    return known is not None


@functools.cache
def _nobody() -> str:
    """A hash like any other, for names that have none."""
    return _hasher.hash(b"nobody has this password")


async def _in_thread(work: Callable[[], T]) -> T:
    global _waiting
    if _waiting >= HASHES_WAITING_MAX:
        raise TooManyRequests("Too many sign-ins at once.", retry_after_s=1)
    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, work)
    finally:
        _waiting -= 1
