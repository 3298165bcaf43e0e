"""Measures the device's transfer against a real service on loopback: `python -m bench.transfer --mib 512`.

One line a way, with MB/s, CPU and peak memory: up, again, down from the service, from a local file, many small files.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.files import new_disk, words
from tests.support.server import Session, running_server

from satchel.core.cutting import StreamCutter
from satchel.core.hashing import Block, block_hash, pack_blocks, packed_content_hash
from satchel.core.ids import BlockHash, NamespaceId, Nid
from satchel.core.limits import MIB
from satchel.device.clock import MachineClock
from satchel.device.drive import drive
from satchel.device.fetching import Fetcher
from satchel.device.ports import DiskPath
from satchel.device.remote import HttpRemote
from satchel.device.sending import Sender
from satchel.device.tasks import FetchItem, FetchTask, LocalSource, UploadTask
from satchel.device.thread_lanes import ThreadLanes
from satchel.device.wire_blocks import shut

PIECE_BYTES = 16 * MIB
SMALL_FILES = 2_000
SMALL_BYTES = 4_096


@contextmanager
def told(what: str, size_bytes: int) -> Iterator[None]:
    """Measure the block and print one line."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    yield
    took_s = time.perf_counter() - began_s
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    rate = size_bytes / took_s / 1e6
    print(f"{what:18} {rate:8.0f} MB/s  {took_s:6.2f} s  CPU {time.process_time() - cpu_s:5.2f} s  {peak_mib} MiB peak")


async def measure(folder: Path, size_bytes: int, session: Session) -> None:
    """Send and fetch one large file and many small ones."""
    disk = new_disk(folder)
    large = folder / "large"
    blocks = await asyncio.to_thread(_write, large, size_bytes)
    packed = pack_blocks(Block(name, size) for name, size, _ in blocks)
    stat = drive(disk.stat(DiskPath(b"large")))
    if stat is None:
        raise RuntimeError("the file that was written is not there")
    lanes, ns = ThreadLanes(), NamespaceId(session.root_ns)
    remote = HttpRemote(session.url, session.token, clock=MachineClock())
    sender, fetcher = Sender(disk, remote, lanes), Fetcher(disk, remote, lanes)
    source = LocalSource(DiskPath(b"large"), stat)
    for what in ("up", "up again"):
        with told(what, size_bytes):
            _require((await sender.upload(UploadTask(Nid(1), ns, source, blocks))).fault)
    here: dict[BlockHash, tuple[LocalSource, ...]] = {
        name: (LocalSource(source.path, stat, at),) for name, _, at in blocks
    }
    for what, sources in (("down", {}), ("down, local blocks", here)):
        item = FetchItem(Nid(1), packed_content_hash(packed), size_bytes, packed, 1, False, sources)
        with told(what, size_bytes):
            _require((await fetcher.fetch(FetchTask(1, ns, (item,)))).items[0].fault)
    small = [os.urandom(SMALL_BYTES) for _ in range(SMALL_FILES)]
    for at in range(0, SMALL_FILES, 500):
        await remote.put_blocks(ns, [shut(block_hash(data), data) for data in small[at : at + 500]])
    items = tuple(_item(index, data) for index, data in enumerate(small))
    with told(f"down, {SMALL_FILES} files", SMALL_FILES * SMALL_BYTES):
        for done in (await fetcher.fetch(FetchTask(2, ns, items))).items:
            _require(done.fault)
    await remote.close()
    lanes.close()


def _write(path: Path, size_bytes: int) -> tuple[tuple[BlockHash, int, int], ...]:
    """Write a file, half of it noise and half of it text, and return its blocks with their places."""
    cutter, found, at = StreamCutter(), [], 0
    with path.open("wb") as file:
        for start in range(0, size_bytes, PIECE_BYTES):
            length = min(PIECE_BYTES, size_bytes - start)
            piece = os.urandom(length) if start < size_bytes // 2 else words(length)
            file.write(piece)
            for block in cutter.feed_blocks(piece, is_last=start + length == size_bytes):
                found.append((block_hash(block), len(block), at))
                at += len(block)
    return tuple(found)


def _item(index: int, data: bytes) -> FetchItem:
    packed = pack_blocks([Block(block_hash(data), len(data))])
    return FetchItem(Nid(index), packed_content_hash(packed), len(data), packed, 1, False)


def _require(fault: Exception | None) -> None:
    if fault is not None:
        raise fault


def main() -> None:
    """Run it in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=256)
    size_bytes = parser.parse_args().mib * MIB
    with tempfile.TemporaryDirectory() as base, running_server(Path(base)) as server:
        asyncio.run(measure(Path(base) / "folder", size_bytes, server.add_user().sign_in("bench")))


if __name__ == "__main__":
    main()
