"""A folder that holds backups: which files there are, and how one comes into being. Invariant: a file stands under its
name only when all of its bytes are on the disk; what is there is never written to again.

`keys.json` and `keys-copy.json` (the same twice: without it everything is lost), `backups/ID` (what a backup is; it
counts once this stands), `metadata/ID` (its rows), `blocks/XX/ID` (blocks, each once, for all backups) and
`blocks/XX/ID.names` (which). One process at a time writes there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from satchel.core.errors import AlreadyRunning, Fault, SettingInvalid, StorageFailed, StorageFull
from satchel.core.ids import uuid7
from satchel.server.folder import make_folder, sync_folder
from satchel.server.ports import Clock
from satchel.server.upkeep.backup.sealing import (
    SALT_BYTES,
    KeyCost,
    Keys,
    Sealer,
    new_keys,
    open_keys,
    parse_key_file,
    parts_in,
)

KEY_FILES = ("keys.json", "keys-copy.json")
BACKUPS, METADATA, BLOCKS = "backups", "metadata", "blocks"
NAMES_SUFFIX = ".names"
UNFINISHED = ".unfinished-"
LOCK = "lock"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OWN = frozenset({*KEY_FILES, BACKUPS, METADATA, BLOCKS, LOCK})


class Backup(msgspec.Struct, frozen=True):
    """What a backup is. backup_id, epoch: hex; schema: number of the newest migration; rows: by table; bytes as stored.

    damaged: blocks that the store could not give; metadata_bytes: length of the file of rows. secrets_key: the key that
    seals secrets in the database, hex; empty when there was none, or nothing hides it.
    """

    backup_id: str
    created_ms: int
    epoch: str
    schema: int
    program: str
    rows: dict[str, int]
    metadata_bytes: int
    files: int
    versions: int
    blocks: int
    stored_bytes: int
    damaged: int = 0
    secrets_key: str = ""

    def __repr__(self) -> str:
        return f"Backup({self.backup_id})"


@dataclass(frozen=True, slots=True)
class Secret:
    """How a repository is opened: a passphrase, or None where encryption was refused. cost: of a new one's key."""

    passphrase: str | None = field(repr=False)
    cost: KeyCost | None = None


class Repository:
    """An open repository. Its methods touch the disk: call them on a thread. Raises, all of them: StorageFull,
    StorageFailed.
    """

    def __init__(self, folder: str, keys: Keys, clock: Clock) -> None:
        self.folder = folder
        self.keys = keys
        self._clock = clock

    def new_id(self) -> bytes:
        """Return a fresh id that sorts by time."""
        return uuid7(self._clock.now_ms(), self._clock.random(10))

    def path(self, name: str) -> str:
        """Return where a file of the repository is."""
        return os.path.join(self.folder, name)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Sealer]:
        """Give a sealer for the file `name`; the file is there, and durable, when the block has ended well."""
        path = self.path(name)
        unfinished = os.path.join(os.path.dirname(path), UNFINISHED + os.path.basename(path))
        with translating(path):
            make_folder(os.path.dirname(path))
            with _removed_on_failure(unfinished), open(unfinished, "xb", opener=_private) as file:
                sealer = Sealer(file, self.keys, name, self._clock.random(SALT_BYTES))
                yield sealer
                sealer.finish()
                file.flush()
                os.fsync(file.fileno())
            os.rename(unfinished, path)
            sync_folder(os.path.dirname(path))

    def write_whole(self, name: str, data: bytes) -> None:
        """Write a file of one part."""
        with self.writing(name) as sealer:
            sealer.write(data)

    def parts(self, name: str) -> Iterator[bytes | None]:
        """Yield the parts of a file, None for each that is damaged; one None for a file that is not there."""
        path = self.path(name)
        with translating(path):
            try:
                file = open(path, "rb")  # noqa: SIM115 (closed below, when the caller has read enough)
            except FileNotFoundError:
                yield None
                return
            with file:
                yield from parts_in(file, os.fstat(file.fileno()).st_size, self.keys, name)

    def read_whole(self, name: str) -> bytes | None:
        """Return the one part of a file, None when it is missing or damaged."""
        parts = list(self.parts(name))
        return parts[0] if len(parts) == 1 else None

    def size(self, name: str) -> int:
        """Return a file's length, -1 when it is not there."""
        try:
            return os.stat(self.path(name)).st_size
        except FileNotFoundError:
            return -1

    def listed(self, folder: str) -> list[str]:
        """Return the names of the files in a folder of the repository, in order; unfinished ones left out."""
        with translating(self.path(folder)):
            try:
                found = os.listdir(self.path(folder))
            except FileNotFoundError:
                return []
        return sorted(f"{folder}/{name}" for name in found if not name.startswith(UNFINISHED))

    def backups(self) -> tuple[list[Backup], list[str]]:
        """Return the backups, oldest first, and the names of those whose own file is damaged."""
        found, damaged = [], []
        for name in self.listed(BACKUPS):
            raw = self.read_whole(name)
            try:
                found.append(msgspec.json.decode(raw or b"", type=Backup))
            except msgspec.DecodeError:
                damaged.append(name)
        return sorted(found, key=lambda one: (one.created_ms, one.backup_id)), damaged

    def sweep(self) -> None:
        """Remove what runs that were cut left unfinished, and their rows. The caller holds the lock."""
        for folder in (BACKUPS, METADATA, *self.block_folders()):
            with translating(self.path(folder)), contextlib.suppress(FileNotFoundError):
                for name in os.listdir(self.path(folder)):
                    is_left = folder == METADATA and self.size(f"{BACKUPS}/{name}") < 0
                    if is_left or name.startswith(UNFINISHED):
                        os.unlink(self.path(f"{folder}/{name}"))

    def block_folders(self) -> list[str]:
        """Return the folders that hold blocks."""
        return self.listed(BLOCKS)


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold a repository for writing. Raises: AlreadyRunning, StorageFailed."""
    with translating(folder):
        fd = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning("Another backup writes into this folder.", path=folder, pid="") from None
        yield
    finally:
        os.close(fd)


def make_repository(folder: str) -> None:
    """Make the folder, or take one that is empty or a repository. Raises: SettingInvalid, StorageFailed."""
    with translating(folder):
        make_folder(folder)
        strange = sorted(set(os.listdir(folder)) - _OWN)
    if strange and not is_repository(folder):
        raise SettingInvalid(
            "A backup needs a folder of its own.", setting="DEST", reason=f"{folder} holds other files: {strange[0]}"
        )


def is_repository(folder: str) -> bool:
    """Tell whether backups are there."""
    return any(os.path.exists(os.path.join(folder, name)) for name in KEY_FILES)


def open_repository(folder: str, secret: Secret, clock: Clock) -> Repository:
    """Open what is there; works on a folder that cannot be written. Raises: SettingInvalid, StorageFailed."""
    fault: Fault = SettingInvalid("No backups are in this folder.", setting="SRC", reason=folder)
    for name in KEY_FILES:
        path = os.path.join(folder, name)
        with translating(path):
            try:
                with open(path, "rb") as file:
                    raw = file.read(65_536)
            except FileNotFoundError:
                continue
        try:
            found = parse_key_file(raw, path)
        except StorageFailed as damaged:
            fault = damaged
            continue
        return Repository(folder, open_keys(found, secret.passphrase), clock)
    raise fault


def begin_repository(folder: str, secret: Secret, clock: Clock) -> Repository:
    """Open what is there, or begin a repository; the caller holds the lock. Raises: SettingInvalid, StorageFailed."""
    if is_repository(folder):
        repository = open_repository(folder, secret, clock)
        _write_missing_key_file(folder)
        return repository
    if any(os.path.exists(os.path.join(folder, name)) for name in (BACKUPS, METADATA, BLOCKS)):
        raise StorageFailed("The key files of this backup are gone.", where=folder, reason="keys.json")
    file, keys = new_keys(clock, secret.passphrase, secret.cost)
    for name in KEY_FILES:
        _write_plain(os.path.join(folder, name), file.as_bytes())
    return Repository(folder, keys, clock)


def key_file_problems(folder: str) -> list[tuple[str, str]]:
    """Return the key files that are missing or damaged, and how they are."""
    found = []
    for name in KEY_FILES:
        path = os.path.join(folder, name)
        with translating(path):
            try:
                with open(path, "rb") as file:
                    parse_key_file(file.read(65_536), path)
            except FileNotFoundError:
                found.append((name, "missing"))
            except StorageFailed:
                found.append((name, "damaged"))
    return found


def _write_missing_key_file(folder: str) -> None:
    """Write the copy of the key file that a cut or damage left out, from the one that is whole."""
    whole, bad = b"", []
    for name in KEY_FILES:
        path = os.path.join(folder, name)
        try:
            with open(path, "rb") as file:
                raw = file.read(65_536)
            parse_key_file(raw, path)
            whole = raw
        except (FileNotFoundError, StorageFailed):
            bad.append(path)
    for path in bad:
        _write_plain(path, whole)


def _write_plain(path: str, data: bytes) -> None:
    unfinished = os.path.join(os.path.dirname(path), UNFINISHED + os.path.basename(path))
    with translating(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
        with _removed_on_failure(unfinished), open(unfinished, "xb", opener=_private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, path)
        sync_folder(os.path.dirname(path))


@contextlib.contextmanager
def translating(where: str) -> Iterator[None]:
    """Turn the system's errors into faults. Raises: StorageFull, StorageFailed."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                "The disk of the backup is full: free some space there, then run the same command again;"
                " what was copied counts.",
                where=where,
            ) from error
        raise StorageFailed("The folder of the backup cannot be used.", where=where, reason=str(error)) from error


@contextlib.contextmanager
def _removed_on_failure(path: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
