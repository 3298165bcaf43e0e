"""Whatever people do to a folder, the index that takes the scanner's facts shows what stands on the disk.

Each seed does random things to a real folder between scans: once with full scans, once with hints for just the names
that were touched. Repeat one with `pytest -k seed_17`.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from satchel.device import disk_root
from satchel.device.ports import DiskPath, Hint, joined, split
from satchel.device.scanner import comparing
from satchel.device.tasks import SeenNew
from tests.support.scanned_root import ScannedRoot

NAMES = ("a", "b", "c", "d")
SEEDS = range(60)
ROUNDS = 12


class Person:
    """Does random things to the folder and remembers which names were touched."""

    def __init__(self, root: ScannedRoot, seed: int) -> None:
        self.root = root
        self.choice = random.Random(seed)
        self.touched: set[DiskPath] = set()

    def act(self) -> None:
        folders, files = self._places()
        deeds = [self._write, self._write, self._edit, self._save, self._rename, self._rename, self._remove]
        deed = self.choice.choice([*deeds, self._folder, self._link, self._symlink, self._swap])
        deed(folders, files)

    def hints(self) -> list[Hint]:
        """Return one hint for each touched name, and a deep one for what may be a new folder."""
        found = [Hint(split(path)[0], frozenset((split(path)[1],))) for path in sorted(self.touched)]
        found += [Hint(path, None, True) for path in sorted(self.touched) if os.path.isdir(self._at(path))]
        self.touched = set()
        return found

    def _at(self, path: DiskPath) -> bytes:
        return os.path.join(os.fsencode(self.root.root), path)

    def _places(self) -> tuple[list[DiskPath], list[DiskPath]]:
        tree = self.root.disk_tree()
        folders = sorted(path for path, (kind, _) in tree.items() if kind.name == "FOLDER" and path.count(b"/") < 3)
        return [DiskPath(b""), *folders], sorted(path for path, (kind, _) in tree.items() if kind.name == "FILE")

    def _new_place(self, folders: list[DiskPath]) -> DiskPath:
        path = joined(self.choice.choice(folders), self.choice.choice(NAMES).encode())
        self.touched.add(path)
        return path

    def _write(self, folders: list[DiskPath], files: list[DiskPath]) -> None:
        path = self._new_place(folders)
        if not os.path.isdir(self._at(path)):
            # Through a symlink or a hard link the bytes would show under a name that no hint tells of.
            if os.path.islink(self._at(path)) or (
                os.path.exists(self._at(path)) and os.stat(self._at(path)).st_nlink > 1
            ):
                os.unlink(self._at(path))
            with open(self._at(path), "wb") as file:
                file.write(self.choice.randbytes(self.choice.choice((0, 1, 8))))

    def _edit(self, folders: list[DiskPath], files: list[DiskPath]) -> None:
        if files:
            path = self.choice.choice(files)
            inode = os.stat(self._at(path)).st_ino
            self.touched |= {other for other in files if os.stat(self._at(other)).st_ino == inode}
            with open(self._at(path), "ab") as file:
                file.write(b"+")

    def _save(self, folders: list[DiskPath], files: list[DiskPath]) -> None:
        if files:
            path = self.choice.choice(files)
            self.touched.add(path)
            with open(self._at(path) + b".tmp", "wb") as file:
                file.write(self.choice.randbytes(4))
            os.rename(self._at(path) + b".tmp", self._at(path))

    def _rename(self, folders: list[DiskPath], files: list[DiskPath]) -> None:
        source = self.choice.choice([*folders[1:], *files, *folders[1:]] or [DiskPath(b"none")])
        target = self._new_place(folders)
        inside = target.startswith(source + b"/")
        if os.path.lexists(self._at(source)) and source != target and not inside:
            if os.path.isdir(self._at(target)) and not os.path.islink(self._at(target)):
                return
            if os.path.isdir(self._at(source)) and os.path.lexists(self._at(target)):
                return
            self.touched.add(source)
            os.rename(self._at(source), self._at(target))

    def _swap(self, folders: list[DiskPath], files: list[DiskPath]) -> None:
        both = self.choice.sample(files, 2) if len(files) > 1 else []
        if both:
            self.touched |= set(both)
            one, two = (self._at(path) for path in both)
            os.rename(one, one + b".swap")
            os.rename(two, one)
            os.rename(one + b".swap", two)

    def _remove(self, folders: list[DiskPath], files: list[DiskPath]) -> None:
        victims = [*folders[1:], *files]
        if victims:
            path = self.choice.choice(victims)
            self.touched.add(path)
            if os.path.isdir(self._at(path)):
                shutil.rmtree(self._at(path))
            else:
                os.unlink(self._at(path))

    def _folder(self, folders: list[DiskPath], files: list[DiskPath]) -> None:
        path = self._new_place(folders)
        if not os.path.lexists(self._at(path)):
            os.mkdir(self._at(path))

    def _link(self, folders: list[DiskPath], files: list[DiskPath]) -> None:
        path = self._new_place(folders)
        if files and not os.path.lexists(self._at(path)):
            source = self.choice.choice(files)
            self.touched.add(source)
            os.link(self._at(source), self._at(path))

    def _symlink(self, folders: list[DiskPath], files: list[DiskPath]) -> None:
        path = self._new_place(folders)
        if not os.path.lexists(self._at(path)):
            os.symlink(self.choice.choice(NAMES), self._at(path))


@pytest.mark.parametrize("seed", SEEDS, ids=[f"seed_{seed}" for seed in SEEDS])
@pytest.mark.parametrize("is_hinted", [False, True], ids=["full", "hinted"])
def test_index_shows_the_disk_after_each_scan(
    tmp_path: Path, seed: int, is_hinted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:
        # Every folder is a very large one, so that it is compared in portions.
        for module in (disk_root, comparing):
            monkeypatch.setattr(module, "LISTED_AT_ONCE_MAX", 2)
    root = ScannedRoot(tmp_path / "linked")
    person = Person(root, seed)
    for _ in range(ROUNDS):
        for _ in range(person.choice.randrange(1, 9)):
            person.act()
        hints = person.hints()
        if not is_hinted or hints:
            root.scan(*(hints if is_hinted else ()))
        assert root.known.tree() == root.disk_tree()
        assert not root.known.unknown
    # A name removed changes the ctime of the file's other names, which no hint tells.
    root.scan()
    assert root.known.tree() == root.disk_tree()
    assert root.scan() == []


@pytest.mark.parametrize("seed", range(20), ids=[f"seed_{seed}" for seed in range(20)])
def test_folders_moved_about_are_never_new(tmp_path: Path, seed: int) -> None:
    root = ScannedRoot(tmp_path / "linked")
    for name in ("a/b/c/f", "d/e/f", "g/f"):
        root.write(name, name)
    root.scan()
    nodes = set(root.known.rows)
    choice = random.Random(seed)
    for number in range(6):
        folders = sorted(path for path, (kind, _) in root.disk_tree().items() if kind.name == "FOLDER")
        source = choice.choice(folders)
        outside = [b"", *[path for path in folders if path != source and not path.startswith(source + b"/")]]
        target = os.path.join(choice.choice(outside), b"m%d" % number)
        os.rename(os.fsencode(root.root) + b"/" + source, os.fsencode(root.root) + b"/" + target)
        if choice.random() < 0.5:
            assert not any(isinstance(fact, SeenNew) for fact in root.scan())
    root.scan()
    assert set(root.known.rows) == nodes
    assert root.known.tree() == root.disk_tree()
