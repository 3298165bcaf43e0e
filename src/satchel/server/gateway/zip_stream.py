"""A folder as one archive, made while it is sent. Invariant: what cannot be read whole cuts the archive off; no
byte is ever filled in.

Held at once: a page of names for each folder on the way down, some blocks, and the archive's packed table of contents.
Which folder that is, and who
may still have it, a source says: a link (link_pages) or an account (zipping). Source: docs/use/links.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from satchel.core.entries import Entry, Kind
from satchel.core.errors import LimitExceeded, NotFound
from satchel.core.hashing import PACKED_BYTES, unpack_blocks
from satchel.core.ids import ROOT_NODE, BlockHash, ContentHash, NamespaceId, NodeId
from satchel.core.limits import KIB, MIB, ZIP_ENTRIES_MAX
from satchel.server.gateway.content import pieces_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.blocklists import blocklists_txn
from satchel.server.metadata.nodes import Node
from satchel.server.metadata.tree import blocklist_of
from satchel.server.sharing.zipped import ZipWriter, safe_name

PAGE_NODES = 100
PAGE_BLOCKS_MAX = 16
"""Blocklists up to this long are read for a whole page of names at once."""
SENT_BYTES_MIN = 64 * KIB
SMALL_BYTES_MAX = 64 * KIB
AHEAD_BYTES_MAX = 1 * MIB


Zipped = Node | Entry


class ZipSource(Protocol):
    """What an archive is made of: a folder, and who may still have it. Both are asked again while it is sent."""

    async def children(self, ns: NamespaceId, folder: NodeId, after: str, limit: int) -> Sequence[Zipped]:
        """Return what stands in a folder by name key, from above the key `after`. Raises: NotFound."""

    async def pause(self) -> None:
        """Return when more may be sent. Raises: NotFound, which cuts the archive off."""

    async def now(self) -> None:
        """As `pause`, whenever it was asked last."""


@dataclass(slots=True)
class _Level:
    """A folder on the way down. lists: the short blocklists of its waiting files; ready: bytes of small
    ones, read ahead."""

    ns: NamespaceId
    folder: NodeId
    path: str
    waiting: deque[Zipped] = field(default_factory=deque)
    lists: dict[bytes, bytes] = field(default_factory=dict)
    ready: dict[bytes, bytes] = field(default_factory=dict)
    after: str = ""
    is_last: bool = False


async def zip_pieces(services: Services, source: ZipSource, ns: NamespaceId, top: Zipped) -> AsyncIterator[bytes]:
    """Yield the archive of the folder `top`.

    Raises: NotFound when the source gives it no more, BlockDamaged, LimitExceeded: the archive ends there.
    """
    writer = ZipWriter()
    waiting: list[bytes] = []
    size = 0
    async for piece in _pieces(services, source, ns, top, writer):
        waiting.append(piece)
        size += len(piece)
        if size >= SENT_BYTES_MIN:
            yield b"".join(waiting)
            waiting, size = [], 0
    for piece in writer.finish():
        waiting.append(piece)
        size += len(piece)
        if size >= SENT_BYTES_MIN:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


async def _pieces(
    services: Services, source: ZipSource, ns: NamespaceId, top: Zipped, writer: ZipWriter
) -> AsyncIterator[bytes]:
    name = safe_name(top.name, top.node_id)
    levels = [_below(ns, top, name)]
    if name:
        yield writer.folder(name, mtime_ns=top.mtime_ns)
    while levels:
        await source.pause()
        level = levels[-1]
        if not level.waiting:
            if level.is_last:
                levels.pop()
            else:
                await _turn_page(services, source, level)
            continue
        node = level.waiting.popleft()
        path = f"{level.path}/{safe_name(node.name, node.node_id)}".removeprefix("/")
        if writer.count >= ZIP_ENTRIES_MAX:
            raise LimitExceeded(
                "The folder holds too much for one archive.",
                limit="ZIP_ENTRIES_MAX",
                maximum=ZIP_ENTRIES_MAX,
                actual=writer.count + 1,
            )
        if node.kind in (Kind.FOLDER, Kind.MOUNT):
            yield writer.folder(path, mtime_ns=node.mtime_ns)
            # What was read ahead waits for no folder below.
            level.ready = {}
            levels.append(_below(level.ns, node, path))
            continue
        yield writer.begin(path, size=node.size, mtime_ns=node.mtime_ns, is_executable=bool(node.is_executable))
        async for piece in _bytes_of(services, level, node):
            yield writer.take(piece)
        yield writer.end()


def _below(ns: NamespaceId, folder: Zipped, path: str) -> _Level:
    if folder.kind == Kind.MOUNT:
        return _Level(NamespaceId(folder.content), ROOT_NODE, path)
    return _Level(ns, folder.node_id, path)


async def _turn_page(services: Services, source: ZipSource, level: _Level) -> None:
    """Read what comes next in a folder. One that went away meanwhile ends there, if the source itself still opens."""
    try:
        page = await source.children(level.ns, level.folder, level.after, PAGE_NODES)
    except NotFound:
        await source.now()
        page = []
    level.waiting.extend(node for node in page if node.kind != Kind.SYMLINK)
    level.is_last = len(page) < PAGE_NODES
    level.after = page[-1].name_key if page else ""
    level.ready = {}
    files = {node.content for node in page if node.kind == Kind.FILE and node.size}
    level.lists = await services.db.read(lambda conn: blocklists_txn(conn, level.ns, files, blocks_max=PAGE_BLOCKS_MAX))


async def _bytes_of(services: Services, level: _Level, node: Zipped) -> AsyncIterator[bytes]:
    if not node.size:
        return
    if node.content not in level.ready and _is_small(level, node):
        await _read_ahead(services, level, node)
    if (ready := level.ready.get(node.content)) is not None:
        yield ready
        return
    packed = level.lists.get(node.content)
    if packed is None:
        packed = await blocklist_of(services.db, level.ns, ContentHash(node.content))
    async for piece in pieces_of(services, level.ns, unpack_blocks(packed), 0, node.size):
        yield piece


def _is_small(level: _Level, node: Zipped) -> bool:
    """Tell whether a file of the page is one short block."""
    return node.size <= SMALL_BYTES_MAX and len(level.lists.get(node.content, b"")) == PACKED_BYTES


async def _read_ahead(services: Services, level: _Level, first: Zipped) -> None:
    """Read a small file with those that follow it on the page: a hundred files cost one journey, not a hundred."""
    wanted: dict[bytes, BlockHash] = {}
    size = 0
    for node in (first, *level.waiting):
        if node.kind == Kind.FILE and node.content not in wanted and _is_small(level, node):
            size += node.size
            if size > AHEAD_BYTES_MAX:
                break
            wanted[node.content] = unpack_blocks(level.lists[node.content])[0].hash
    parts = await services.blocks.read_bytes(level.ns, list(wanted.values()))
    level.ready = {content: bytes(part) for content, part in zip(wanted, parts, strict=True)}
