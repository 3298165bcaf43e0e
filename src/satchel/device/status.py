"""What a link says of itself. Invariant: plain data, complete in one value; it is shown, sent as JSON, never acted on.

The runner makes it, the control socket carries it, the command line prints it and takes its exit code from `state`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

State = Literal["in_sync", "syncing", "attention", "offline", "halted", "paused"]

# What a summary over several links shows: the most serious one.
_GRAVITY: tuple[State, ...] = ("halted", "offline", "attention", "syncing", "paused", "in_sync")

HELD_SHOWN_MAX = 200
TRANSFERS_SHOWN_MAX = 20


class Transfer(msgspec.Struct, frozen=True):
    """A file on its way. path: relative to the linked folder. done, total: bytes."""

    path: str
    direction: Literal["up", "down"]
    done: int
    total: int


class HeldItem(msgspec.Struct, frozen=True):
    """Something that waits and why. path: relative to the linked folder, "" for the link as a whole.

    next_try_ms: Unix time of the next try, 0 when it waits for a new fact or for a person. needs_consent: it goes on
    only after `held allow` (many deletions at once).
    """

    path: str
    code: str
    reason: str
    next_try_ms: int = 0
    needs_consent: bool = False
    direction: Literal["up", "down", ""] = ""


class LinkStatus(msgspec.Struct, frozen=True):
    """One link as it stands. to_upload, to_download, held: counts of nodes; bytes_*: left to go and done in this round.

    held_items: at most HELD_SHOWN_MAX of them, transfers at most TRANSFERS_SHOWN_MAX. message: one line for `halted`,
    `offline` and `attention`. degraded: what works less well (out of watches), "" when nothing. notice: what happened
    and is over, "" when nothing. last_sync_ms: when the three trees were last equal, 0 for never. excluded: how many
    files and folders are left out here; notes: lines on what stands aside for them. conflicts: how many conflicted
    copies are on this disk, counted up to COPIES_COUNTED_MAX.
    """

    local: str
    remote: str
    state: State
    link_id: str = ""
    to_upload: int = 0
    to_download: int = 0
    bytes_up_todo: int = 0
    bytes_up_done: int = 0
    bytes_down_todo: int = 0
    bytes_down_done: int = 0
    held: int = 0
    transfers: tuple[Transfer, ...] = ()
    held_items: tuple[HeldItem, ...] = ()
    message: str = ""
    degraded: str = ""
    last_sync_ms: int = 0
    notice: str = ""
    excluded: int = 0
    notes: tuple[str, ...] = ()
    conflicts: int = 0


class Excluded(msgspec.Struct, frozen=True):
    """Something that this device leaves out. path: relative to the linked folder.

    state: leaving (what is not uploaded goes up first), out, returning, or deleted (on the server; it stays left out
    should it come back). kind: file, folder, symlink, "" when it is not known any more.
    """

    path: str
    state: Literal["leaving", "out", "returning", "deleted"]
    kind: str = ""


class Amended(msgspec.Struct, frozen=True):
    """What came of taking one change back, or of ending one conflict.

    path: relative to the linked folder. what: replaced, removed, moved, trashed, created, executable, or what was
    asked for. told: one line for people. is_done: False when it was left as it is, for the reason in `told`.
    """

    path: str
    what: str
    told: str
    is_done: bool = False


class PlannedChange(msgspec.Struct, frozen=True):
    """What would be done now. direction: up (to the server), down (to this disk), "" for what waits.

    what: create, edit, delete, move, conflicted copy, attributes, revive, wait, becomes shared (what is in it is told
    by itself once it is), keep apart (it goes to "Unsynced from NAME"). Paths are relative to the linked folder;
    target: of a move. rule: of the conflict tables, "" for a change on one side. size: bytes of the file. count: how
    many go with it, for a deletion. held: why it would not be done yet, "" when it would.
    """

    direction: str
    what: str
    path: str
    target: str = ""
    rule: str = ""
    size: int = 0
    count: int = 1
    held: str = ""


class Limits(msgspec.Struct, frozen=True):
    """The limits that hold, in bytes a second; None: no limit."""

    up: int | None = None
    down: int | None = None


class DaemonStatus(msgspec.Struct, frozen=True):
    """The daemon and all its links. started_ms: Unix time. account: name of the account, "" when signed out."""

    pid: int
    version: str
    started_ms: int
    server: str
    account: str
    device: str
    links: tuple[LinkStatus, ...] = ()
    limits: Limits = Limits()


def gravest(states: Iterable[State]) -> State:
    """Return the most serious of the states, in_sync for none."""
    return min(states, key=_GRAVITY.index, default="in_sync")
