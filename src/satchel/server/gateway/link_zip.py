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
from satchel.core.hashing import unpack_blocks
from satchel.core.ids import ContentHash
from satchel.core.limits import KIB, ZIP_ENTRIES_MAX
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


@dataclass(slots=True)
class _Level:
    """A folder on the way down. lists: the short blocklists of its waiting files."""

    folder: Node
    path: str
    waiting: deque[Node] = field(default_factory=deque)
    lists: dict[bytes, bytes] = field(default_factory=dict)
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
    files = {node.content for node in page if node.kind == Kind.FILE and node.size}
    level.lists = await services.db.read(lambda conn: blocklists_txn(conn, ns, files, blocks_max=PAGE_BLOCKS_MAX))


async def _bytes_of(services: Services, link: OpenLink, level: _Level, node: Node) -> AsyncIterator[bytes]:
    if not node.size:
        return
    packed = level.lists.get(node.content)
    if packed is None:
        packed = await blocklist_of(services.db, link.share.ns, ContentHash(node.content))
    async for piece in pieces_of(services, link.share.ns, unpack_blocks(packed), 0, node.size):
        yield piece
