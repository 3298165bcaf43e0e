"""A stage for coroutines that stop before every transaction and every call of the block store.

Invariant: a seed gives the same order in any process. Who goes on is drawn from one stream; time is a number that may
jump between two steps, forth and back; an actor may be stopped for good before any step, as a process that is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import types
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from satchel.server.db.engine import READ_WAIT_S, Database, Dialect, Work
from satchel.server.ports import BlockStore, Place, Span

T = TypeVar("T")

HOUR_MS = 3_600_000
JUMPS_MS = (1, 2 * HOUR_MS, 25 * HOUR_MS, 49 * HOUR_MS, 49 * HOUR_MS, -3 * HOUR_MS, -30 * HOUR_MS)
"""How the clock jumps. All jumps of a run stay well below the 30 days for which the row of a pack outlives it."""
JUMPS_MAX = 6
STEPS_MAX = 4_000
HOLDING_SHARE, HELD_COMES_SHARE = 0.25, 0.15
"""How often one is held before it writes, and one that is held comes before another's write."""
_JUMP, _CRASH = 100, 200


class Wrong(Exception):
    """A claim does not hold. claim: its name; text: what was found."""

    def __init__(self, claim: str, text: str = "") -> None:
        super().__init__(f"{claim}: {text}")
        self.claim = claim


@types.coroutine
def about_to(what: object) -> Generator[object, None, None]:
    """A step ends here; the next one does `what`."""
    yield what


class StageClock:
    """Time and randomness of a run: a millisecond a look. highest: the latest that anybody saw. landings: where each
    jump led."""

    def __init__(self, chance: random.Random, now: int = 1_800_000_000_000) -> None:
        self.now = self.highest = now
        self.landings: list[int] = []
        self.chance = chance

    def now_ms(self) -> int:
        self.now += 1
        self.highest = max(self.highest, self.now)
        return self.now

    def random(self, count: int) -> bytes:
        return self.chance.randbytes(count)

    def jump(self, by_ms: int) -> None:
        self.now += by_ms
        self.highest = max(self.highest, self.now)
        self.landings.append(self.now)

    async def sleep_s(self, seconds: float) -> None:
        await about_to("sleep")

    def used_s(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class _Write:
    """A transaction that writes, or a look into the store: what it goes by was read before, and may be old."""

    work: object


class SteppedDatabase:
    """A database at which a step ends before each transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.dialect: Dialect = db.dialect

    async def read(self, work: Work[T], *, wait_s: float = READ_WAIT_S) -> T:
        await about_to(work)
        return await self._db.read(work)

    async def glance(self, work: Work[T]) -> T:
        return await self.read(work)

    async def write(self, key: bytes, work: Work[T]) -> T:
        await about_to(_Write(work))
        return await self._db.write(key, work)

    async def close(self) -> None:
        await self._db.close()


class SteppedStore:
    """A block store at which a step ends before each call. deleting: told the name of what goes."""

    def __init__(self, store: BlockStore, deleting: Callable[[str], None]) -> None:
        self._store, self._deleting = store, deleting

    async def put(self, name: str, pieces: Sequence[bytes | memoryview]) -> Place:
        await about_to("store.put")
        return await self._store.put(name, pieces)

    async def get(self, spans: Sequence[Span]) -> list[bytes | None]:
        await about_to(_Write("store.get"))
        return await self._store.get(spans)

    async def delete(self, name: str) -> None:
        await about_to("store.delete")
        self._deleting(name)
        await self._store.delete(name)

    async def names(self, prefix: str) -> list[str]:
        await about_to("store.names")
        return await self._store.names(prefix)

    async def open_names(self) -> frozenset[str]:
        await about_to("store.open_names")
        return await self._store.open_names()

    async def probe(self) -> None:
        await about_to("store.probe")
        await self._store.probe()

    async def close(self) -> None:
        await self._store.close()


@dataclass(slots=True, eq=False)
class Actor:
    """Somebody on the stage. number: its place in the cast."""

    number: int
    name: str
    coroutine: Coroutine[object, None, None]
    is_writing: bool = False


@dataclass(slots=True)
class Played:
    """How a run went. schedule: names the cast and all choices; crashed: who was stopped for good."""

    steps: int = 0
    jumps: int = 0
    crashed: str = ""
    schedule: bytes = b""
    trace: list[str] = field(default_factory=list)


def play(
    cast: Sequence[tuple[str, Coroutine[object, None, None]]],
    chance: random.Random,
    clock: StageClock,
    *,
    is_holding: bool = False,
    is_traced: bool = False,
) -> Played:
    """Run all of the cast to their ends, in an order drawn from `chance`. Raises: Wrong, and what an actor raises.

    is_holding: some wait before what they write until another one is about to write, and then come first.
    """
    ready = [Actor(number, name, coroutine) for number, (name, coroutine) in enumerate(cast)]
    played, choices, draw = Played(), bytearray(), chance.random
    # Some runs switch at each step, in others an actor does much while another waits in a bad place.
    stays = chance.choice((0.0, 0.5, 0.8, 0.93, 0.97))
    jump_share = chance.choice((0.0, 0.02, 0.08))
    crash_at = chance.randrange(1, 120) if draw() < 0.3 else 0
    actor: Actor | None = None
    held: list[Actor] = []
    try:
        while ready:
            played.steps += 1
            if played.steps > STEPS_MAX:
                raise Wrong("everybody comes to an end", ", ".join(each.name for each in ready))
            if draw() < jump_share and played.jumps < JUMPS_MAX:
                jump = int(draw() * len(JUMPS_MS))
                clock.jump(JUMPS_MS[jump])
                played.jumps += 1
                choices.append(_JUMP + jump)
                if is_traced:
                    played.trace.append(f"{played.steps:4} the clock jumps by {JUMPS_MS[jump] / HOUR_MS:.1f} h")
            if actor is None or draw() >= stays:
                actor = ready[int(draw() * len(ready))]
            if is_holding:
                actor = _held_or(actor, ready, held, draw)
            if played.steps == crash_at:
                choices.append(_CRASH + actor.number)
                played.crashed = actor.name
                actor.coroutine.close()
                ready.remove(actor)
                if is_traced:
                    played.trace.append(f"{played.steps:4} {actor.name} is stopped for good")
                actor = None
                continue
            choices.append(actor.number)
            actor = _go_on(actor, ready, played, is_traced=is_traced)
    finally:
        for each in ready:
            each.coroutine.close()
        names = ",".join(name for name, _ in cast).encode()
        played.schedule = hashlib.sha256(names + b"\0" + choices).digest()[:8]
    return played


def _held_or(actor: Actor, ready: Sequence[Actor], held: list[Actor], draw: Callable[[], float]) -> Actor:
    """Return who goes on instead of `actor`: one that was held before its write, at the write of another; or another,
    when this one is held from now on."""
    held[:] = [each for each in held if each in ready]
    free = [each for each in ready if each not in held]
    if actor in held:
        actor = free[int(draw() * len(free))] if free else actor
    if actor.is_writing and actor not in held:
        if held and draw() < HELD_COMES_SHARE:
            return held.pop(int(draw() * len(held)))
        if len(free) > 1 and draw() < HOLDING_SHARE:
            held.append(actor)
            free.remove(actor)
            return free[int(draw() * len(free))]
    if actor in held:
        held.remove(actor)
    return actor


def _go_on(actor: Actor, ready: list[Actor], played: Played, *, is_traced: bool) -> Actor | None:
    """Let the actor take a step; None when that was its last one."""
    try:
        what = actor.coroutine.send(None)
        actor.is_writing = type(what) is _Write
        what = what.work if isinstance(what, _Write) else what
    except StopIteration:
        ready.remove(actor)
        if is_traced:
            played.trace.append(f"{played.steps:4} {actor.name} ends")
        return None
    except Exception as error:
        ready.remove(actor)
        error.add_note(f"in {actor.name}")
        if is_traced:
            played.trace.append(f"{played.steps:4} {actor.name} breaks: {error}")
            error.add_note("\n".join(played.trace))
        raise
    if is_traced:
        played.trace.append(f"{played.steps:4} {actor.name}, then {getattr(what, '__qualname__', what)}")
    return actor


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let the service log nothing meanwhile: what it finds is asked of it, and a line costs more than a transaction."""
    known = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**known)
