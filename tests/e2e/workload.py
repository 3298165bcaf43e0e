"""Random work in a folder, as a person and programs do it, remembered exactly so that it can be checked afterwards.

Every file begins with the SHA-256 of what follows, so whoever finds one can tell whether it is whole.
"""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

DIGEST_BYTES = 32
SMALL_BYTES_MAX = 20_000
LARGE_BYTES_MAX = 3_000_000
FILES_MAX = 300


def sealed(body: bytes) -> bytes:
    """Return the bytes of a file that tells whether it is whole."""
    return hashlib.sha256(body).digest() + body


def is_whole(data: bytes) -> bool:
    """Tell whether these are the bytes of a whole file."""
    return data[:DIGEST_BYTES] == hashlib.sha256(data[DIGEST_BYTES:]).digest()


@dataclass(slots=True)
class Worker:
    """Works in one folder that nobody else writes to. files: what must be there, by relative path.

    Every content appears at once, by a rename: a program that writes in place makes half files itself, and those may
    be seen and sent like any other state of a file. spool: where files are written before, on the same volume.
    """

    folder: Path
    spool: Path
    chance: random.Random
    files: dict[str, bytes] = field(default_factory=dict)
    count: int = 0

    def work(self, steps: int) -> None:
        """Do so many random changes."""
        for _ in range(steps):
            self._step()

    def _step(self) -> None:
        self.count += 1
        roll = self.chance.random()
        if not self.files or (roll < 0.45 and len(self.files) < FILES_MAX):
            self._write(self._new_path(), self._new_content())
        elif roll < 0.65:
            self._save_over(self.chance.choice(sorted(self.files)))
        elif roll < 0.75:
            self._append(self.chance.choice(sorted(self.files)))
        elif roll < 0.87:
            self._move(self.chance.choice(sorted(self.files)))
        elif roll < 0.95:
            self._remove(self.chance.choice(sorted(self.files)))
        else:
            self._rename_folder()

    def _new_path(self) -> str:
        depth = self.chance.randrange(3)
        folders = [f"folder {self.chance.randrange(6)}" for _ in range(depth)]
        return "/".join([*folders, f"file {self.count} é.bin"])

    def _new_content(self) -> bytes:
        limit = LARGE_BYTES_MAX if self.chance.random() < 0.08 else SMALL_BYTES_MAX
        return sealed(b"%d " % self.count + self.chance.randbytes(self.chance.randrange(limit)))

    def _write(self, path: str, data: bytes) -> None:
        full = self.folder / path
        full.parent.mkdir(parents=True, exist_ok=True)
        spooled = self.spool / f"{self.count}"
        spooled.write_bytes(data)
        os.replace(spooled, full)
        self.files[path] = data

    def _save_over(self, path: str) -> None:
        """Save as editors do: a new file beside the old one, renamed over it."""
        data, full = self._new_content(), self.folder / path
        beside = full.with_name(f".{self.count}.swp")
        beside.write_bytes(data)
        os.replace(beside, full)
        self.files[path] = data

    def _append(self, path: str) -> None:
        body = self.files[path][DIGEST_BYTES:] + self.chance.randbytes(1_000)
        self._write(path, sealed(body))

    def _move(self, path: str) -> None:
        target = self._new_path()
        (self.folder / target).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).rename(self.folder / target)
        self.files[target] = self.files.pop(path)

    def _remove(self, path: str) -> None:
        (self.folder / path).unlink()
        del self.files[path]

    def _rename_folder(self) -> None:
        tops = sorted(path.name for path in self.folder.iterdir() if path.is_dir())
        if not tops:
            return
        old, new = self.chance.choice(tops), f"folder renamed {self.count}"
        (self.folder / old).rename(self.folder / new)
        for path in [path for path in self.files if path.startswith(f"{old}/")]:
            self.files[new + path[len(old) :]] = self.files.pop(path)

    def found(self, folder: Path) -> dict[str, bytes]:
        """Return all files below a folder, which should be what this worker wrote."""
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }


def torn_files(folder: Path) -> list[str]:
    """Return the files below a folder (Satchel's own left out) that are not whole."""
    torn = []
    for top, folders, names in os.walk(folder):
        if ".satchel" in folders:
            folders.remove(".satchel")
        for name in names:
            try:
                data = Path(top, name).read_bytes()
            except FileNotFoundError:
                continue  # It was moved between the listing and the look.
            if not is_whole(data) and not name.endswith(".swp"):
                torn.append(f"{Path(top, name)}: {len(data)} bytes")
    return torn
