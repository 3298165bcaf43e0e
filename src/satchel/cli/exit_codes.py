"""Exit codes of `satchel`. Invariant: a number once given keeps its meaning; docs/use/commands.md lists the same.

0-2 are the shell's customs, 10-14 what `status` and `sync` say, the rest classes of faults.
"""

from __future__ import annotations

from satchel.core import errors
from satchel.core.errors import Fault
from satchel.device.status import State

OK = 0
FAILED = 1
USAGE = 2
SYNCING = 10
ATTENTION = 11
OFFLINE = 12
HALTED = 13
NO_DAEMON = 14
SIGNED_OUT = 20
NOT_FOUND = 21
EXISTS = 22
CHANGED = 23
NO_ROOM = 24
UNAVAILABLE = 25
REFUSED = 26
SETTING = 27
DAMAGED = 28
RUNNING = 29
INTERRUPTED = 130

MEANINGS: dict[int, str] = {
    OK: "done; for status and sync: in sync (or paused with nothing to do)",
    FAILED: "something failed that has no code of its own; the message says what",
    USAGE: "the command line is wrong",
    SYNCING: "status, sync: work is going on",
    ATTENTION: "status, sync: held files, held deletions; export, import: something is missing",
    OFFLINE: "status, sync: the server cannot be reached; edits wait",
    HALTED: "status, sync: a link stopped; its message says why",
    NO_DAEMON: "the daemon is not running",
    SIGNED_OUT: "not signed in, or the sign-in ended",
    NOT_FOUND: "no such path, or no right to it; no such link",
    EXISTS: "the name is taken, or a link is in the way",
    CHANGED: "it changed since it was read",
    NO_ROOM: "no room: quota, disk, or a limit",
    UNAVAILABLE: "the server cannot be reached or is busy",
    REFUSED: "the service refused it: a name or a request that cannot be",
    SETTING: "a setting is wrong",
    DAMAGED: "stored or sent bytes are damaged",
    RUNNING: "another process holds this folder",
    INTERRUPTED: "stopped with Ctrl-C",
}

_OF_STATE: dict[State, int] = {
    "in_sync": OK,
    "syncing": SYNCING,
    "attention": ATTENTION,
    "offline": OFFLINE,
    "halted": HALTED,
    "paused": OK,
}

_OF_FAULT: dict[str, int] = {
    errors.Unauthenticated.code: SIGNED_OUT,
    errors.NotSignedIn.code: SIGNED_OUT,
    errors.SecondFactorRequired.code: SIGNED_OUT,
    errors.NotFound.code: NOT_FOUND,
    errors.NotLinked.code: NOT_FOUND,
    errors.LinkLocked.code: REFUSED,
    errors.AlreadyExists.code: EXISTS,
    errors.NameTaken.code: EXISTS,
    errors.PreconditionFailed.code: CHANGED,
    errors.FileChanging.code: CHANGED,
    errors.QuotaExceeded.code: NO_ROOM,
    errors.StorageFull.code: NO_ROOM,
    errors.LimitExceeded.code: NO_ROOM,
    errors.Unavailable.code: UNAVAILABLE,
    errors.TooManyRequests.code: UNAVAILABLE,
    errors.RequestTimedOut.code: UNAVAILABLE,
    errors.NameInvalid.code: REFUSED,
    errors.ShareRefused.code: REFUSED,
    errors.MessageInvalid.code: REFUSED,
    errors.VersionUnsupported.code: REFUSED,
    errors.SettingInvalid.code: SETTING,
    errors.BlockMismatch.code: DAMAGED,
    errors.BlockDamaged.code: DAMAGED,
    errors.IndexDamaged.code: DAMAGED,
    errors.AlreadyRunning.code: RUNNING,
    errors.RootMissing.code: HALTED,
    errors.DaemonNotRunning.code: NO_DAEMON,
}


def of_state(state: State, *, has_work: bool = False) -> int:
    """Return the exit code of `status`. A paused link with work waiting counts as syncing."""
    return SYNCING if state == "paused" and has_work else _OF_STATE[state]


def of_fault(fault: Fault) -> int:
    """Return the exit code of a fault."""
    return _OF_FAULT.get(fault.code, FAILED)
