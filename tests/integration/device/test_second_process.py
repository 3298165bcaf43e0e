"""A second process looks at known folders beside the scan: nothing is missed, whatever becomes of it."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from satchel.core.hashing import block_hash, content_hash
from satchel.core.ids import ROOT_NID
from satchel.device.disk import LocalDisk
from satchel.device.index.reader import open_reader
from satchel.device.scan_process.frames import Order
from satchel.device.scan_process.second import SecondProcess
from satchel.device.scanner import Scanner
from satchel.device.scanner.beside import Looked
from satchel.device.tasks import LocalFact, NewParent, SeenChanged, SeenGone, SeenMoved, SeenNew
from tests.support.scan_rig import FULL, ScanRig, facts_of
from tests.support.scanned_root import ScanClock

FOLDERS = 120
SILENCE_S = 0.2


class Counted(SecondProcess):
    """Counts the names that it found as they were."""

    same = 0

    def answers(self, *, is_waited: bool) -> list[Looked]:
        """See SecondProcess."""
        found = super().answers(is_waited=is_waited)
        self.same += sum(looked.same for looked in found)
        return found


@pytest.fixture
def rig(tmp_path: Path) -> ScanRig:
    """A tree of many folders, some inside each other, known to the index."""
    rig = ScanRig(tmp_path)
    random_ = random.Random(1)
    folders = [rig.root]
    for number in range(FOLDERS):
        folder = random_.choice(folders[-20:]) / f"f{number}"
        folder.mkdir()
        folders.append(folder)
        for name in range(4):
            (folder / str(name)).write_text(f"{number} {name}")
    rig.scan(*facts_of(rig.thread()), is_full=True)
    return rig


@contextmanager
def beside(rig: ScanRig) -> Iterator[tuple[Scanner, Counted]]:
    """Give a scanner that works here and has a second process."""
    order = Order(os.fsencode(rig.root), rig.path, FULL.hints, None, ())
    second = Counted(order, other_lines=(), live=lambda: None, silence_s=SILENCE_S)
    try:
        disk, known = LocalDisk(os.fsencode(rig.root)), open_reader(rig.path)
        yield Scanner(disk, known, ScanClock(), short=rig.short, looker=second), second
    finally:
        second.close()


def deeds(root: Path, seed: int) -> None:
    """Change something here and there: edits, moves of files and folders, deletions, new ones, links, rules."""
    random_ = random.Random(seed)
    for number in range(random_.choice((1, 3, 12, 40))):
        every = [path for path in root.rglob("*") if ".satchel" not in path.parts]
        files, folders = [path for path in every if path.is_file()], [path for path in every if path.is_dir()]
        match random_.randrange(7):
            case 0:
                random_.choice(files).write_text(f"edited {number}")
            case 1:
                random_.choice(files).rename(random_.choice(folders) / f"moved {number}")
            case 2:
                random_.choice(files).unlink()
            case 3:
                (random_.choice(folders) / f"new {number}").write_text(f"new {number}")
            case 4:
                source, target = random_.sample(folders, 2)
                if not target.is_relative_to(source):
                    source.rename(target / f"moved folder {number}")
            case 5:
                os.link(random_.choice(files), random_.choice(folders) / f"link {number}")
            case _:
                one, other = random_.sample(files, 2)
                one.rename(root / "between")
                other.rename(one)
                (root / "between").rename(other)


def tree_after(rig: ScanRig, facts: list[LocalFact]) -> dict[str, bytes]:
    """Return what the index holds once the facts are folded: content by path."""
    nodes: dict[object, tuple[object, bytes, bytes]] = {}
    waiting = [ROOT_NID]
    while waiting:
        for row in rig.index.reader.children(waiting.pop()):
            nodes[row.nid] = (row.parent, row.name, row.content)
            waiting.append(row.nid)
    for fact in facts:
        match fact:
            case SeenNew():
                nodes[NewParent(fact.order)] = (fact.parent, fact.name, fact.content)
            case SeenMoved():
                nodes[fact.nid] = (fact.parent, fact.name, fact.content)
            case SeenChanged():
                nodes[fact.nid] = (*nodes[fact.nid][:2], fact.content)
            case SeenGone():
                del nodes[fact.nid]
    paths: dict[object, str] = {ROOT_NID: ""}
    while found := [key for key, (parent, _, _) in nodes.items() if parent in paths and key not in paths]:
        for key in found:
            parent, name, _ = nodes[key]
            paths[key] = f"{paths[parent]}/{name.decode()}"
    return {path: nodes[key][2] for key, path in paths.items() if key != ROOT_NID}


def tree_of(root: Path) -> dict[str, bytes]:
    """Return what stands on the disk: content hash by path, empty for folders."""
    return {
        f"/{path.relative_to(root)}": content_hash((block_hash(path.read_bytes()),)) if path.is_file() else b""
        for path in root.rglob("*")
        if ".satchel" not in path.relative_to(root).parts
    }


@pytest.mark.parametrize("seed", range(5))
def test_all_that_changed_is_found(rig: ScanRig, seed: int) -> None:
    deeds(rig.root, seed)
    alone = facts_of(rig.thread())
    with beside(rig) as (scanner, _):
        together = facts_of(scanner)
    assert tree_after(rig, together) == tree_after(rig, alone) == tree_of(rig.root)


def test_where_nothing_changed_nothing_is_told_and_every_name_is_counted(rig: ScanRig) -> None:
    with beside(rig) as (scanner, second):
        assert facts_of(scanner) == []
    assert 0 < second.same < FOLDERS * 5


def test_a_folder_with_rules_is_looked_at_by_the_walk(rig: ScanRig) -> None:
    for folder in [path for path in rig.root.rglob("f*7") if path.is_dir()]:
        (folder / ".satchelignore").write_text("1\n")
    alone = facts_of(rig.thread())
    with beside(rig) as (scanner, _):
        assert Counter(map(type, facts_of(scanner))) == Counter(map(type, alone))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_is_killed_or_silent_is_done_without(rig: ScanRig, number: signal.Signals) -> None:
    deeds(rig.root, 3)
    alone = facts_of(rig.thread())
    with beside(rig) as (scanner, second):
        os.kill(second.pid, number)
        assert tree_after(rig, facts_of(scanner)) == tree_after(rig, alone) == tree_of(rig.root)


def test_it_is_gone_when_it_was_closed(rig: ScanRig) -> None:
    with beside(rig) as (_, second):
        os.kill(second.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(second.pid, 0)
