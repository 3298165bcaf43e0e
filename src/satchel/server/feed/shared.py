"""One look at the database for all that hear of a change at once. Invariant: each gets the page that it would have
got alone, and a caller that goes away takes nothing from the others.

A change in a shared namespace wakes thousands of streams in the same moment. Asked one by one they would run the same
statements thousands of times; here those that ask in one moment share a transaction, and those that stand at the same
place share what was found and the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from satchel.core.access import Right, allows
from satchel.core.errors import NotFound
from satchel.core.ids import AccountId, BlockHash, DeviceId, LinkId, NamespaceId
from satchel.core.messages import Changes, ChangesRequest, Pushed, WireBlock, encode_frame
from satchel.server.accounts.members import role_question, roles_of
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, fetch_together
from satchel.server.db.gathering import Gathering
from satchel.server.feed.pages import (
    Draft,
    Found,
    InlineBlocks,
    draft_of,
    look_questions,
    look_txn,
    page_limit,
    page_of,
    reset_page,
)
from satchel.server.feed.scopes import LinkScope, scopes_of, scopes_question
from satchel.server.metadata.journal import Head, head_of, head_question

GROUP_MAX = 256
"""So many share a transaction; with more the next group begins while this one reads."""
GATHERING_TURNS = 3
"""Turns of the loop that the first waits for those who were woken with it."""

Page = tuple[Changes, list[bytes]]


class _Ask(NamedTuple):
    """One stream's question."""

    principal: Principal
    request: ChangesRequest

    @property
    def whose(self) -> tuple[DeviceId, LinkId]:
        return self.principal.device_id, self.request.link


class SharedPages:
    """`changes` for streams."""

    def __init__(self, db: Database, blocks: InlineBlocks) -> None:
        self._db = db
        self._blocks = blocks
        self._asked: Gathering[NamespaceId, _Ask, Page | None] = Gathering(self._read, _pause, count_max=GROUP_MAX)
        self._framed: tuple[Changes, int, bytes] | None = None

    async def changes(self, principal: Principal, request: ChangesRequest) -> Page:
        """As `feed.service.changes`; one look at the database serves all that ask in the same moment, and tells in the
        same view whether each of them may read."""
        page = await self._asked.ask(request.position.ns, _Ask(principal, request))
        if page is None:
            raise NotFound("There is no such namespace.")
        return page

    def frame(self, page: Changes, bodies: Sequence[bytes], *, prev_seq: int) -> bytes:
        """Return the frame that pushes the page to a device that stands at `prev_seq`, made once for all in a row."""
        framed = self._framed
        if framed is None or framed[0] is not page or framed[1] != prev_seq:
            told = page if page.prev_seq == prev_seq else replace(page, prev_seq=prev_seq)
            self._framed = framed = (page, prev_seq, b"".join(encode_frame(Pushed(told), bodies)))
        return framed[2]

    async def _read(self, ns: NamespaceId, group: Sequence[_Ask]) -> list[Page | None]:
        """Return each one's page, None for those who may not read the namespace."""
        guests = {ask.principal.account_id for ask in group if ask.principal.root_ns != ns}

        async def look(conn: Connection) -> tuple[Head, list[Found | None], set[AccountId]]:
            links = {ask.whose for ask in group}
            # Most stand at one place: the first's is asked for with the rest, in one journey.
            first = group[0].request
            asked = [head_question(ns), role_question(ns, guests), scopes_question(ns, links), *look_questions(first)]
            ends, roles, left_out, *answers = await fetch_together(conn, asked)
            readers = {account for account, role in roles_of(roles).items() if allows(role, Right.READ)}
            head, scopes = head_of(ends), scopes_of(links, left_out)
            known: dict[Hashable, Found | None] = {}
            for ask in group:
                key = _look_key(ask.request, scopes[ask.whose])
                if key not in known:
                    if _place_key(ask.request) != _place_key(first):
                        first, answers = ask.request, await fetch_together(conn, look_questions(ask.request))
                    known[key] = await look_txn(conn, head, ask.request, scopes[ask.whose], answers)
            return head, [known[_look_key(ask.request, scopes[ask.whose])] for ask in group], guests - readers

        head, found, strangers = await self._db.glance(look)
        drafts: dict[Hashable, Draft] = {}
        keys = [_page_key(ask.request, each) for ask, each in zip(group, found, strict=True)]
        for key, ask, each in zip(keys, group, found, strict=True):
            if each is not None and key not in drafts:
                drafts[key] = draft_of(ask.request, each)
        wanted = {name for draft in drafts.values() for name in draft.hashes}
        contents = await self._blocks.read_inline(ns, wanted) if wanted else {}
        pages = _pages(ns, head, group, found, keys, drafts, contents)
        is_stranger = [ask.principal.root_ns != ns and ask.principal.account_id in strangers for ask in group]
        return [None if is_hidden else page for page, is_hidden in zip(pages, is_stranger, strict=True)]


async def _pause() -> None:
    for _ in range(GATHERING_TURNS):
        await asyncio.sleep(0)


def _pages(
    ns: NamespaceId,
    head: Head,
    group: Sequence[_Ask],
    found: Sequence[Found | None],
    keys: Sequence[Hashable],
    drafts: dict[Hashable, Draft],
    contents: dict[BlockHash, tuple[WireBlock, bytes]],
) -> list[Page]:
    """Return each one's page; those with one key have one page between them."""
    made: dict[Hashable, Page] = {}
    for key, ask, each in zip(keys, group, found, strict=True):
        if key not in made:
            made[key] = (
                (reset_page(ns, head), []) if each is None else page_of(ask.request, head, each, drafts[key], contents)
            )
    return [made[key] for key in keys]


def _look_key(request: ChangesRequest, scope: LinkScope) -> Hashable:
    """Name what is found. Whose link it is makes a difference only where something is left out."""
    whose = (scope.left_out, scope.device, scope.link) if scope.left_out else ()
    return *_place_key(request), request.position.tag, whose


def _place_key(request: ChangesRequest) -> tuple[int, int]:
    """Name what is asked of the journal."""
    return request.position.seq, page_limit(request)


def _page_key(request: ChangesRequest, found: Found | None) -> Hashable:
    """Name the page. Its link makes a difference where one of the entries is its own: that one carries no content."""
    if found is None:
        return None
    own = request.link if any(entry.link == request.link for entry in found.entries) else b""
    return id(found), request.with_xattrs, request.with_content, own
