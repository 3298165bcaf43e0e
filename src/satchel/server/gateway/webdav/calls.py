"""One request and what it looks at. Invariant: a change is decided on one look and written only if that still holds.

Every look resolves paths through the same functions as REST; who may do what is decided there and in the commit.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from satchel.core.access import Right
from satchel.core.entries import Entry, Kind
from satchel.core.errors import NotFound, Unavailable
from satchel.core.ids import ID_BYTES, ROOT_NODE, LinkId, NamespaceId, NodeId
from satchel.core.limits import DAV_XML_BYTES_MAX
from satchel.core.messages import CommitRequest, Conflict, Op, Outcome, Refused, Stored
from satchel.core.paths import join_path
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.commits import commit_request, stored_or_fault
from satchel.server.gateway.files import locate_or_none
from satchel.server.gateway.raw import Receive, Scope, Send, header, read_body
from satchel.server.gateway.services import Services
from satchel.server.gateway.webdav.answers import Answer, ChangedMeanwhile, Refusal
from satchel.server.gateway.webdav.conditions import Claims, Facts, holds, names_tag, parse_if, tokens_of
from satchel.server.gateway.webdav.locks import Held, Lock, held, unchanged
from satchel.server.gateway.webdav.names import Names, names_here, names_of
from satchel.server.metadata.commit import Guard
from satchel.server.metadata.namespaces import namespaces

RECHECK_MS = 30_000
"""So long the answer to who asks, and with which rights, is believed while a request lasts."""
LOOKS_MAX = 5
"""How often a change is decided anew because others changed something first."""
_AGAIN = frozenset({"changed_since", "parent_gone", "not_found"})
FOLDERS = frozenset({Kind.FOLDER, Kind.MOUNT})
SHOWN = FOLDERS | {Kind.FILE}
"""What clients see; a symlink takes its name and is nothing that can be read."""


class Spot(NamedTuple):
    """A node in its namespace."""

    ns: NamespaceId
    node_id: NodeId


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names. parent: the live folder that it stands in, None when there is none (and for the root).

    ns: the namespace of that folder, and of the entry.
    """

    names: Names
    ns: NamespaceId
    entry: Entry | None
    parent: NodeId | None

    @property
    def shown(self) -> Entry | None:
        """What clients see there."""
        return self.entry if self.entry is not None and self.entry.kind in SHOWN else None

    @property
    def is_folder(self) -> bool:
        """Whether a folder stands there."""
        return self.entry is not None and self.entry.kind in FOLDERS

    @property
    def own(self) -> list[Spot]:
        """What stands there, as locks name it: behind a mount, the root of what is mounted."""
        if self.entry is None:
            return []
        if self.entry.kind == Kind.MOUNT:
            return [Spot(NamespaceId(self.entry.content), ROOT_NODE)]
        return [Spot(self.ns, self.entry.node_id)]

    @property
    def above(self) -> list[Spot]:
        """The folder that it stands in."""
        return [] if self.parent is None else [Spot(self.ns, self.parent)]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at what a request is about. places: its own, then those asked for; heads: of before anything was looked
    at; locks: of each namespace that a place is in."""

    places: tuple[Place, ...]
    heads: Mapping[NamespaceId, int]
    locks: Mapping[NamespaceId, Held]
    submitted: frozenset[str]

    @property
    def place(self) -> Place:
        """What the request's own path names."""
        return self.places[0]

    def require(self, principal: Principal, under: Iterable[Spot], units: Iterable[Spot] = ()) -> None:
        """As `Held.require`, over all namespaces. Raises: Refusal (423)."""
        under, units = list(under), list(units)
        for ns, held_there in self.locks.items():
            held_there.require(
                principal,
                self.submitted,
                under=[spot.node_id for spot in under if spot.ns == ns],
                units=[spot.node_id for spot in units if spot.ns == ns],
            )

    def covering(self, spots: Iterable[Spot]) -> list[Lock]:
        """Return the locks that any of these is under."""
        return [lock for spot in spots for lock in self.locks[spot.ns].covering(spot.node_id)]


@dataclass(slots=True)
class Call:
    """A request with its sender. link: names its changes, so that even another of the same sender counts as foreign.

    ask_sender: tells who sends it, now.
    """

    services: Services
    principal: Principal
    scope: Scope
    receive: Receive
    send: Send
    ask_sender: Callable[[], Awaitable[Principal]]
    names: Names = field(init=False)
    link: LinkId = field(init=False)
    claims: tuple[Claims, ...] = field(init=False)
    asked_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self.names = names_of(self.scope["raw_path"])
        self.link = LinkId(self.services.clock.random(ID_BYTES))
        self.claims = parse_if(self.header(b"if"))
        self.asked_ms = self.services.clock.now_ms()

    @property
    def address(self) -> str:
        """Return where the request came from."""
        client = self.scope.get("client")
        return client[0] if client else ""

    def header(self, name: bytes) -> str:
        """Return a header's text, empty when it is missing."""
        return header(self.scope["headers"], name).decode("latin-1").strip()

    def depth(self, default: str) -> str:
        """Return `0`, `1` or `infinity`. Raises: Refusal (400)."""
        told = self.header(b"depth").lower() or default
        if told not in ("0", "1", "infinity"):
            raise Refusal(400, "The Depth header is none of 0, 1 and infinity.")
        return told

    async def xml(self) -> bytes:
        """Return the request's body. Raises: LimitExceeded."""
        return await read_body(self.scope, self.receive, limit="DAV_XML_BYTES_MAX", maximum=DAV_XML_BYTES_MAX)

    async def may(self, ns: NamespaceId, *rights: Right) -> None:
        """Return when the sender has the rights in a namespace. Raises: NotFound, Refusal (403)."""
        if not self.principal.may_write and any(right is not Right.READ for right in rights):
            raise Refusal(403, "This app password only reads.")
        await authorize(self.services.db, self.principal, ns, *rights)

    async def still(self, ns: NamespaceId, *rights: Right) -> None:
        """Return while the sender is who it was, with these rights; asked anew after RECHECK_MS. What lasts longer than
        a moment asks before each part. Raises: Unauthenticated, NotFound, Refusal (403)."""
        if self.services.clock.now_ms() - self.asked_ms >= RECHECK_MS:
            self.principal = await self.ask_sender()
            await self.may(ns, *rights)
            self.asked_ms = self.services.clock.now_ms()

    async def heads(self) -> dict[NamespaceId, int]:
        """Return the newest seq of each namespace."""
        found = await namespaces(self.services.db, self.principal)
        return {head.ns: head.head_seq for head in found.namespaces}

    async def place(self, names: Names) -> Place:
        """Return what a path names now."""
        services, principal = self.services, self.principal
        found = await locate_or_none(services, principal, join_path(names))
        if found is not None:
            return Place(names, found.ns, found.entry, found.entry.parent_id if names else None)
        above = await locate_or_none(services, principal, join_path(names[:-1])) if names else None
        if above is None or not above.is_folder:
            return Place(names, principal.root_ns, None, None)
        ns, folder = above.inside
        return Place(names, ns, None, folder)

    async def look(self, *paths: Names) -> Look:
        """Look at the request's own path and at others, and hold its conditions against that.

        Raises: Refusal (412, 400).
        """
        services = self.services
        heads = await self.heads()
        tagged = {
            claims.resource: names_here(self.scope, claims.resource, public_url=services.settings.public_url)
            for claims in self.claims
            if claims.resource
        }
        wanted = list(dict.fromkeys([self.names, *paths, *tagged.values()]))
        found = {names: await self.place(names) for names in wanted}
        spots = [spot for place in found.values() for spot in (*place.own, *place.above)]
        locks = {
            ns: await held(services.db, services.clock, ns, [spot.node_id for spot in spots if spot.ns == ns])
            for ns in dict.fromkeys([spot.ns for spot in spots])
        }
        own = found[self.names]
        look = Look((own, *(found[names] for names in paths)), heads, locks, tokens_of(self.claims))
        self._check(look, {"": own} | {tag: found[names] for tag, names in tagged.items()})
        return look

    def _check(self, look: Look, places: dict[str, Place]) -> None:
        own = look.place
        etag = etag_of(own.shown)
        exists = etag or ("*" if own.shown is not None else "")
        if (told := self.header(b"if-match")) and not names_tag(told, exists):
            raise Refusal(412, "It is not what If-Match names.")
        if (told := self.header(b"if-none-match")) and names_tag(told, exists):
            raise Refusal(412, "It is what If-None-Match names.")
        if self.claims:
            facts = {tag: _facts(place, look) for tag, place in places.items()}
            if not holds(self.claims, facts.__getitem__):
                raise Refusal(412, "What the If header claims does not hold.")

    async def commit(self, look: Look, ns: NamespaceId, *ops: Op) -> list[Stored]:
        """Commit what was decided on a look. Raises: ChangedMeanwhile, or the fault that an outcome means.

        With several ops those before a failing one may be stored.
        """
        return [stored(outcome) for outcome in await self.outcomes(look, ns, *ops)]

    async def outcomes(self, look: Look, ns: NamespaceId, *ops: Op) -> Sequence[Outcome]:
        """As `commit`, but give each op's outcome."""
        return await self.further(ns, *ops, guard=unchanged(self.services.clock, look.locks[ns]))

    async def further(self, ns: NamespaceId, *ops: Op, guard: Guard | None = None) -> Sequence[Outcome]:
        """As `outcomes`, for what belongs to a change that has begun: no lock can come between any more."""
        request = CommitRequest(ns, self.link, ops)
        return (await commit_request(self.services, self.principal, request, (), guard)).outcomes


def stored(outcome: Outcome) -> Stored:
    """Return what was stored. Raises: ChangedMeanwhile when a new look may end otherwise, or the outcome's fault."""
    match outcome:
        case Conflict():
            raise ChangedMeanwhile
        case Refused(code=code) if code in _AGAIN:
            raise ChangedMeanwhile
        case _:
            return stored_or_fault(outcome)


async def decided(attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    """Look and act until nobody comes between. Raises: Unavailable (retry), and as `attempt`."""
    for _ in range(LOOKS_MAX):
        try:
            return await attempt()
        except ChangedMeanwhile:
            continue
    raise Unavailable("Others change it at the same moment.", where="webdav", reason="changed")


def etag_of(entry: Entry | None) -> str:
    """Return a file's entity tag, which names its content; a folder has none."""
    return tag_of(entry.content) if entry is not None and entry.kind == Kind.FILE else ""


def tag_of(content: bytes) -> str:
    """Return the entity tag of a content hash; short, since clients put several into one header."""
    return f'"{base64.urlsafe_b64encode(content).rstrip(b"=").decode()}"'


def existing(place: Place) -> Entry:
    """Return what clients see at a place. Raises: NotFound."""
    if place.shown is None:
        raise NotFound("There is nothing at this path.")
    return place.shown


def folder_of(place: Place) -> NodeId:
    """Return the folder that something new is to stand in. Raises: Refusal (409)."""
    if place.parent is None:
        raise Refusal(409, "The folder that it is to stand in is not there.")
    if place.entry is not None and place.shown is None:
        raise Refusal(409, "Something that cannot be shown over WebDAV has this name.")
    return place.parent


def _facts(place: Place, look: Look) -> Facts:
    if place.entry is not None:
        return Facts(etag_of(place.shown), frozenset(lock.name for lock in look.covering(place.own)))
    # What is not there yet is under the deep locks of the folders above it.
    return Facts("", frozenset(lock.name for lock in look.covering(place.above) if lock.is_deep))
