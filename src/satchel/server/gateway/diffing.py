"""REST: what changed between two versions of a text file. Invariant: bounded in size and in work, and few at a time."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import QueryParameter

from satchel.core.errors import LimitExceeded, NotFound
from satchel.core.hashing import unpack_blocks
from satchel.core.ids import NamespaceId, NodeId
from satchel.core.limits import DIFF_BYTES_MAX
from satchel.core.text_diff import text_of, unified
from satchel.server.gateway.history import node_of
from satchel.server.gateway.rest import Asked, from_hex, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.tree import VersionInfo, blocklist_of, versions

LINES_MAX = 20_000
DIFF_BYTES_IN_MEMORY = 16 * DIFF_BYTES_MAX
"""Two versions, their lines, and what the comparison notes of them."""

Older = Annotated[int, QueryParameter(name="from", ge=0, le=2**62)]
Newer = Annotated[int, QueryParameter(name="to", ge=0, le=2**62)]


class TextDiff(msgspec.Struct, frozen=True):
    """A unified diff. older, newer: the revs that are compared; is_binary: one of them is no text, and there are no
    lines; is_equal: their contents are the same; is_whole: false when lines were left out in the end."""

    older: int
    newer: int
    lines: list[str]
    is_binary: bool
    is_equal: bool
    is_whole: bool


@get("/api/v1/diff", transfers=True)
async def diff(
    request: Asked,
    path: str = "",
    id: str = "",
    older: Older = 0,
    newer: Newer = 0,
    namespace: str = "",
    against: str = "",
) -> TextDiff:
    """Compare two versions of a text file, of 1 MiB each at most: `to`, the newest when it is left out, with `from`,
    the one before that when it is left out. With `against`, `from` is a version of that other file of the namespace,
    its newest when it is left out."""
    services, principal = services_of(request), await principal_of(request)
    ns, node_id = await node_of(services, principal, path=path, node=id, namespace=namespace)
    found = await versions(services.db, principal, ns, node_id)
    after = _named(found, newer) if newer else next(iter(found), None)
    if after is None:
        raise NotFound("This has no versions.")
    if against:
        found = await versions(services.db, principal, ns, NodeId(from_hex(against, what="against")))
        before = _named(found, older) if older else next(iter(found), None)
    else:
        before = _named(found, older) if older else next((one for one in found if one.rev < after.rev), None)
    if before is None:
        raise NotFound("There is no version before it.", rev=after.rev)
    if before.content_hash == after.content_hash:
        return TextDiff(before.rev, after.rev, [], False, True, True)
    with services.room.taken(principal.account_id, DIFF_BYTES_IN_MEMORY):
        old, new = [await _bytes(services, ns, one) for one in (before, after)]
        return await services.workers.run(lambda: _compared(before, after, old, new))


def _compared(before: VersionInfo, after: VersionInfo, old: bytes, new: bytes) -> TextDiff:
    was, now = text_of(old), text_of(new)
    if was is None or now is None:
        return TextDiff(before.rev, after.rev, [], True, False, True)
    names = f"rev {before.rev}", f"rev {after.rev}"
    told = unified(was, now, old_name=names[0], new_name=names[1], lines_max=LINES_MAX)
    return TextDiff(before.rev, after.rev, told.lines, False, False, told.is_whole)


def _named(found: list[VersionInfo], rev: int) -> VersionInfo:
    for version in found:
        if version.rev == rev:
            return version
    raise NotFound("There is no such version.", rev=rev)


async def _bytes(services: Services, ns: NamespaceId, version: VersionInfo) -> bytes:
    if version.size > DIFF_BYTES_MAX:
        raise LimitExceeded(
            "The version is too long to be compared line by line.",
            limit="DIFF_BYTES_MAX",
            maximum=DIFF_BYTES_MAX,
            actual=version.size,
        )
    if not version.size:
        return b""
    blocks = unpack_blocks(await blocklist_of(services.db, ns, version.content_hash))
    return b"".join([bytes(part) for part in await services.blocks.read_bytes(ns, [block.hash for block in blocks])])


ROUTES = (diff,)
