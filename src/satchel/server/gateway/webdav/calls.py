"""One request and what it looks at. Invariant: a change is decided on one look and written only if that still holds.

Every look resolves paths through the same functions as REST; who may do what is decided there and in the commit.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from satchel.core.access import Right
from satchel.core.entries import Entry, Kind
from satchel.core.errors import NotFound, Unavailable
from satchel.core.ids import ID_BYTES, LinkId, NamespaceId, NodeId
from satchel.core.limits import DAV_XML_BYTES_MAX
from satchel.core.messages import CommitRequest, Conflict, Op, Outcome, Refused, Stored
from satchel.core.paths import join_path
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.commits import commit_request, stored_or_fault
from satchel.server.gateway.files import resolve_or_none
from satchel.server.gateway.raw import Receive, Scope, Send, header, read_body
from satchel.server.gateway.services import Services
from satchel.server.gateway.webdav.answers import Answer, ChangedMeanwhile, Refusal
from satchel.server.gateway.webdav.conditions import Claims, Facts, holds, names_tag, parse_if, tokens_of
from satchel.server.gateway.webdav.locks import Held, held, unchanged
from satchel.server.gateway.webdav.names import Names, names_here, names_of
from satchel.server.metadata.commit import Guard
from satchel.server.metadata.namespaces import namespaces

LOOKS_MAX = 5
"""How often a change is decided anew because others changed something first."""
_AGAIN = frozenset({"changed_since", "parent_gone", "not_found"})
SHOWN = frozenset({Kind.FILE, Kind.FOLDER})
"""What clients see; a symlink takes its name and is nothing that can be read."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names. parent: the live folder that it stands in, None when there is none (and for the root)."""

    names: Names
    entry: Entry | None
    parent: NodeId | None

    @property
    def shown(self) -> Entry | None:
        """What clients see there."""
        return self.entry if self.entry is not None and self.entry.kind in SHOWN else None

    @property
    def is_folder(self) -> bool:
        """Whether a folder stands there."""
        return self.entry is not None and self.entry.kind == Kind.FOLDER

    @property
    def nodes(self) -> list[NodeId]:
        """The nodes that it is about: itself, or else its folder."""
        return [self.entry.node_id] if self.entry is not None else [] if self.parent is None else [self.parent]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at what a request is about. places: in the order asked; head_seq: of before anything was looked at."""

    ns: NamespaceId
    places: tuple[Place, ...]
    head_seq: int
    locks: Held
    submitted: frozenset[str]


@dataclass(slots=True)
class Call:
    """A request with its sender. link: names its changes, so that even another of the same sender counts as foreign."""

    services: Services
    principal: Principal
    scope: Scope
    receive: Receive
    send: Send
    names: Names = field(init=False)
    link: LinkId = field(init=False)
    claims: tuple[Claims, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.names = names_of(self.scope["raw_path"])
        self.link = LinkId(self.services.clock.random(ID_BYTES))
        self.claims = parse_if(self.header(b"if"))

    @property
    def ns(self) -> NamespaceId:
        """The namespace that the paths are in."""
        return self.principal.root_ns

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

    async def may(self, right: Right) -> None:
        """Return when the sender has the right. Raises: NotFound."""
        authorize(self.principal, self.ns, right)

    async def head_seq(self) -> int:
        """Return the newest seq of the namespace."""
        return (await namespaces(self.services.db, self.principal)).namespaces[0].head_seq

    async def place(self, names: Names) -> Place:
        """Return what a path names now."""
        services, principal = self.services, self.principal
        entry = await resolve_or_none(services, principal, join_path(names))
        if not names:
            return Place(names, entry, None)
        if entry is not None:
            return Place(names, entry, entry.parent_id)
        above = await resolve_or_none(services, principal, join_path(names[:-1]))
        is_folder = above is not None and above.kind == Kind.FOLDER
        return Place(names, None, above.node_id if above is not None and is_folder else None)

    async def look(self, *paths: Names) -> Look:
        """Look at the request's own path and at others, and hold its conditions against that.

        Raises: Refusal (412, 400).
        """
        services = self.services
        head_seq = await self.head_seq()
        tagged = {
            claims.resource: names_here(self.scope, claims.resource, public_url=services.settings.public_url)
            for claims in self.claims
            if claims.resource
        }
        wanted = list(dict.fromkeys([self.names, *paths, *tagged.values()]))
        found = {names: await self.place(names) for names in wanted}
        asked = [node for place in found.values() for node in [*place.nodes, place.parent] if node is not None]
        locks = await held(services.db, services.clock, self.ns, asked)
        own = found[self.names]
        self._check(own, {"": own} | {tag: found[names] for tag, names in tagged.items()}, locks)
        places = (own, *(found[names] for names in paths))
        return Look(self.ns, places, head_seq, locks, tokens_of(self.claims))

    def _check(self, own: Place, places: dict[str, Place], locks: Held) -> None:
        etag = etag_of(own.shown)
        exists = etag or ("*" if own.shown is not None else "")
        if (told := self.header(b"if-match")) and not names_tag(told, exists):
            raise Refusal(412, "It is not what If-Match names.")
        if (told := self.header(b"if-none-match")) and names_tag(told, exists):
            raise Refusal(412, "It is what If-None-Match names.")
        if self.claims:
            facts = {tag: _facts(place, locks) for tag, place in places.items()}
            if not holds(self.claims, facts.__getitem__):
                raise Refusal(412, "What the If header claims does not hold.")

    async def commit(self, look: Look, *ops: Op) -> list[Stored]:
        """Commit what was decided on a look. Raises: ChangedMeanwhile, or the fault that an outcome means.

        With several ops those before a failing one may be stored.
        """
        return [stored(outcome) for outcome in await self.outcomes(look, *ops)]

    async def outcomes(self, look: Look, *ops: Op) -> Sequence[Outcome]:
        """As `commit`, but give each op's outcome."""
        return await self.further(look, *ops, guard=unchanged(self.services.clock, look.locks))

    async def further(self, look: Look, *ops: Op, guard: Guard | None = None) -> Sequence[Outcome]:
        """As `outcomes`, for what belongs to a change that has begun: no lock can come between any more."""
        request = CommitRequest(look.ns, self.link, ops)
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


def changed_nodes(place: Place) -> list[NodeId]:
    """Return the nodes whose locks protect a change of a place's name: what stands there, and its folder."""
    own = [place.entry.node_id] if place.entry is not None else []
    return own + ([place.parent] if place.parent is not None else [])


def _facts(place: Place, locks: Held) -> Facts:
    nodes = place.nodes if place.entry is not None else []
    if place.entry is None and place.parent is not None:
        # What is not there yet is under the deep locks of the folders above it.
        deep = [lock for lock in locks.covering(place.parent) if lock.is_deep]
        return Facts("", frozenset(lock.name for lock in deep))
    return Facts(etag_of(place.shown), frozenset(lock.name for node in nodes for lock in locks.covering(node)))
