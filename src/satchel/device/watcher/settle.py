"""Decides when a changed name is looked at. Pure: times come in, due names go out. Invariant: no event is forgotten.

A lone change is due at once. A rename waits for an editor that writes the old name again, an absence for what may take
its place, a burst for its end, an open file for its writer, and a name that changes all the time for ever longer. What
is not hot and not open is due within BURST_S of its first event. Source: docs/design/040 (watching and scanning).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

QUIET_S = 0.2
BURST_S = 0.5
RENAME_S = 0.05
ABSENCE_S = 0.2
LONE_NAMES_MAX = 4
"""More names than this within QUIET_S are a burst."""

OPEN_S = 1.0
"""An open file is looked at when nobody wrote for so long; each such look doubles it."""
HOT_S_MAX = 60.0
HOT_QUIET_S_MIN = 2.0
FREE_LOOKS = 10
"""So many looks in quick succession cost a name nothing; then it waits 1, 2, 4 … 60 s, or until nobody has changed it
for an eighth of that: the last of many saves shall not wait like those before it."""
MEMORY_S = 2.0

PENDING_NAMES_MAX = 100_000
OPEN_NAMES_MAX = 10_000
NAMES_PER_FOLDER_MAX = 1_000

Key = tuple[int, bytes]
"""Folder (the watcher's number for it) and name."""


@dataclass(frozen=True, slots=True)
class Due:
    """Names to look at in a folder; None: any. folder None: everything."""

    folder: int | None
    names: frozenset[bytes] | None
    is_deep: bool = False


@dataclass(slots=True)
class _Open:
    """A file being written. begun_s: first write since the last look, None when there was none."""

    begun_s: float | None
    written_s: float
    patience_s: float = OPEN_S

    @property
    def due_s(self) -> float:
        if self.begun_s is None:
            return self.written_s + 2 * HOT_S_MAX
        return min(self.written_s + self.patience_s, self.begun_s + HOT_S_MAX)


@dataclass(slots=True)
class _Heat:
    looks: int
    looked_s: float

    @property
    def delay_s(self) -> float:
        return 0.0 if self.looks <= FREE_LOOKS else float(min(HOT_S_MAX, 2 ** min(self.looks - FREE_LOOKS - 1, 6)))

    def due_s(self, now_s: float) -> float:
        """Return when a name that changed now is looked at, unless it changes again."""
        return min(self.looked_s + self.delay_s, now_s + max(HOT_QUIET_S_MIN, self.delay_s / 8))


class _Memory:
    """Keys of the last MEMORY_S to twice that."""

    def __init__(self) -> None:
        self._now: set[Key] = set()
        self._before: set[Key] = set()
        self._since_s = 0.0

    def add(self, key: Key, now_s: float) -> None:
        if now_s - self._since_s > MEMORY_S:
            self._before = self._now if now_s - self._since_s <= 2 * MEMORY_S else set()
            self._now = set()
            self._since_s = now_s
        self._now.add(key)

    def __contains__(self, key: object) -> bool:
        return key in self._now or key in self._before


@dataclass(slots=True)
class Settle:
    """What has happened and was not yet due. All times are seconds of one monotonic clock, and never go back."""

    _pending: dict[Key, tuple[float, float]] = field(default_factory=dict)
    """Due time and first event of each name, the oldest first."""
    _deep: dict[int, float] = field(default_factory=dict)
    _pairs: dict[Key, Key] = field(default_factory=dict)
    _open: dict[Key, _Open] = field(default_factory=dict)
    _open_check_s: float = float("inf")
    _later: dict[Key, float] = field(default_factory=dict)
    _heat: dict[Key, _Heat] = field(default_factory=dict)
    _recent: dict[Key, float] = field(default_factory=dict)
    """Last event of each name within QUIET_S, the oldest first."""
    _made: _Memory = field(default_factory=_Memory)
    _looked: _Memory = field(default_factory=_Memory)
    _is_all: bool = False

    # -- what happened -----------------------------------------------------------------------------------------------

    def ready(self, folder: int, name: bytes, now_s: float) -> None:
        """A name that can be looked at: closed after writing, moved in, linked, made, its bits changed."""
        key = (folder, name)
        self._open.pop(key, None)
        self._note(key, now_s)
        heat = self._heat.get(key)
        if heat is not None and now_s - heat.looked_s > 2 * heat.delay_s + MEMORY_S:
            del self._heat[key]
            heat = None
        if heat is not None and heat.looked_s + heat.delay_s > now_s:
            self._later[key] = heat.due_s(now_s)
            self._pending.pop(key, None)
        else:
            self._wait(key, now_s, now_s)
        pair = self._pairs.pop(key, None)
        if pair is not None and pair in self._pending:
            self._wait(pair, now_s, now_s)

    def renamed(self, old: Key, new: Key, now_s: float) -> None:
        """A file's two names. One that was made a moment ago is a save, and due at once."""
        self._note(old, now_s)
        self._note(new, now_s)
        self._open.pop(old, None)
        if old in self._made:
            self._wait(old, now_s, now_s)
            self.ready(*new, now_s)
            return
        self._wait(old, now_s + RENAME_S, now_s)
        self._wait(new, now_s + RENAME_S, now_s)
        self._pairs[old] = new

    def gone(self, folder: int, name: bytes, now_s: float) -> None:
        """A name that was removed or moved away to nobody knows where yet."""
        key = (folder, name)
        self._open.pop(key, None)
        self._note(key, now_s)
        self._wait(key, now_s + ABSENCE_S, now_s)

    def written(self, folder: int, name: bytes, now_s: float, *, is_made: bool = False) -> None:
        """A file that was made (is_made) or written and is still open. What waits for its old self waits on."""
        key = (folder, name)
        if is_made:
            self._made.add(key, now_s)
            self._note(key, now_s)
        waiting = self._pending.get(key)
        if waiting is not None and waiting[0] > now_s:
            held = waiting[1] + BURST_S
            self._pending[key] = (held, waiting[1])
            pair = self._pairs.get(key)
            if pair is not None and pair in self._pending:
                self._pending[pair] = (self._pending[pair][1] + BURST_S, self._pending[pair][1])
        entry = self._open.get(key)
        if entry is None:
            entry = self._open[key] = _Open(now_s, now_s)
            if len(self._open) > OPEN_NAMES_MAX:
                self._look_at_oldest_open(now_s)
        entry.begun_s = now_s if entry.begun_s is None else entry.begun_s
        entry.written_s = now_s
        self._open_check_s = min(self._open_check_s, entry.due_s)

    def deep(self, folder: int, now_s: float) -> None:
        """A folder that appeared with whatever is in it."""
        self._deep.setdefault(folder, now_s)

    def everything(self) -> None:
        """Events were lost."""
        self._is_all = True

    def forget(self, folder: int) -> None:
        """A folder that is gone: what waits in it is covered by its own absence."""
        self._deep.pop(folder, None)

    def _note(self, key: Key, now_s: float) -> None:
        self._recent.pop(key, None)
        self._recent[key] = now_s

    def _wait(self, key: Key, due_s: float, now_s: float) -> None:
        first_s = self._pending[key][1] if key in self._pending else now_s
        self._pending[key] = (min(due_s, first_s + BURST_S), first_s)
        if len(self._pending) > PENDING_NAMES_MAX:
            self._is_all = True

    def _look_at_oldest_open(self, now_s: float) -> None:
        oldest = next(iter(self._open))
        if self._open.pop(oldest).begun_s is not None:
            self._wait(oldest, now_s, now_s)

    # -- what is due -------------------------------------------------------------------------------------------------

    @property
    def is_burst(self) -> bool:
        """True while more than a few names change; as of the last call of `due`."""
        return len(self._recent) > LONE_NAMES_MAX

    def next_due_s(self) -> float | None:
        """Return when to call `due` again if nothing happens; None when nothing waits."""
        times = [self._open_check_s] if self._open else []
        times += self._later.values()
        if self._is_all:
            return 0.0
        if self.is_burst:
            times.append(next(islice(self._recent.values(), len(self._recent) - LONE_NAMES_MAX - 1, None)) + QUIET_S)
            times += [self._oldest_s() + BURST_S] if self._pending or self._deep else []
        else:
            times += [due_s for due_s, _ in self._pending.values()]
            times += self._deep.values()
        return min(times) if times else None

    def _oldest_s(self) -> float:
        times = [first_s for _, first_s in islice(self._pending.values(), 1)]
        return min([*times, *islice(self._deep.values(), 1)])

    def due(self, now_s: float) -> list[Due]:
        """Return and forget what is to be looked at now. A name that changes afterwards comes again."""
        while self._recent:
            oldest = next(iter(self._recent))
            if self._recent[oldest] > now_s - QUIET_S:
                break
            del self._recent[oldest]
        if self._is_all:
            self._clear()
            return [Due(None, None, True)]
        keys = [key for key, due_s in self._later.items() if due_s <= now_s]
        for key in keys:
            del self._later[key]
        keys += self._due_open(now_s)
        folders: list[int] = []
        waits = (self._pending or self._deep) and self.is_burst and now_s < self._oldest_s() + BURST_S
        if not waits:
            keys += self._due_pending(now_s)
            folders, self._deep = list(self._deep), {}
        return self._grouped(keys, folders, now_s)

    def _due_pending(self, now_s: float) -> list[Key]:
        due = [key for key, (due_s, _) in self._pending.items() if due_s <= now_s]
        if len(due) == len(self._pending):
            self._pending = {}
        for key in due:
            self._pending.pop(key, None)
            self._pairs.pop(key, None)
        return due

    def _due_open(self, now_s: float) -> list[Key]:
        if now_s < self._open_check_s:
            return []
        due: list[Key] = []
        for key, entry in list(self._open.items()):
            if entry.due_s > now_s:
                continue
            if entry.begun_s is None:
                del self._open[key]
                continue
            entry.begun_s = None
            entry.patience_s = min(HOT_S_MAX, 2 * entry.patience_s)
            due.append(key)
        self._open_check_s = min((entry.due_s for entry in self._open.values()), default=float("inf"))
        return due

    def _grouped(self, keys: list[Key], folders: list[int], now_s: float) -> list[Due]:
        names: dict[int, set[bytes]] = {}
        for key in keys:
            names.setdefault(key[0], set()).add(key[1])
            if key in self._looked or key in self._heat:
                heat = self._heat.setdefault(key, _Heat(0, now_s))
                heat.looks, heat.looked_s = heat.looks + 1, now_s
            self._looked.add(key, now_s)
        if len(self._heat) > OPEN_NAMES_MAX:
            self._heat.clear()
        found = [
            Due(folder, frozenset(some) if len(some) <= NAMES_PER_FOLDER_MAX else None)
            for folder, some in names.items()
        ]
        return found + [Due(folder, None, True) for folder in folders]

    def _clear(self) -> None:
        self._is_all = False
        self._pending, self._deep, self._pairs, self._later = {}, {}, {}, {}
        self._open, self._open_check_s = {}, float("inf")
