"""Secrets sealed with a key that is not in the database. Invariant: a sealed secret opens with its key, for the row
that it was made for, unchanged, or not at all.

ChaCha20-Poly1305: one byte of form, four of the key's name, twelve of nonce, then the secret and its tag. What is as
short as a secret was stored before there was a key.
"""

from __future__ import annotations

import contextlib
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from satchel.core.errors import SettingInvalid
from satchel.server.ports import PLAIN_BYTES_MAX, Clock

KEY_BYTES = 32
FORM = b"\x01"
NAME_BYTES = 4
NONCE_BYTES = 12
FILE = "secrets.key"
EARLIER_SUFFIX = ".earlier"


class KeySealer:
    """`Sealer` over one key of 32 bytes."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        assert len(key) == KEY_BYTES
        self._cipher = ChaCha20Poly1305(key)
        self._head = FORM + hashlib.sha256(b"satchel secrets" + key).digest()[:NAME_BYTES]
        self._clock = clock

    def seal(self, plain: bytes, belongs_to: bytes) -> bytes:
        """As the port says."""
        assert len(plain) <= PLAIN_BYTES_MAX
        nonce = self._clock.random(NONCE_BYTES)
        return self._head + nonce + self._cipher.encrypt(nonce, plain, self._head + belongs_to)

    def unseal(self, stored: bytes, belongs_to: bytes) -> bytes | None:
        """As the port says."""
        if len(stored) <= PLAIN_BYTES_MAX:
            return stored
        head, rest = stored[: len(self._head)], stored[len(self._head) :]
        if head != self._head:
            return None
        try:
            return self._cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], self._head + belongs_to)
        except InvalidTag:
            return None


def key_of(text: str, setting: str) -> bytes:
    """Return the key that is written in hex. Raises: SettingInvalid."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingInvalid("This is no key.", setting=setting, reason=f"{2 * KEY_BYTES} hex digits")
    return key


def kept_key(folder: str) -> bytes | None:
    """Return the key of a data folder, None where there is none. Raises: SettingInvalid (it is no key), OSError."""
    path = os.path.join(folder, FILE)
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return key_of(file.read(4 * KEY_BYTES), path)
    except FileNotFoundError:
        return None


def key_in(folder: str, clock: Clock) -> bytes:
    """Return the key in the data folder, made now if there is none; readable by this user alone, and durable before it
    is used. The caller holds the folder. Raises: SettingInvalid (what stands there is no key), OSError."""
    if (kept := kept_key(folder)) is not None:
        return kept
    key = clock.random(KEY_BYTES)
    keep_key(folder, key)
    return key


def keep_key(folder: str, key: bytes) -> None:
    """Write the key into the data folder; another one that stands there is kept beside it. Raises: OSError."""
    path = os.path.join(folder, FILE)
    fresh = f"{path}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, key.hex().encode() + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, path + EARLIER_SUFFIX)
    os.rename(fresh, path)
    folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)
