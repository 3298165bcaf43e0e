"""Sending: what travels under a hash has it, and a file that changed is told, not sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from satchel.core.entries import Kind
from satchel.core.errors import FileChanging, Unavailable
from satchel.core.hashing import block_hash
from satchel.core.ids import ROOT_NODE, BlockHash, LinkId, NamespaceId, Nid, NodeId, OpId
from satchel.core.messages import CODEC_RAW, CODEC_ZSTD, CommitReply, CommitRequest, Content, CreateOp, Stored
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.ports import DiskPath, OutgoingBlock, Stat
from satchel.device.sending import PUT_BYTES_MAX, Sender
from satchel.device.tasks import CommitTask, InlineSource, LocalSource, UploadTask
from satchel.device.transfer import Lanes
from satchel.device.wire_blocks import opened_all
from satchel.simulation.core_remote import CoreRemote, CoreService
from tests.support.files import blocks_of, content_of, new_disk, noise, words
from tests.support.lanes import Run, run

__all__ = ["run"]


class Watched(CoreRemote):
    """The service in this process, which tells what it was sent and can break before a put."""

    def __init__(self, service: CoreService) -> None:
        own = service.remote()
        super().__init__(service, own._principal)
        self.puts: list[Sequence[OutgoingBlock]] = []
        self.commits: list[tuple[CommitRequest, Sequence[bytes]]] = []
        self.fails_at_put = -1

    async def put_blocks(self, ns: NamespaceId, blocks: Sequence[OutgoingBlock]) -> tuple[BlockHash, ...]:
        if len(self.puts) == self.fails_at_put:
            raise Unavailable("gone")
        self.puts.append(blocks)
        return await super().put_blocks(ns, blocks)

    async def commit(self, request: CommitRequest, bodies: Sequence[bytes]) -> CommitReply:
        self.commits.append((request, bodies))
        return await super().commit(request, bodies)


def stat_of(disk: LocalDisk, name: str) -> Stat:
    found = drive(disk.stat(DiskPath(name.encode())))
    assert found is not None
    return found


def upload_of(disk: LocalDisk, name: str, data: bytes, ns: NamespaceId) -> UploadTask:
    at, blocks = 0, []
    for block in blocks_of(data):
        blocks.append((block.hash, block.size, at))
        at += block.size
    return UploadTask(Nid(7), ns, LocalSource(DiskPath(name.encode()), stat_of(disk, name)), tuple(blocks))


def commit_of(disk: LocalDisk, files: dict[str, bytes], ns: NamespaceId) -> CommitTask:
    ops, inline = [], []
    for index, (name, data) in enumerate(files.items()):
        content, packed = content_of(data)
        ids = (index + 1).to_bytes(16, "big")
        made = Content(content, packed, len(data))
        ops.append(CreateOp(OpId(ids), NodeId(ids), ROOT_NODE, name, int(Kind.FILE), made))
        source = LocalSource(DiskPath(name.encode()), stat_of(disk, name))
        inline.append(InlineSource(block_hash(data), len(data), source))
    request = CommitRequest(ns, LinkId(bytes(16)), tuple(ops))
    return CommitTask(1, request, tuple((Nid(index),) for index in range(len(ops))), tuple(inline))


def write(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)


def test_a_large_file_arrives_whole_in_bounded_requests(run: Run, tmp_path: Path) -> None:
    data = noise(30 * 1024 * 1024) + words(3_000_000)
    disk = new_disk(tmp_path)
    write(tmp_path, "big", data)

    async def work(lanes: Lanes) -> None:
        service = await CoreService.start()
        remote = Watched(service)
        told: list[int] = []
        sender = Sender(disk, remote, lanes, lambda nid, size: told.append(size))
        done = await sender.upload(upload_of(disk, "big", data, service.ns))
        assert done.fault is None
        assert sum(told) == len(data)
        assert all(sum(block.size for block in put) <= PUT_BYTES_MAX for put in remote.puts)
        found = await remote.get_blocks(service.ns, [block.hash for block in blocks_of(data)])
        assert b"".join(found[block.hash] for block in blocks_of(data)) == data

    run(work)


def test_a_content_that_repeats_in_a_file_travels_once(run: Run, tmp_path: Path) -> None:
    data = bytes(40 * 1024 * 1024)
    disk = new_disk(tmp_path)
    write(tmp_path, "zeros", data)

    async def work(lanes: Lanes) -> None:
        service = await CoreService.start()
        remote = Watched(service)
        done = await Sender(disk, remote, lanes).upload(upload_of(disk, "zeros", data, service.ns))
        assert done.fault is None
        sent = [block.hash for put in remote.puts for block in put]
        assert len(sent) == len(set(sent))
        assert set(sent) == {block.hash for block in blocks_of(data)}

    run(work)


def test_a_file_that_changed_before_or_while_it_is_read_is_told(run: Run, tmp_path: Path) -> None:
    data = noise(2_000_000)
    disk = new_disk(tmp_path)
    write(tmp_path, "one", data)

    async def work(lanes: Lanes) -> None:
        service = await CoreService.start()
        remote = Watched(service)
        task = upload_of(disk, "one", data, service.ns)
        stat = stat_of(disk, "one")
        write(tmp_path, "one", noise(2_000_000, seed=2))
        os.utime(tmp_path / "one", ns=(stat.mtime_ns, stat.mtime_ns))
        # The same size, inode and mtime: only the hash can tell.
        assert isinstance((await Sender(disk, remote, lanes).upload(task)).fault, FileChanging)
        write(tmp_path, "one", data + b"more")
        assert isinstance((await Sender(disk, remote, lanes).upload(task)).fault, FileChanging)
        (tmp_path / "one").unlink()
        assert isinstance((await Sender(disk, remote, lanes).upload(task)).fault, FileChanging)
        assert remote.puts == []

    run(work)


def test_a_fault_of_the_service_ends_the_upload_and_is_told(run: Run, tmp_path: Path) -> None:
    data = noise(50 * 1024 * 1024)
    disk = new_disk(tmp_path)
    write(tmp_path, "big", data)

    async def work(lanes: Lanes) -> None:
        service = await CoreService.start()
        remote = Watched(service)
        remote.fails_at_put = 1
        done = await Sender(disk, remote, lanes).upload(upload_of(disk, "big", data, service.ns))
        assert isinstance(done.fault, Unavailable)
        assert len(remote.puts) == 1

    run(work)


def test_small_files_travel_inside_the_commit_each_content_once(run: Run, tmp_path: Path) -> None:
    files = {f"n{index}": noise(2_000, seed=index % 90) for index in range(100)}
    files["text"] = words(20_000)
    disk = new_disk(tmp_path)
    for name, data in files.items():
        write(tmp_path, name, data)

    async def work(lanes: Lanes) -> None:
        service = await CoreService.start()
        remote = Watched(service)
        done = await Sender(disk, remote, lanes).commit(commit_of(disk, files, service.ns))
        assert done.fault is None
        assert done.unread == ()
        assert done.reply is not None
        assert all(isinstance(outcome, Stored) for outcome in done.reply.outcomes)
        request, bodies = remote.commits[0]
        assert len(request.inline) == 91
        assert {block.codec for block in request.inline} == {CODEC_RAW, CODEC_ZSTD}
        opened = opened_all(request.inline, [memoryview(body) for body in bodies])
        assert set(opened.values()) == set(files.values())

    run(work)


def test_an_op_whose_file_changed_is_left_out_and_the_others_go(run: Run, tmp_path: Path) -> None:
    files = {"a": b"first", "b": b"second", "c": b"third"}
    disk = new_disk(tmp_path)
    for name, data in files.items():
        write(tmp_path, name, data)

    async def work(lanes: Lanes) -> None:
        service = await CoreService.start()
        remote = Watched(service)
        task = commit_of(disk, files, service.ns)
        write(tmp_path, "a", b"other")
        (tmp_path / "c").unlink()
        done = await Sender(disk, remote, lanes).commit(task)
        assert done.unread == (0, 2)
        assert done.reply is not None
        assert len(done.reply.outcomes) == 1
        assert remote.commits[0][0].ops == (task.request.ops[1],)
        write(tmp_path, "b", b"other")
        none = await Sender(disk, remote, lanes).commit(task)
        assert none.unread == (0, 1, 2)
        assert none.fault is None
        assert len(remote.commits) == 1

    run(work)
