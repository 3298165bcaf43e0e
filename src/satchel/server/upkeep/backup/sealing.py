"""Files that show every change made to them, encrypted unless that was refused. Invariant: a part that opens is the
part that was sealed under this name, at this place, in this file, and the last one is known to be the last.

The cipher is ChaCha20-Poly1305: as fast without special instructions, and in constant time everywhere. Every file has a
key of its own, made of the repository's master key, a random salt and the file's name; so no two parts ever share a key
and a nonce, and a file that stands under another's name does not open. Parts are numbered and the last one is marked in
their nonces (the STREAM construction), so none can be swapped, repeated, dropped or cut off.

The master key is random and stands in the key file, wrapped by a key that Argon2id makes of the passphrase. Without
encryption the same frame holds a keyed BLAKE2b digest: it finds damage, and hides and proves nothing.
Source: docs/design/060 (13), Hoang et al., "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance".
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol

import msgspec

from satchel.core.errors import SettingInvalid, StorageFailed, VersionUnsupported
from satchel.server.ports import Clock

MAGIC = b"SBF1"
KEY_BYTES = SALT_BYTES = 32
TAG_BYTES = 16
_FRAME = struct.Struct(">IB")
"""Before each part: its length as sealed, and 1 for the last."""

Encryption = Literal["chacha20-poly1305", "none"]


class KeyCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a guess of the passphrase costs (Argon2id): memory, passes over it, lanes."""

    memory_kib: int = 64 * 1024
    passes: int = 3
    lanes: int = 4


MEMORY_KIB_MAX, PASSES_MAX, LANES_MAX = 1024 * 1024, 64, 64
"""A key file that asks for more is not ours."""


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in the key file. repository: hex id; salt, nonce, wrapped: hex; checksum: of all the rest."""

    repository: str
    encryption: Encryption
    cost: KeyCost = KeyCost()
    salt: str = ""
    nonce: str = ""
    wrapped: str = ""
    checksum: str = ""
    version: int = 1

    def summed(self) -> KeyFile:
        """Return it with its checksum."""
        bare = msgspec.structs.replace(self, checksum="")
        return msgspec.structs.replace(bare, checksum=hashlib.sha256(msgspec.json.encode(bare)).hexdigest())

    def as_bytes(self) -> bytes:
        """Return what stands in the file: JSON for people, and no other spelling of it is taken."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


class _Cipher(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...


class _Wrong(Exception):
    """A part does not open."""


class _Digest:
    """The frame of a cipher without secrecy."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        return data + self._tag(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        body, tag = data[:-TAG_BYTES], data[-TAG_BYTES:]
        if tag != self._tag(nonce, body, associated_data):
            raise _Wrong
        return body

    def _tag(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        digest = hashlib.blake2b(nonce, digest_size=TAG_BYTES, key=self._key)
        digest.update(associated_data)
        digest.update(data)
        return digest.digest()


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a repository. master: 32 bytes, never shown."""

    repository: bytes
    encryption: Encryption
    master: bytes

    def __repr__(self) -> str:
        return f"Keys({self.repository.hex()}, {self.encryption})"

    def cipher(self, name: str, salt: bytes) -> _Cipher:
        """Return what seals and opens the parts of one file."""
        text = b"satchel backup file\0" + salt + name.encode()
        return _cipher(self.encryption, hmac.digest(self.master, text, "sha256"))


def new_keys(clock: Clock, passphrase: str | None, cost: KeyCost | None = None) -> tuple[KeyFile, Keys]:
    """Return the key file and the keys of a new repository; without a passphrase it is not encrypted."""
    repository = clock.random(16)
    if passphrase is None:
        return KeyFile(repository.hex(), "none").summed(), Keys(repository, "none", _open_master(repository))
    master, salt, nonce, cost = clock.random(KEY_BYTES), clock.random(16), clock.random(12), cost or KeyCost()
    encryption: Encryption = "chacha20-poly1305"
    cipher = _cipher(encryption, _wrapping_key(passphrase, salt, cost))
    wrapped = cipher.encrypt(nonce, master, repository)
    file = KeyFile(repository.hex(), encryption, cost, salt.hex(), nonce.hex(), wrapped.hex())
    return file.summed(), Keys(repository, encryption, master)


def parse_key_file(raw: bytes, where: str) -> KeyFile:
    """Return the key file. Raises: StorageFailed for one that is damaged, VersionUnsupported."""
    try:
        file = msgspec.json.decode(raw, type=KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageFailed("The key file is damaged.", where=where, reason=str(error)) from error
    if file != file.summed() or raw != file.as_bytes():
        raise StorageFailed("The key file is damaged.", where=where, reason="checksum")
    if file.version != 1:
        raise VersionUnsupported(
            "The backup was written by a newer Satchel.", what="backup", found=file.version, known=1
        )
    cost = file.cost
    if not (8 <= cost.memory_kib <= MEMORY_KIB_MAX and 1 <= cost.passes <= PASSES_MAX and 1 <= cost.lanes <= LANES_MAX):
        raise StorageFailed("The key file is not one of Satchel's.", where=where, reason="cost")
    return file


def open_keys(file: KeyFile, passphrase: str | None) -> Keys:
    """Return the keys. Raises: SettingInvalid when the passphrase is wrong, missing, or one too many."""
    repository = bytes.fromhex(file.repository)
    if file.encryption == "none":
        if passphrase is not None:
            # Else whoever can write there could take the encryption off unseen.
            raise SettingInvalid(
                "This backup is not encrypted, and a passphrase was given.",
                setting="passphrase",
                reason="with --no-encryption it is used as it is",
            )
        return Keys(repository, "none", _open_master(repository))
    if passphrase is None:
        raise SettingInvalid(
            "This backup is encrypted.", setting="passphrase", reason="name its passphrase; --no-encryption is wrong"
        )
    cipher = _cipher(file.encryption, _wrapping_key(passphrase, bytes.fromhex(file.salt), file.cost))
    master = _opened(cipher, bytes.fromhex(file.nonce), bytes.fromhex(file.wrapped), repository)
    if master is None:
        raise SettingInvalid(
            "The passphrase is wrong.", setting="passphrase", reason="it does not open this backup's key"
        )
    return Keys(repository, file.encryption, master)


class Sealer:
    """Writes one sealed file, part by part. name: what the file is called in the repository, bound into its key."""

    def __init__(self, file: BinaryIO, keys: Keys, name: str, salt: bytes) -> None:
        """salt: 32 random bytes, never used before. Raises: OSError."""
        self._file = file
        self._cipher = keys.cipher(name, salt)
        self._held: bytes | None = None
        self._number = 0
        file.write(MAGIC + salt)

    def write(self, part: bytes) -> None:
        """Add a part. Raises: OSError."""
        if self._held is not None:
            self._seal(self._held, is_last=False)
        self._held = part

    def finish(self) -> None:
        """Write the last part, and mark it. Raises: OSError."""
        self._seal(self._held or b"", is_last=True)

    def _seal(self, part: bytes, *, is_last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, is_last), part, MAGIC)
        self._file.write(_FRAME.pack(len(sealed), is_last))
        self._file.write(sealed)
        self._number += 1


def parts_in(file: BinaryIO, size: int, keys: Keys, name: str) -> Iterator[bytes | None]:
    """Yield the parts of a sealed file of `size` bytes, None for each that does not open, as far as it can be read.

    A file that is cut short, or goes on after its end, yields None last. Raises: OSError.
    """
    head = file.read(len(MAGIC) + SALT_BYTES)
    if len(head) < len(MAGIC) + SALT_BYTES or not head.startswith(MAGIC):
        yield None
        return
    cipher = keys.cipher(name, head[len(MAGIC) :])
    number, is_last, left = 0, False, size - len(head)
    while not is_last and left >= _FRAME.size:
        length, flag = _FRAME.unpack(file.read(_FRAME.size))
        left -= _FRAME.size
        if not TAG_BYTES <= length <= left or flag > 1:
            yield None
            return
        is_last = bool(flag)
        yield _opened(cipher, _nonce(number, is_last), file.read(length), MAGIC)
        number += 1
        left -= length
    if not is_last or left:
        yield None


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


def _opened(cipher: _Cipher, nonce: bytes, sealed: bytes, bound: bytes) -> bytes | None:
    if isinstance(cipher, _Digest):
        try:
            return cipher.decrypt(nonce, sealed, bound)
        except _Wrong:
            return None
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(nonce, sealed, bound)
    except InvalidTag:
        return None


def _cipher(encryption: Encryption, key: bytes) -> _Cipher:
    if encryption == "none":
        return _Digest(key)
    # Loading it takes longer than most commands; a server that makes no backup never does.
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    cipher: _Cipher = ChaCha20Poly1305(key)
    return cipher


def _wrapping_key(passphrase: str, salt: bytes, cost: KeyCost) -> bytes:
    from argon2.low_level import Type, hash_secret_raw

    return hash_secret_raw(
        passphrase.encode(), salt, cost.passes, cost.memory_kib, cost.lanes, hash_len=KEY_BYTES, type=Type.ID
    )


def _open_master(repository: bytes) -> bytes:
    return hashlib.sha256(b"satchel backup, not encrypted\0" + repository).digest()
