"""Measures what many small files cost the service: `python -m bench.small_files --files 100000 --in-flight 4`.

The requests are made beforehand and sent as raw frames, so the service alone is measured. One line each, with wall and
CPU seconds of its process: the commit, the committer's own feed, the snapshot, the feed with contents of another link.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.server import Session, running_server

from satchel.core.entries import Kind
from satchel.core.hashing import Block, block_hash, content_hash, pack_blocks
from satchel.core.ids import ROOT_NODE, LinkId, NamespaceId, NodeId, OpId, Tag, uuid7
from satchel.core.limits import COMMIT_OPS_MAX
from satchel.core.messages import (
    Changes,
    ChangesRequest,
    CommitReply,
    CommitRequest,
    Content,
    CreateOp,
    Op,
    Position,
    SnapshotPage,
    SnapshotRequest,
    Stored,
    WireBlock,
    decode_frame,
    encode_frame,
)

FILES_PER_FOLDER = 40
FILE_BYTES = 1_024
OWN, OTHER = LinkId(b"own link 16 byte"), LinkId(b"other link 16 by")


class Caller:
    """One connection of the session."""

    def __init__(self, session: Session) -> None:
        where = urlsplit(session.url)
        self._line = http.client.HTTPConnection(where.hostname or "", where.port)
        self._headers = {"Authorization": f"Bearer {session.token}", "Content-Type": "application/x-satchel"}

    def call(self, name: str, frame: bytes) -> bytes:
        """Send a frame and return the answer's."""
        self._line.request("POST", f"/sync/v1/{name}", frame, self._headers)
        answer = self._line.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{name}: {answer.status} {body[:200]!r}")
        return body


def requests(session: Session, files: int, rng: random.Random) -> Iterator[bytes]:
    """Yield commits of new folders with their files, a nearly full request each; none needs another."""
    now = time.time_ns() // 1_000_000
    ops: list[Op] = []
    bodies: list[bytes] = []
    folder = ROOT_NODE
    for number in range(files):
        node_id = NodeId(uuid7(now + number // 20, rng.randbytes(10)))
        if number % FILES_PER_FOLDER == 0:
            folder = NodeId(uuid7(now + number // 20, rng.randbytes(10)))
            ops.append(CreateOp(OpId(rng.randbytes(16)), folder, ROOT_NODE, f"folder {number:07}", Kind.FOLDER))
        body = rng.randbytes(FILE_BYTES)
        block = Block(block_hash(body), len(body))
        content = Content(content_hash((block.hash,)), pack_blocks([block]), len(body))
        ops.append(CreateOp(OpId(rng.randbytes(16)), node_id, folder, f"Agenda {number:07}.txt", Kind.FILE, content))
        bodies.append(body)
        is_whole = (number + 1) % FILES_PER_FOLDER == 0 and len(ops) + FILES_PER_FOLDER >= COMMIT_OPS_MAX
        if is_whole or number == files - 1:
            wires = tuple(WireBlock(block_hash(data), len(data), 0, len(data)) for data in bodies)
            yield b"".join(encode_frame(CommitRequest(NamespaceId(session.root_ns), OWN, tuple(ops), wires), bodies))
            ops, bodies = [], []


def commit_all(session: Session, frames: list[bytes], in_flight: int) -> int:
    """Send the commits over so many connections; return how many operations were stored."""

    def commit_some(first: int) -> int:
        caller, count = Caller(session), 0
        for frame in frames[first::in_flight]:
            reply: CommitReply
            reply, _ = decode_frame(caller.call("commit", frame), CommitReply)
            count += sum(isinstance(outcome, Stored) for outcome in reply.outcomes)
        return count

    with ThreadPoolExecutor(in_flight) as pool:
        return sum(pool.map(commit_some, range(in_flight)))


def feed(session: Session, link: LinkId) -> int:
    """Read all changes as `link`; return how many entries came."""
    caller, count, has_more = Caller(session), 0, True
    position = Position(NamespaceId(session.root_ns), 0, Tag(b""))
    while has_more:
        page: Changes
        page, _ = decode_frame(caller.call("changes", b"".join(encode_frame(ChangesRequest(position, link)))), Changes)
        position, has_more = Position(page.ns, page.last_seq, page.last_tag), page.has_more
        count += len(page.entries)
    return count


def snapshot(session: Session) -> int:
    """Read the whole tree; return how many entries came."""
    caller, count, seq, after, has_more = Caller(session), 0, -1, NodeId(b""), True
    while has_more:
        request = SnapshotRequest(NamespaceId(session.root_ns), ROOT_NODE, after, seq)
        page: SnapshotPage
        page, _ = decode_frame(caller.call("snapshot", b"".join(encode_frame(request))), SnapshotPage)
        seq, after, has_more = page.seq, page.entries[-1].node_id, page.has_more
        count += len(page.entries)
    return count


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(what: str, pid: int, work: Callable[[], int]) -> None:
    """Do the work and print its line."""
    start, cpu = time.perf_counter(), cpu_s(pid)
    count = work()
    taken, cpu = time.perf_counter() - start, cpu_s(pid) - cpu
    print(f"{what:24} {count:9,} entries {taken:7.2f} s {cpu:7.2f} CPU s {cpu / count * 1e6:7.1f} µs each", flush=True)


def main() -> None:
    """Measure once and print a line each."""
    parser = argparse.ArgumentParser(prog="bench.small_files")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--work", help="folder for the service's data; on tmpfs the disk costs nothing")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.work) as folder, running_server(Path(folder)) as server:
        session = server.add_user("ann").sign_in("laptop")
        frames = list(requests(session, chosen.files, random.Random(4711)))
        pid = server.process.pid if server.process is not None else 0
        measured("commit", pid, lambda: commit_all(session, frames, chosen.in_flight))
        measured("own feed", pid, lambda: feed(session, OWN))
        measured("snapshot", pid, lambda: snapshot(session))
        measured("feed with contents", pid, lambda: feed(session, OTHER))


if __name__ == "__main__":
    main()
