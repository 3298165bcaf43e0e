"""What the scanner says when the disk changes under it or cannot be read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from satchel.core.cutting import cut
from satchel.core.errors import FileChanging
from satchel.core.hashing import Block, block_hash, pack_blocks
from satchel.core.limits import MIB, SINGLE_BLOCK_BYTES_MAX
from satchel.device.drive import drive
from satchel.device.hashing_files import PIECE_BYTES, read_file
from satchel.device.ports import ROOT_PATH, DiskPath, Hint
from satchel.device.tasks import NewParent, SeenChanged, SeenGone, SeenMoved, SeenNew, SeenUnknown
from tests.support.meddling_disk import MeddlingDisk
from tests.support.scanned_root import ScanClock, ScannedRoot


@pytest.fixture
def root(tmp_path: Path) -> ScannedRoot:
    (tmp_path / "linked").mkdir()
    return ScannedRoot(tmp_path / "linked", MeddlingDisk(os.fsencode(tmp_path / "linked")))


def disk_of(root: ScannedRoot) -> MeddlingDisk:
    assert isinstance(root.disk, MeddlingDisk)
    return root.disk


@pytest.mark.parametrize(
    "size", [0, 1, SINGLE_BLOCK_BYTES_MAX, SINGLE_BLOCK_BYTES_MAX + 1, PIECE_BYTES, PIECE_BYTES + 1, 21 * MIB]
)
def test_file_read_in_pieces_is_cut_as_a_whole(root: ScannedRoot, size: int) -> None:
    data = os.urandom(MIB) * (size // MIB) + os.urandom(size % MIB)
    root.write("f", data)
    lengths, at, blocks = cut(data), 0, []
    for length in lengths:
        blocks.append(Block(block_hash(data[at : at + length]), length))
        at += length

    read = drive(read_file(root.disk, DiskPath(b"f"), ScanClock()))

    assert read.blocks == pack_blocks(blocks)
    assert read.stat.size == size


@pytest.mark.parametrize("size", [100, PIECE_BYTES + 1])
@pytest.mark.parametrize("deed", ["append", "overwrite", "truncate", "chmod"])
def test_file_that_changes_while_it_is_read_is_not_taken(root: ScannedRoot, size: int, deed: str) -> None:
    path = root.write("f", b"x" * size)

    def meddle(read: DiskPath) -> None:
        match deed:
            case "append":
                with path.open("ab") as file:
                    file.write(b"y")
            case "overwrite":
                with path.open("r+b") as file:
                    file.write(b"y")
            case "truncate":
                os.truncate(path, 10)
            case _:
                path.chmod(0o755)

    disk_of(root).on_read = meddle

    with pytest.raises(FileChanging):
        drive(read_file(root.disk, DiskPath(b"f"), ScanClock()))


def test_changing_file_is_unknown_and_looked_at_again(root: ScannedRoot) -> None:
    path = root.write("f", "one")
    root.scan()
    nid = root.known.nid_at("f")
    path.write_text("two")
    disk_of(root).on_read = lambda read: os.utime(path)

    (fact,) = root.scan()
    assert fact == SeenUnknown(nid, None, b"f", "file_changing", fact.reason, True)  # type: ignore[union-attr]  # a field of all unknowns

    disk_of(root).on_read = lambda read: None
    (again,) = root.scan()
    assert isinstance(again, SeenChanged)
    assert not root.known.unknown


def test_unreadable_folder_is_unknown_and_nothing_in_it_is_gone(root: ScannedRoot) -> None:
    root.write("a/b/f", "one")
    root.scan()
    nid = root.known.nid_at("a/b")
    disk_of(root).closed = frozenset((b"a/b",))

    (fact,) = root.scan()
    assert fact == SeenUnknown(nid, None, b"b", "file_unreadable", fact.reason, True)  # type: ignore[union-attr]  # as above

    disk_of(root).closed = frozenset()
    (again,) = root.scan()
    assert isinstance(again, SeenChanged)
    assert again.nid == nid
    assert root.known.tree() == root.disk_tree()


def test_new_folder_that_cannot_be_read_tells_where_it_is(root: ScannedRoot) -> None:
    root.write("a/b/f", "one")
    disk_of(root).closed = frozenset((b"a/b",))

    facts = root.scan()

    assert [type(fact) for fact in facts] == [SeenNew, SeenNew, SeenUnknown]
    assert isinstance(facts[2], SeenUnknown)
    assert (facts[2].nid, facts[2].parent, facts[2].name) == (None, NewParent(1), b"b")


def test_unreadable_new_file_that_a_known_one_may_be_keeps_it_from_being_gone(root: ScannedRoot) -> None:
    root.write("a", "one")
    root.scan()
    nid = root.known.nid_at("a")
    (root.root / "a").rename(root.root / "b")
    disk_of(root).closed = frozenset((b"b",))

    facts = root.scan()

    assert [type(fact) for fact in facts] == [SeenUnknown, SeenUnknown]
    assert nid in root.known.unknown


def test_file_that_comes_back_during_the_scan_is_not_gone(root: ScannedRoot) -> None:
    path = root.write("a", "one")
    root.scan()
    path.unlink()

    def meddle(folder: DiskPath) -> None:
        root.write("a", "two")

    disk_of(root).on_list = meddle

    (fact,) = root.scan()

    assert isinstance(fact, SeenUnknown)
    assert fact.retry


def test_names_of_a_folder_that_moved_during_the_scan_are_not_gone(root: ScannedRoot) -> None:
    path = root.write("a/f", "one")
    root.scan()
    path.unlink()

    def meddle(folder: DiskPath) -> None:
        if folder == b"a":
            (root.root / "a").rename(root.root / "b")

    disk_of(root).on_list = meddle

    facts = root.scan()

    assert not any(isinstance(fact, SeenGone) for fact in facts)


@pytest.mark.parametrize("looks", [1, 2])
def test_a_hinted_folder_that_moves_away_before_the_look_at_it_is_unknown_and_looked_for(
    root: ScannedRoot, looks: int
) -> None:
    """After the hints were placed, or after it was found to stand: a new name in it was not seen, and nobody knows."""
    root.write("a/deep/f", "one")
    root.scan()
    nid = root.known.nid_at("a/deep")
    root.write("a/deep/new", "two")
    seen: list[DiskPath] = []

    def meddle(path: DiskPath) -> None:
        seen.append(path)
        if seen.count(DiskPath(b"a/deep")) == looks and (root.root / "a").exists():
            (root.root / "a").rename(root.root / "b")

    disk_of(root).on_stat = meddle

    (fact,) = root.look("a/deep", "new")

    assert isinstance(fact, SeenUnknown)
    assert (fact.nid, fact.retry) == (nid, True)


def test_a_hinted_folder_that_moves_and_is_found_in_the_same_look_is_not_unknown(root: ScannedRoot) -> None:
    root.write("a/deep/f", "one")
    root.scan()
    root.write("a/deep/new", "two")

    def meddle(path: DiskPath) -> None:
        if path == b"a/deep" and (root.root / "a").exists():
            (root.root / "a").rename(root.root / "b")

    disk_of(root).on_stat = meddle

    facts = root.scan(Hint(ROOT_PATH, frozenset((b"a", b"b"))), Hint(DiskPath(b"a/deep"), frozenset((b"new",))))

    assert [type(fact) for fact in facts] == [SeenMoved, SeenNew]


def swap(root: ScannedRoot) -> None:
    """Let the folders `a` and `c` change places, each time it is called."""
    for source, target in (("a", "between"), ("c", "a"), ("between", "c")):
        (root.root / source).rename(root.root / target)


@pytest.mark.parametrize(
    ("at", "is_whole"),
    [("listed", True), ("listed", False), ("one was read", True), ("one was read", False), ("about to be", False)],
)
def test_folders_that_change_places_during_a_look_tell_nothing_of_what_is_in_them(
    root: ScannedRoot, at: str, is_whole: bool
) -> None:
    """What stands in each is taken for what the other had, and would be sent as moved, made and deleted."""
    for name in ("a/one", "a/same", "a/deep/x", "c/two", "c/same", "c/deep/y"):
        root.write(name, name)
    root.scan()
    root.write("a/new", "n")
    done: list[DiskPath] = []

    def meddle(path: DiskPath) -> None:
        wanted = {"listed": b"a", "about to be": b"c", "one was read": b"a/new"}[at]
        if path == wanted and not done:
            done.append(path)
            swap(root)

    if at == "one was read":
        disk_of(root).on_read = meddle
    elif at == "listed":
        disk_of(root).on_list = meddle
    else:
        disk_of(root).on_stat = meddle
    hints = [Hint(ROOT_PATH, None, True)] if is_whole else [Hint(DiskPath(name), None, True) for name in (b"a", b"c")]

    facts = root.scan(*hints)

    assert done
    told = [fact for fact in facts if not isinstance(fact, SeenUnknown)]
    assert [fact for fact in told if isinstance(fact, SeenGone)] == []
    # The two folders themselves, and the new file once it is known where it stands.
    assert {fact.name for fact in told if isinstance(fact, SeenMoved | SeenNew)} <= {b"a", b"c", b"new"}
    root.scan()
    assert root.known.tree() == root.disk_tree()


def test_a_folder_that_is_not_at_its_path_any_more_is_found_by_the_same_look(root: ScannedRoot) -> None:
    """Told to be unknown as soon as it was missed there, it could not be taken for what stands elsewhere."""
    root.write("a/f", "one")
    root.write("z/f", "two")
    root.scan()
    root.write("a/g", "two")
    nid = root.known.nid_at("a")

    def meddle(path: DiskPath) -> None:
        if path == b"a" and (root.root / "a").exists():
            (root.root / "a").rename(root.root / "z" / "b")

    disk_of(root).on_list = meddle

    facts = root.scan(Hint(DiskPath(b"a"), None, True), Hint(DiskPath(b"z"), frozenset((b"b",))))

    (moved,) = (fact for fact in facts if isinstance(fact, SeenMoved))
    assert (moved.nid, moved.name) == (nid, b"b")
    assert not any(isinstance(fact, SeenUnknown) for fact in facts)


def test_a_new_file_whose_folder_moves_before_it_is_read_is_looked_for_again(root: ScannedRoot) -> None:
    root.write("a/f", "one")
    root.scan()
    root.write("a/g", "two")

    def meddle(path: DiskPath) -> None:
        if path == b"a" and (root.root / "a").exists():
            meddled.append(path)
            if len(meddled) == 2:
                (root.root / "a").rename(root.root / "b")

    meddled: list[DiskPath] = []
    disk_of(root).on_stat = meddle

    facts = root.scan(Hint(DiskPath(b"a"), None, True))

    assert len(meddled) == 2
    assert any(isinstance(fact, SeenUnknown) and fact.retry for fact in facts)


def test_root_that_goes_away_during_the_scan_is_a_fault(root: ScannedRoot, tmp_path: Path) -> None:
    root.write("a/f", "one")
    root.write("b/f", "one")
    root.scan()
    shutil.rmtree(root.root / "a")

    def meddle(folder: DiskPath) -> None:
        if not folder:
            root.root.rename(tmp_path / "away")

    disk_of(root).on_list = meddle

    assert not any(isinstance(fact, SeenGone) for fact in root.scan())
    assert root.parts[-1].fault is not None
    assert root.parts[-1].fault.code == "root_missing"


SCAN_OF_A_MOUNT = """
import subprocess, sys
from pathlib import Path
from tests.support.scanned_root import ScannedRoot
root = ScannedRoot(Path(sys.argv[1]))
root.write("sub/f", "one")
root.write("new/f", "one")
root.scan()
subprocess.run(["mount", "-t", "tmpfs", "none", str(root.root / "sub")], check=True)
print([(type(fact).__name__, fact.name, fact.code) for fact in root.scan()])
"""


def test_volume_mounted_over_a_folder_is_unknown_and_nothing_in_it_is_gone(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", SCAN_OF_A_MOUNT, str(tmp_path / "r")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.stdout.strip() == "[('SeenUnknown', b'sub', 'foreign_mount')]", done.stderr
