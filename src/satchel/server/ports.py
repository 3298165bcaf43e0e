"""What the service needs of the world: time, stored bytes, wake-ups, short-lived facts. Invariant: no room knows more.

Adapters implement these ports; one contract suite per port runs over every adapter. Source: docs/design/020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from satchel.core.errors import MessageInvalid, Unavailable
from satchel.core.ids import NamespaceId

T = TypeVar("T")


class Clock(Protocol):
    """Time and randomness, so that nothing else asks the machine for them."""

    def now_ms(self) -> int:
        """Return Unix time in ms."""
        ...

    def random(self, count: int) -> bytes:
        """Return `count` bytes that nobody can guess."""
        ...

    async def sleep_s(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...

    def used_s(self) -> float:
        """Return how many seconds this process had a processor so far, all of its threads together."""
        ...


class Workers(Protocol):
    """A bounded pool for work that would block the loop (hashing, compression)."""

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises. Waits for a free worker."""
        ...


class Poster(Protocol):
    """Requests to addresses that people named."""

    async def check(self, url: str) -> None:
        """Return when something may be sent there. Raises: MessageInvalid."""
        ...

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Send a body, to no place that `check` would refuse at that moment; return the answer's status.

        Raises: Unavailable.
        """
        ...


class NoPoster:
    """A `Poster` that sends nothing anywhere."""

    async def check(self, url: str) -> None:
        """Refuse every address."""
        raise MessageInvalid("This server sends nothing to other addresses.", reason="url")

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Send nothing."""
        raise Unavailable("This server sends nothing to other addresses.", where="webhook", reason="off")


class Place(NamedTuple):
    """Where bytes were put: the object's name and the offset of the first byte."""

    name: str
    offset: int


class Span(NamedTuple):
    """A part of a stored object, in bytes."""

    name: str
    offset: int
    length: int


class BlockStore(Protocol):
    """Objects of bytes by name (`packs/{last two hex digits}/{id}`). It knows nothing of blocks."""

    async def put(self, name: str, pieces: Sequence[bytes | memoryview]) -> Place:
        """Store the pieces one after another, durable on return; return where the first byte is.

        An adapter that appends may use an object of its own instead of making `name`.
        Raises: StorageFull, StorageFailed (the bytes do not count), Unavailable (retry).
        """
        ...

    async def get(self, spans: Sequence[Span]) -> list[bytes | None]:
        """Return the bytes of each span, in order; None where the object is missing or ends before the span does.

        Raises: StorageFailed, Unavailable (retry).
        """
        ...

    async def delete(self, name: str) -> None:
        """Remove the object; one that is missing is no error. Idempotent."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """Return the names that start with `prefix`, in order."""
        ...

    async def open_names(self) -> frozenset[str]:
        """Return the names of objects that a later put may still append to: nobody may delete or replace them.

        An object that is not open never opens again.
        """
        ...

    async def probe(self) -> None:
        """Return when a write would work now. Raises: StorageFull, StorageFailed, Unavailable."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of everything."""
        ...


class Bus(Protocol):
    """Positions, nothing more: 'namespace 7 is at 4711'. Losing one costs latency, never data."""

    async def publish(self, ns: NamespaceId, seq: int) -> None:
        """Tell all listeners of all processes, those of this one before it returns. Never raises, never waits long.

        Of positions of one namespace that wait to be sent, the highest stands for all.
        """
        ...

    def subscribe(self, listener: Callable[[NamespaceId, int], None]) -> Callable[[], None]:
        """Call `listener` (which must not block or raise) for each position; return what ends it."""
        ...

    def on_gap(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when positions may have been missed: look at everything. Return what ends it."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class Post(Protocol):
    """Positions for one process of many. Losing one costs latency, never data."""

    async def tell(self, server_id: str, positions: Sequence[tuple[NamespaceId, int]]) -> None:
        """Tell the process, if there is one. Never raises because the post is down, never waits for it."""
        ...

    def listen(self, server_id: str, listener: Callable[[NamespaceId, int], None]) -> Callable[[], None]:
        """Call `listener` (which must not block or raise) for what is told to `server_id`; return what ends it."""
        ...

    def on_gap(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when positions may have been missed: look at everything. Return what ends it."""
        ...


class Member(NamedTuple):
    """A member of a key in the short-lived state, with its value."""

    key: str
    member: str
    value: bytes


class EphemeralState(Protocol):
    """Facts that may be lost at any time: who is connected, how much of a rate is used up.

    No method raises because the store is down: then nobody is connected, and rates hold within this process.
    """

    async def add_member(self, key: str, member: str, value: bytes, *, ttl_s: float) -> bool:
        """Add a member with its value, or renew it with a new one; it ends after `ttl_s`. At most 1,000 a key stay.

        Result: False when it was not there (any more): whoever looked for it meanwhile did not find it. True as well
        when the store is down.
        """
        ...

    async def add_members(self, members: Sequence[Member], *, ttl_s: float) -> list[bool]:
        """As `add_member` for each, in order, in few journeys; not one moment for all."""
        ...

    async def remove_member(self, key: str, member: str, *, value: bytes | None = None) -> None:
        """Remove a member; one that is missing is no error. With `value`: only if it still holds that. Atomic."""
        ...

    async def members(self, key: str) -> dict[str, bytes]:
        """Return the members that have not ended, in order, with their values."""
        ...

    async def members_of(self, keys: Sequence[str]) -> list[dict[str, bytes]]:
        """As `members` for each key, in order, in few journeys; not one moment for all."""
        ...

    async def spend(self, key: str, *, burst: int, per_s: float) -> float:
        """Take one from the key's bucket, which holds at most `burst` (>= 1) and gains `per_s` (> 0) a second.

        Result: 0.0 when taken, else the seconds until there is one. Atomic over all processes.
        """
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class Identified(NamedTuple):
    """Somebody whom a foreign service of sign-in knows. issuer, subject: which service, and who, for good.

    email: as the service writes it, printable; empty where there is none or it was not verified. names: what an account
    of theirs could be called, the best first; claims: all that the service said of them.
    """

    issuer: str
    subject: str
    email: str
    names: tuple[str, ...]
    claims: Mapping[str, object]


class SignInProvider(Protocol):
    """A foreign service that says who somebody is. Every answer of it is checked before it counts."""

    issuer: str
    """Its name, as the administrator gave it."""

    async def page(self, *, state: str, nonce: str, challenge: str, redirect: str) -> str:
        """Return the address that a browser is sent to. challenge: the hash of the verifier (PKCE, S256).

        Raises: Unavailable (it does not answer, or not as it should).
        """
        ...

    async def end_page(self, *, back: str) -> str:
        """Return the address where a browser ends its sign-in there; empty when the service has none.

        back: where it leads to afterwards, if the service knows that address. Raises: as `page`.
        """
        ...

    async def identified(self, *, code: str, verifier: str, nonce: str, redirect: str) -> Identified:
        """Return who came back with this code. A code counts once.

        Raises: Unauthenticated (the code or what the service signed is not what it must be), Unavailable.
        """
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class Sealer(Protocol):
    """Seals secrets that have to be computed with, so that whoever reads the database has none of them."""

    def seal(self, plain: bytes, belongs_to: bytes) -> bytes:
        """Return what is stored of a secret. belongs_to: what it opens with alone: a row's key."""
        ...

    def unseal(self, stored: bytes, belongs_to: bytes) -> bytes | None:
        """Return the secret; None when it was sealed by another key, for something else, or was changed."""
        ...


class NoSealer:
    """For services without a key: secrets are stored as they are."""

    def seal(self, plain: bytes, belongs_to: bytes) -> bytes:
        """As the port says."""
        return plain

    def unseal(self, stored: bytes, belongs_to: bytes) -> bytes | None:
        """As the port says; what a key sealed is longer than any secret."""
        return stored if len(stored) <= PLAIN_BYTES_MAX else None


class TaskSeen(NamedTuple):
    """Something that is done in the background. last_at_ms, next_at_ms: Unix ms, 0 for never; took_ms: the last run;
    failures: in a row; fault: of the last run, empty when it ended well."""

    name: str
    last_at_ms: int
    took_ms: int
    next_at_ms: int
    failures: int
    fault: str


class Overseer(Protocol):
    """What the store holds, and what is done to it in the background, for administrators."""

    async def figures(self) -> Mapping[str, object]:
        """Return counts and bytes by name, as `satchel admin stats` tells them."""
        ...

    async def tasks(self) -> Sequence[TaskSeen]:
        """Return all tasks that this store ever ran, by name."""
        ...


class NoOverseer:
    """An `Overseer` of services without upkeep: nothing is known."""

    async def figures(self) -> Mapping[str, object]:
        """Return nothing."""
        return {}

    async def tasks(self) -> Sequence[TaskSeen]:
        """Return none."""
        return ()


PLAIN_BYTES_MAX = 32
"""Secrets are no longer than this; what is sealed is."""
