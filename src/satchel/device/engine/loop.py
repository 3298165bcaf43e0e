"""`Engine.step`: facts in, tasks out; synchronous, the only place where things are decided.

Invariant: what a step folds and what follows from it is one transaction of the index; tasks leave only after it holds.
A fault of the index halts the link before the next disk operation. Source: docs/design/040 (Engine).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from satchel.core.errors import StorageFailed, StorageFull
from satchel.core.ids import Nid
from satchel.device.bounds import BOUNDS, Bounds
from satchel.device.engine import guard
from satchel.device.engine.bringing_back import fold_brought_back, load_doubted, next_back, refused_back
from satchel.device.engine.excluding import (
    GOING,
    LOOK_S,
    is_going,
    next_leaving,
)
from satchel.device.engine.journal_places import load_places
from satchel.device.engine.late import fold_looked, fold_purged, next_looks, next_purge
from satchel.device.engine.leftovers import fold_settled, next_settling
from satchel.device.engine.local_facts import fold_held, fold_hinted, fold_scanned, joins_first, next_scan
from satchel.device.engine.mounts import end_mount, note_mounts, weigh_mounts
from satchel.device.engine.placing import fold_applied, fold_fetched, fold_manifests, next_placings
from satchel.device.engine.planning import plan_fresh
from satchel.device.engine.power_cuts import fold_synced_volume, next_volume_sync, note_start
from satchel.device.engine.remote_facts import (
    fold_frame,
    fold_pulled,
    fold_reached,
    fold_snapshot,
    fold_stream_ended,
    load_units,
    next_unit,
    poll_if_behind,
    pull,
    reach,
)
from satchel.device.engine.scope import fold_scope, load_scope, next_scope
from satchel.device.engine.sending import fold_committed, fold_uploaded, next_commits, next_uploads
from satchel.device.engine.state import BATCH_PAUSE_S, DELETE_QUIET_S, LinkIdentity, Now, Phase, State
from satchel.device.engine.yielding import begin_ending
from satchel.device.index.store import Index
from satchel.device.ports import Clock
from satchel.device.service_tasks import Pulled, Reached, ScopeTold, SnapshotTaken, StreamEnded, StreamFrameCame
from satchel.device.tasks import (
    ApplyResult,
    BroughtBack,
    Committed,
    Fact,
    Fetched,
    Hinted,
    LateLooked,
    ManifestsTaken,
    Purged,
    Scanned,
    StagingSettled,
    Task,
    Uploaded,
    VolumeSynced,
)

POLL_S = 30.0
IDLE_S = 300.0
REST_S = 3.0
LOOKED_SOON_S = 10.0
"""What is looked at again so soon may be a file that is still being written where it was moved to."""


class Engine:
    """One link's engine. Not thread-safe: one caller steps it."""

    def __init__(self, index: Index, identity: LinkIdentity, clock: Clock, bounds: Bounds = BOUNDS) -> None:
        self.state = State(index, identity, clock, bounds)
        with index.transaction():
            run = index.get("run")
            index.put("run", (run if isinstance(run, int) else 0) + 1)
            note_start(self.state)
        guard.load_held(self.state)
        load_scope(self.state)
        load_doubted(self.state)
        load_places(self.state)
        load_units(self.state)
        note_mounts(self.state)
        if identity.is_ending:
            begin_ending(self.state)
        self._next_poll_s = 0.0

    def step(self, facts: Sequence[Fact], now: Now) -> list[Task]:
        """Fold the facts in order, plan, and return the tasks to do. Never blocks on anything but the index."""
        state = self.state
        state.now = now
        state.tasks = []
        try:
            with state.index.transaction():
                for fact in facts:
                    self._fold(fact)
                if not (state.halted or state.is_turning):
                    self._go_on()
        except (StorageFull, StorageFailed) as fault:
            # What was folded is gone with the transaction, so nothing that follows from it may be done.
            state.halted = f"{fault.message} {fault.hint}"
            return []
        return [] if state.is_turning else state.tasks

    def _fold(self, fact: Fact) -> None:
        state = self.state
        match fact:
            case Hinted():
                fold_hinted(state, fact)
            case Scanned():
                fold_scanned(state, fact)
            case StreamFrameCame():
                fold_frame(state, fact)
            case Committed():
                fold_committed(state, fact)
            case ApplyResult():
                fold_applied(state, fact)
            case ManifestsTaken():
                fold_manifests(state, fact)
            case Fetched():
                fold_fetched(state, fact)
            case Uploaded():
                fold_uploaded(state, fact)
            case Pulled():
                fold_pulled(state, fact)
            case StagingSettled():
                fold_settled(state, fact)
            case LateLooked():
                fold_looked(state, fact)
            case BroughtBack():
                fold_brought_back(state, fact)
            case Purged():
                fold_purged(state, fact)
            case VolumeSynced():
                fold_synced_volume(state, fact)
            case Reached():
                fold_reached(state, fact)
            case SnapshotTaken():
                fold_snapshot(state, fact)
            case StreamEnded():
                fold_stream_ended(state, fact)
            case ScopeTold():
                fold_scope(state, fact)
            case _:
                assert_never(fact)

    def _go_on(self) -> None:
        state = self.state
        fold_held(state, state.bounds.held_parts)
        if not state.is_paused:
            next_scan(state)
            next_leaving(state)
        next_scope(state)
        next_unit(state)
        weigh_mounts(state)
        if state.is_turning:
            return
        plan_fresh(state)
        weigh_mounts(state)
        if state.is_turning:
            return
        if state.phase is Phase.OFFLINE and not state.is_paused and (state.scanned_once or not state.was_unfinished):
            reach(state)
        if not state.is_paused:
            next_commits(state)
            next_uploads(state)
            next_settling(state)
            next_placings(state)
            next_back(state)
            next_looks(state)
            next_purge(state)
            next_volume_sync(state)
        if state.wants_pull and state.may_ask:
            state.wants_pull = False
            pull(state)
        if state.now.monotonic_s >= self._next_poll_s:
            self._next_poll_s = state.now.monotonic_s + POLL_S
            poll_if_behind(state)
        state.acts.has_rested = state.acts.has_rested or self.is_idle
        self._rest()

    def _rest(self) -> None:
        """Note that nothing is to be done, and do then what may wait for it."""
        state = self.state
        if not self.is_settled:
            state.settled_s = None
            return
        state.progress.last_sync_ns = state.now.wall_ns
        if state.settled_s is None:
            state.settled_s = state.now.monotonic_s
        elif state.now.monotonic_s - state.settled_s >= REST_S:
            state.index.find_contents()

    @property
    def is_settled(self) -> bool:
        """True when the three trees are equal as far as is known, and nothing is being looked at."""
        state = self.state
        return self.is_idle and not (
            state.retry_at or state.held_back or state.later_hints or state.waiting or state.stalled or state.doubted
        )

    @property
    def is_idle(self) -> bool:
        """True when nothing is being done or looked at; rows may still be held."""
        state = self.state
        return (
            state.phase is Phase.LIVE
            and state.scanned_once
            and not state.is_turning
            and not (state.busy or state.fresh or state.deleting or state.after_scan or state.wants_pull)
            and not (state.hints or state.is_scanning or state.is_pulling or state.snapshot_units)
            and not (is_going(state) or state.is_bringing_back or state.has_leftovers)
            and len(state.doubted) == len(refused_back(state))
            and (state.position is None or state.position.seq >= state.head_seq)
        )

    @property
    def has_mounts(self) -> bool:
        """True when shared folders stand in this tree."""
        return bool(self.state.mounts)

    @property
    def has_looked(self) -> bool:
        """True when the whole folder was seen and nothing waits to be looked at. For any thread."""
        state = self.state
        soon_s = state.now.monotonic_s + LOOKED_SOON_S
        is_waiting = any(at_s <= soon_s for at_s, _ in tuple(state.later_hints))
        is_looking = state.is_scanning or state.hints or state.held_parts or is_waiting
        return state.scanned_once and not (is_looking or state.halted)

    @property
    def is_empty(self) -> bool:
        """True when nothing of this tree stands on the disk."""
        return not self.state.index.reader.holds(1)

    def end_mount(self, nid: Nid) -> None:
        """A shared folder whose part is over has brought all away."""
        with self.state.index.transaction():
            end_mount(self.state, nid)

    def next_wake_s(self) -> float:
        """Return the monotonic time at which a step is due without any fact."""
        state = self.state
        if state.halted:
            return state.now.monotonic_s + 60.0
        times = [state.now.monotonic_s + IDLE_S]
        if state.following:
            times.append(self._next_poll_s)
        if state.held_parts and not joins_first(state):
            times.append(state.now.monotonic_s)
        if state.settled_s is not None and not state.index.has_contents:
            times.append(state.settled_s + REST_S)
        if any(stage in GOING for stage in state.left.values()) and not state.is_paused:
            times.append(state.now.monotonic_s + LOOK_S)
        if state.doubted and not (state.is_bringing_back or state.is_paused):
            times.append(max(state.next_back_s, state.now.monotonic_s + LOOK_S))
        if state.has_leftovers and not (state.is_settling or state.is_paused or state.counts["disk"]):
            times.append(state.next_settling_s)
        if state.deleting and not state.is_unit_untold:
            times.append(min(state.delete_last_s + DELETE_QUIET_S, state.delete_first_s + 30.0))
        if state.calm_until_s > state.now.monotonic_s:
            times.append(state.calm_until_s)
        if state.retry_at:
            times.append(min(state.retry_at.values()))
        if state.later_hints and not state.is_paused:
            times.append(min(at_s for at_s, _ in state.later_hints))
        if state.ready_commits and state.counts["commit"] == 0 and state.may_ask and not state.is_paused:
            times.append(state.last_reply_s + BATCH_PAUSE_S)
        if state.scanned_once and not (state.is_scanning or state.is_paused):
            times.append(state.next_full_scan_s)
        if not (state.is_looking_late or state.is_paused):
            times.append(state.next_late_s)
        if not state.is_paused:
            times.append(state.next_volume_sync_s)
        return max(min(times), state.now.monotonic_s + 0.001)
