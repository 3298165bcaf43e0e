"""A link's folder as one archive, made while it is sent. Invariant: what cannot be read whole cuts the archive off; no
byte is ever filled in.

Held at once: a page of names for each folder on the way down, some blocks, and the archive's packed table of contents.
Source: docs/use/links.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from satchel.core.entries import Kind
from satchel.core.errors import LimitExceeded, NotFound
from satchel.core.hashing import PACKED_BYTES, unpack_blocks
from satchel.core.ids import BlockHash, ContentHash
from satchel.core.limits import KIB, MIB, ZIP_ENTRIES_MAX
from satchel.server.gateway.content import pieces_of
from satchel.server.gateway.link_access import Recheck
from satchel.server.gateway.services import Services
from satchel.server.metadata.blocklists import blocklists_txn
from satchel.server.metadata.nodes import Node
from satchel.server.metadata.tree import blocklist_of
from satchel.server.sharing.links import OpenLink, children_of
from satchel.server.sharing.zipped import ZipWriter, safe_name

PAGE_NODES = 100
PAGE_BLOCKS_MAX = 16
"""Blocklists up to this long are read for a whole page of names at once."""
SENT_BYTES_MIN = 64 * KIB
SMALL_BYTES_MAX = 64 * KIB
AHEAD_BYTES_MAX = 1 * MIB


@dataclass(slots=True)
class _Level:
    """A folder on the way down. lists: the short blocklists of its waiting files; ready: bytes of small
    ones, read ahead."""

    folder: Node
    path: str
    waiting: deque[Node] = field(default_factory=deque)
    lists: dict[bytes, bytes] = field(default_factory=dict)
    ready: dict[bytes, bytes] = field(default_factory=dict)
    after: str = ""
    is_last: bool = False


async def zip_pieces(services: Services, link: OpenLink, recheck: Recheck) -> AsyncIterator[bytes]:
    """Yield the archive of the link's folder `link.node`.

    Raises: NotFound when the link does not open any more, BlockDamaged, LimitExceeded: the archive ends there.
    """
    writer = ZipWriter()
    waiting: list[bytes] = []
    size = 0
    async for piece in _pieces(services, link, recheck, writer):
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


async def _pieces(services: Services, link: OpenLink, recheck: Recheck, writer: ZipWriter) -> AsyncIterator[bytes]:
    name = safe_name(link.node.name, link.node.node_id)
    levels = [_Level(link.node, name)]
    if name:
        yield writer.folder(name, mtime_ns=link.node.mtime_ns)
    while levels:
        await recheck.pause()
        level = levels[-1]
        if not level.waiting:
            if level.is_last:
                levels.pop()
            else:
                await _turn_page(services, link, level, recheck)
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
        if node.kind == Kind.FOLDER:
            yield writer.folder(path, mtime_ns=node.mtime_ns)
            # What was read ahead waits for no folder below.
            level.ready = {}
            levels.append(_Level(node, path))
            continue
        yield writer.begin(path, size=node.size, mtime_ns=node.mtime_ns, is_executable=bool(node.is_executable))
        async for piece in _bytes_of(services, link, level, node):
            yield writer.take(piece)
        yield writer.end()


async def _turn_page(services: Services, link: OpenLink, level: _Level, recheck: Recheck) -> None:
    """Read what comes next in a folder. One that went away meanwhile ends there, if the link itself still opens."""
    ns = link.share.ns
    try:
        page = await children_of(services.db, replace(link, node=level.folder), level.after, PAGE_NODES)
    except NotFound:
        await recheck.now()
        page = []
    level.waiting.extend(page)
    level.is_last = len(page) < PAGE_NODES
    level.after = page[-1].name_key if page else ""
    level.ready = {}
    files = {node.content for node in page if node.kind == Kind.FILE and node.size}
    level.lists = await services.db.read(lambda conn: blocklists_txn(conn, ns, files, blocks_max=PAGE_BLOCKS_MAX))


async def _bytes_of(services: Services, link: OpenLink, level: _Level, node: Node) -> AsyncIterator[bytes]:
    if not node.size:
        return
    if node.content not in level.ready and _is_small(level, node):
        await _read_ahead(services, link, level, node)
    if (ready := level.ready.get(node.content)) is not None:
        yield ready
        return
    packed = level.lists.get(node.content)
    if packed is None:
        packed = await blocklist_of(services.db, link.share.ns, ContentHash(node.content))
    async for piece in pieces_of(services, link.share.ns, unpack_blocks(packed), 0, node.size):
        yield piece


def _is_small(level: _Level, node: Node) -> bool:
    """Tell whether a file of the page is one short block."""
    return node.size <= SMALL_BYTES_MAX and len(level.lists.get(node.content, b"")) == PACKED_BYTES


async def _read_ahead(services: Services, link: OpenLink, level: _Level, first: Node) -> None:
    """Read a small file with those that follow it on the page: a hundred files cost one journey, not a hundred."""
    wanted: dict[bytes, BlockHash] = {}
    size = 0
    for node in (first, *level.waiting):
        if node.kind == Kind.FILE and node.content not in wanted and _is_small(level, node):
            size += node.size
            if size > AHEAD_BYTES_MAX:
                break
            wanted[node.content] = unpack_blocks(level.lists[node.content])[0].hash
    parts = await services.blocks.read_bytes(link.share.ns, list(wanted.values()))
    level.ready = {content: bytes(part) for content, part in zip(wanted, parts, strict=True)}
