"""What one changed file costs on a copy of a device's index: the look at it, and the engine from there to agreement.

The engine is the real one; what the look would find and what the service answers are given by hand, so that nothing
else is measured and no file is touched.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import msgspec
from tests.support.engine_rig import DEVICE, LINK, NS, Rig, blocks_of, changes, entry, hash_of
from tests.support.scanned_root import ScanClock

from satchel.core.entries import Action
from satchel.core.ids import ROOT_NID, NodeId
from satchel.core.messages import CommitReply, NamespaceHead, NamespacesReply, Pushed, Stored, Welcome
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.engine import Engine
from satchel.device.engine.state import LinkIdentity
from satchel.device.index.rows import LocalRow
from satchel.device.index.store import Index
from satchel.device.ports import DiskPath, Hint, split
from satchel.device.scanner import Scanner
from satchel.device.service_tasks import Reached, ReachTask, StreamFrameCame, StreamTask
from satchel.device.tasks import Committed, Fact, Scanned, ScanTask, SeenChanged

ROUNDS = 300
SEED = 4711


class _Played(Rig):
    """The engine over the copy, in sync."""

    def __init__(self, index: Path) -> None:
        super().__init__()
        self.index.close()
        self.index = Index(str(index))
        self.engine = Engine(self.index, LinkIdentity(LINK, DEVICE, "laptop", NS), self.clock)
        self.step()
        self.take(ReachTask)
        at = self.state.position
        epoch = self.index.get("epoch")
        assert at is not None and isinstance(epoch, bytes)
        self.step(Reached(NamespacesReply(epoch, "ann", (NamespaceHead(NS, "root", True, at.seq, at.tag),))))
        self.take(StreamTask)
        self.step(StreamFrameCame(Welcome(epoch, False, DEVICE), {}))
        self.scan(is_full=True)
        assert self.engine.is_settled, self.pending

    def row_at(self, path: DiskPath) -> tuple[LocalRow, NodeId]:
        """Return the row of a file that is not in the linked folder itself, and the node of its folder."""
        nid, row, parent = ROOT_NID, None, ROOT_NID
        for name in path.split(b"/"):
            row = self.index.reader.find(nid, name)
            assert row is not None
            nid, parent = row.nid, nid
        node = self.index.node_id_of(parent)
        assert row is not None and node is not None
        return row, node

    def edit(self, path: DiskPath, number: int) -> float:
        """Let one file have other bytes, until that is agreed; return the processor seconds that the engine took."""
        row, parent = self.row_at(path)
        data = b"edited %d" % number
        stat = msgspec.structs.replace(row.stat, size=len(data), mtime_ns=row.stat.mtime_ns + 1)
        fact = SeenChanged(row.nid, row.version, stat, hash_of(data), blocks_of(data))
        self.now_s += 1
        self.pending.clear()
        taken = self._timed(Scanned(ScanTask(()), (fact,), False, 1))
        (op,) = self.take_commit()
        at = self.state.position
        assert at is not None
        seq, name = at.seq + 1, row.name.decode()
        own = entry(seq, op.node_id, name, data, parent=parent, action=Action.EDIT, link=LINK, op_id=op.op_id)
        taken += self._timed(Committed(self._taken, CommitReply((Stored(seq),), seq)))
        taken += self._timed(StreamFrameCame(Pushed(changes(at.seq, own)), {}))
        assert self.engine.is_settled, self.pending
        return taken

    def _timed(self, fact: Fact) -> float:
        began = time.thread_time()
        self.step(fact)
        return time.thread_time() - began


def changed_file_s(root: Path, index: Path, files: int) -> tuple[float, float]:
    """Return what a look at one file takes, and the engine from its change until that is agreed: medians, in
    seconds of a core.

    root: the linked folder of so many files, at least one folder deep. index: of a device that does not run.
    """
    with tempfile.TemporaryDirectory(dir=index.parent) as scratch:
        copy = Path(scratch) / index.name
        shutil.copyfile(index, copy)
        played = _Played(copy)
        reader = played.index.open_reader()
        scanner = Scanner(LocalDisk(os.fsencode(root)), reader, ScanClock())
        looks: list[float] = []
        steps: list[float] = []
        for number, path in enumerate(_some_files(root, min(files, ROUNDS))):
            folder, name = split(path)
            parts: list[Scanned] = []
            began = time.thread_time()
            drive(scanner.scan(ScanTask((Hint(folder, frozenset((name,))),)), parts.append))
            looks.append(time.thread_time() - began)
            assert [part.facts for part in parts] == [()], parts
            steps.append(played.edit(path, number))
        reader.close()
        played.index.close()
    return statistics.median(looks), statistics.median(steps)


def _some_files(root: Path, count: int) -> list[DiskPath]:
    """Return so many files of the tree, in no order."""
    chosen = random.Random(SEED)
    top = os.fsencode(root)
    found: dict[DiskPath, None] = {}
    while len(found) < count:
        path = top
        while os.path.isdir(path):
            path += b"/" + chosen.choice([name for name in sorted(os.listdir(path)) if name != b".satchel"])
        found[DiskPath(path[len(top) + 1 :])] = None
    return list(found)
