"""Values between the engine and the hand that asks the service: what is asked, and what came of it.

Invariant: as in `tasks`; a fault is part of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from satchel.core.errors import Fault
from satchel.core.ids import BlockHash
from satchel.core.messages import (
    Changes,
    ChangesRequest,
    Hello,
    NamespacesReply,
    ScopeRequest,
    SnapshotPage,
    SnapshotRequest,
    StreamFrame,
)


@dataclass(frozen=True, slots=True)
class ReachTask:
    """Ask who we are and where the journals stand: the first call of every connection. after_s: wait so long first."""

    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reached:
    """The service's answer to who we are, or the fault that kept it away."""

    reply: NamespacesReply | None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class SnapshotTask:
    """One page of a snapshot."""

    request: SnapshotRequest


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """One page of a snapshot, or its fault."""

    task: SnapshotTask
    page: SnapshotPage | None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class StreamTask:
    """Open the stream; its frames are reported as they come, until `StreamEnded`."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class StreamFrameCame:
    """One frame of the stream. contents: the inline blocks, verified, by hash."""

    frame: StreamFrame
    contents: dict[BlockHash, bytes]


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The stream is over, for this reason."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class PullTask:
    """One page of the journal."""

    request: ChangesRequest


@dataclass(frozen=True, slots=True)
class Pulled:
    """changes None: it failed. contents: inline contents by block hash."""

    changes: Changes | None
    contents: dict[BlockHash, bytes] = field(default_factory=dict)
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class ScopeTask:
    """Tell the service what this link leaves out."""

    request: ScopeRequest


@dataclass(frozen=True, slots=True)
class ScopeTold:
    """The service leaves that out from now on, unless there is a fault, or another start of the link is the newest."""

    task: ScopeTask
    fault: Fault | None = None
    newest_start: int = 0
