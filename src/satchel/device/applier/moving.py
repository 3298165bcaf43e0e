"""Moves files and folders: one, a chain, a swap, a cycle, or a folder that changes places with what is inside it.

Invariant: a move finds its target free, and what has moved is looked at; what was not meant goes back. A chain that
breaks in the middle is taken back step by step. Source: docs/design/040, rules 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileChanging, NameTaken, NotFound
from satchel.device.applier.hands import Hands, is_same_moved, settled
from satchel.device.applier.names import precious_name
from satchel.device.ports import DiskPath, Stat, split
from satchel.device.tasks import Applied, Changed, DiskResult, MovePath, MovePaths


@dataclass(frozen=True, slots=True)
class _Moved:
    source: DiskPath
    target: DiskPath


@dataclass(frozen=True, slots=True)
class _Exchanged:
    one: DiskPath
    other: DiskPath


@dataclass(frozen=True, slots=True)
class _Aside:
    path: DiskPath
    staged: str


_Step = _Moved | _Exchanged | _Aside


@dataclass(slots=True)
class _Done:
    """The steps so far. seen: what stat said at a path as soon as a file was there; a later write has another ctime."""

    steps: list[_Step] = field(default_factory=list)
    seen: dict[DiskPath, Stat] = field(default_factory=dict)


class _NotAsPlanned(Exception):
    """A step met something else than was planned on. path: where."""

    def __init__(self, path: DiskPath, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason


async def move_paths(hands: Hands, task: MovePaths) -> DiskResult:
    """Do all moves or, as far as the disk allows, none. Raises: the disk's faults; what was done is then taken back."""
    for move in task.moves:
        seen = await hands.fs.stat(move.source)
        if seen is None or not seen.is_as_planned(move.expected):
            return Changed((move.source,), "what is to move is not as it was planned on")
    done = _Done()
    try:
        if _is_nested(task.moves):
            await _move_by_staging(hands, task.moves, done)
        else:
            await _move_in_order(hands, task.moves, done)
    except _NotAsPlanned as found:
        await _take_back(hands, done.steps)
        return Changed((found.path, *(move.source for move in task.moves)), found.reason)
    except Fault:
        await _take_back(hands, done.steps)
        raise
    stats: list[Stat] = []
    again: list[DiskPath] = []
    for move in task.moves:
        # A folder changes once more when something comes into it; a file that was in staging counts as unsure.
        is_folder = move.expected.kind == Kind.FOLDER
        seen = await hands.fs.stat(move.target) if is_folder else done.seen.get(move.target)
        stat, is_settled = settled(seen, move.expected)
        stats.append(stat)
        if not is_settled:
            again.append(move.target)
    return Applied(tuple(stats), put_back=tuple(again))


def _is_nested(moves: tuple[MovePath, ...]) -> bool:
    """True when a path of one move lies below a path of another: then no order of plain renames is sure to work."""
    if len(moves) == 1:
        return False
    paths = [path for move in moves for path in (move.source, move.target)]
    return any(other.startswith(path + b"/") for path in paths for other in paths)


async def _move_in_order(hands: Hands, moves: tuple[MovePath, ...], done: _Done) -> None:
    """Move what has a free target; what is left then are cycles, and each exchange brings one of them home."""
    waiting = {move.source: move for move in moves}
    while waiting:
        source = next((at for at, move in waiting.items() if move.target not in waiting), None)
        if source is not None:
            await _move_one(hands, source, waiting.pop(source), done)
            continue
        source, move = next(iter(waiting.items()))
        del waiting[source]
        if move.target == source:
            continue
        displaced = waiting.pop(move.target)
        await _exchange(hands, source, move, displaced, done)
        if displaced.target != source:
            waiting[source] = displaced


async def _move_one(hands: Hands, source: DiskPath, move: MovePath, done: _Done) -> None:
    try:
        seen = await hands.fs.move(source, move.target, done.seen.pop(source, move.expected), move.home)
    except NameTaken:
        await _move_to_twin(hands, source, move, done)
        return
    except FileChanging as error:
        raise _NotAsPlanned(source, "it was changed just before it moved") from error
    except NotFound as error:
        raise _NotAsPlanned(split(move.target)[0], "the folder or the file is gone") from error
    _did(hands, _Moved(source, move.target), done)
    if not is_same_moved(seen, move.expected):
        raise _NotAsPlanned(move.target, "something else moved than was planned on")
    done.seen[move.target] = seen


async def _move_to_twin(hands: Hands, source: DiskPath, move: MovePath, done: _Done) -> None:
    """Rename where the disk holds both names for one, as `a` to `A`: by way of staging. Otherwise the name is taken."""
    there = await hands.fs.stat(move.target)
    if there is None or not there.same_thing(move.expected):
        raise _NotAsPlanned(move.target, "the name is taken")
    await _move_by_staging(hands, (replace(move, source=source),), done)


async def _move_by_staging(hands: Hands, moves: tuple[MovePath, ...], done: _Done) -> None:
    """Take everything out, what lies deepest first, then put it in, what lies highest first."""
    aside: dict[DiskPath, str] = {}
    for move in sorted(moves, key=lambda one: (-one.source.count(b"/"), one.source)):
        staged = precious_name("m", hands.random(), split(move.source)[1])
        try:
            seen = await hands.fs.set_aside(move.source, staged, move.expected)
        except FileChanging as error:
            raise _NotAsPlanned(move.source, "it was changed just before it moved") from error
        except NotFound as error:
            raise _NotAsPlanned(move.source, "what is to move is gone") from error
        _did(hands, _Aside(move.source, staged), done)
        aside[move.source] = staged
        if not is_same_moved(seen, move.expected):
            raise _NotAsPlanned(move.source, "something else moved than was planned on")
    for move in sorted(moves, key=lambda one: (one.target.count(b"/"), one.target)):
        try:
            await hands.fs.restore_staged(aside[move.source], move.target, home=move.home)
        except (NameTaken, NotFound) as error:
            raise _NotAsPlanned(move.target, "the name is taken or the folder is gone") from error
        hands.touched.arrived(move.target)
        done.steps.remove(_Aside(move.source, aside[move.source]))
        done.steps.append(_Moved(move.source, move.target))


async def _exchange(hands: Hands, one: DiskPath, move: MovePath, displaced: MovePath, done: _Done) -> None:
    """Bring what stands at `one` to its target; what stood there, `displaced`, stands at `one` then."""
    other = move.target
    expected = done.seen.pop(one, move.expected), done.seen.pop(other, displaced.expected)
    try:
        at_one, at_other = await hands.fs.exchange(one, other, expected)
    except NotFound as error:
        raise _NotAsPlanned(one, "what is to move is gone") from error
    except FileChanging as error:
        raise _NotAsPlanned(one, "it was changed just before it moved") from error
    _did(hands, _Exchanged(one, other), done)
    if at_one is None or at_other is None:
        raise _NotAsPlanned(one, "what is to move is gone")
    if not (is_same_moved(at_other, move.expected) and is_same_moved(at_one, displaced.expected)):
        raise _NotAsPlanned(one, "something else moved than was planned on")
    done.seen[one], done.seen[other] = at_one, at_other


def _did(hands: Hands, step: _Step, done: _Done) -> None:
    done.steps.append(step)
    match step:
        case _Moved(source, target):
            hands.touched.arrived(target)
            hands.touched.left(source)
        case _Exchanged(one, other):
            hands.touched.arrived(one)
            hands.touched.arrived(other)
        case _Aside(path, _):
            hands.touched.left(path)


async def _take_back(hands: Hands, steps: list[_Step]) -> None:
    """Undo the steps, the last one first. What cannot go back (its name is taken now) stays where it is."""
    for step in reversed(steps):
        try:
            match step:
                case _Moved(source, target):
                    await hands.fs.move(target, source)
                case _Exchanged(one, other):
                    await hands.fs.exchange(one, other)
                case _Aside(path, staged):
                    await hands.fs.restore_staged(staged, path)
        except Fault:
            if isinstance(step, _Aside):
                await hands.restore_staged(step.staged, hands.beside(step.path, b"recovered"))
