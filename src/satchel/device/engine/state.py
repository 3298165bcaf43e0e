"""What the engine remembers beside the index: jobs in flight, who is busy, what waits. All of it can be lost.

Invariant: a row is in at most one of `busy`, `fresh`, `waiting`, `unseen`, `deleting`, `after_scan`. One in `behind` is
planned anew when its folder is free. A crash loses all of these, and the dirty rows of the index bring the work back.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from satchel.core.errors import Fault
from satchel.core.ids import ROOT_NODE, DeviceId, LinkId, NamespaceId, Nid, NodeId, OpId, Tag
from satchel.core.messages import PROTOCOL_VERSION_MIN, XATTRS_VERSION, Position, SnapshotRequest
from satchel.core.operations import Operation
from satchel.core.trees import Row
from satchel.device.bounds import Bounds
from satchel.device.engine.ground import Ground
from satchel.device.engine.sent import Sent
from satchel.device.index.activity import RunOfActs, last_run
from satchel.device.index.left_out import Stage as LeftOut
from satchel.device.index.left_out import load_left
from satchel.device.index.left_trash import LeftTrash
from satchel.device.index.mounts import Mount
from satchel.device.index.store import Index
from satchel.device.ports import Clock, DiskPath, Hint
from satchel.device.tasks import Scanned, Task, UploadTask

CONTENT_CACHE_BYTES_MAX = 48 * 1024 * 1024
DELETE_QUIET_S = 2.0
DELETE_WAIT_S_MAX = 30.0
DELETE_FILES_FREE = 200
DELETE_SHARE_FREE = 0.2
DELETE_WINDOW_S = 60.0
BATCH_PAUSE_S = 0.25
FULL_SCAN_EVERY_S = 3_600.0
DEGRADED_SCAN_EVERY_S = 60.0
NEVER_S = float("inf")
RETRY_S_MIN = 1.0
RETRY_S_MAX = 600.0

FROM_DISK = 1
"""Flag in an op id's first byte: the operation states what is on this disk; folding its entry sets synced too."""
CONFIRMED = 2
"""Flag in an op id's first byte: a person allowed this deletion; other devices ask nobody again."""

HELD_DELETION = "mass_deletion"
ALLOWED_DELETION = "deletion_allowed"


@dataclass(frozen=True, slots=True)
class Now:
    """The moment of a step. monotonic_s for waits, wall_ns for dates and mtimes."""

    monotonic_s: float
    wall_ns: int


def is_flagged(op_id: bytes, flag: int) -> bool:
    """Return whether the first byte of an op id carries the flag."""
    return bool(op_id) and bool(op_id[0] & flag)


@dataclass(frozen=True, slots=True)
class LinkIdentity:
    """Who this link is. unit: the remote folder that is linked (zeros: the namespace's root).

    has_xattrs: extended attributes are synced. is_ending: the part in this shared folder is over; the service is asked
    for nothing, and all leaves this disk.
    """

    link: LinkId
    device: DeviceId
    device_name: str
    ns: NamespaceId
    unit: NodeId = ROOT_NODE
    has_xattrs: bool = False
    is_ending: bool = False


class Edge(Protocol):
    """What a link asks of its neighbours: the link around a shared folder, and those of the shared folders in it."""

    def may_delete(self, files: Collection[tuple[int, int]], *, is_wanted: bool) -> bool:
        """Tell whether none of these files (inode, birth time) stands at a neighbour's and is not committed there yet.

        False too while a neighbour has not looked, and when the folder itself is not there any more. is_wanted:
        something here waits for the name; where the neighbour's waits for a deletion there as well, each would wait for
        the other for ever, and the deletion may go: what it is about is in the service's trash then, and comes again.
        """
        ...


class Phase(Enum):
    """How far the connection is."""

    OFFLINE = "offline"
    REACHING = "reaching"
    JOINING = "joining"
    LIVE = "live"


class Stage(Enum):
    """How far a job is."""

    WAITING = 0
    READY = 1
    RUNNING = 2
    FOLLOWING = 3
    """Acknowledged by the service; the feed has yet to bring it."""
    DONE = 4


@dataclass(slots=True, eq=False)
class Job:
    """One planned operation on its way. rows: the rows as they were planned on; none where all is new."""

    op: Operation
    nids: tuple[Nid, ...]
    rows: dict[Nid, Row]
    stage: Stage = Stage.WAITING
    open_needs: int = 0
    dependents: list[Job] = field(default_factory=list)
    op_id: OpId | None = None
    staged: str = ""
    blocks: bytes = b""
    path: DiskPath | None = None
    tries: int = 0
    is_urgent: bool = False
    claims: list[tuple[Nid, str]] = field(default_factory=list)
    content: bytes = b""
    size: int = 0
    """Bytes that travel with it."""
    upload: UploadTask | None = None
    seen_seq: int = 0
    """How far the feed was folded when this was planned: a deletion may take along nothing that came later."""

    is_stale: bool = False
    """It was planned before the service or this device went back in time: its revs and agreements mean nothing."""

    @property
    def is_over(self) -> bool:
        return self.stage is Stage.DONE


@dataclass(slots=True)
class Progress:
    """Counters for status and benchmarks."""

    bytes_up_todo: int = 0
    bytes_up_done: int = 0
    bytes_down_todo: int = 0
    bytes_down_done: int = 0
    files_seen: int = 0
    plans: int = 0
    last_sync_ns: int = 0


class ContentCache:
    """Small contents that came with the feed, by content hash, until they are placed; bounded in bytes."""

    def __init__(self) -> None:
        self._held: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def put(self, content: bytes, data: bytes) -> None:
        if content in self._held:
            return
        self._held[content] = data
        self._bytes += len(data)
        while self._bytes > CONTENT_CACHE_BYTES_MAX:
            _, dropped = self._held.popitem(last=False)
            self._bytes -= len(dropped)

    def get(self, content: bytes) -> bytes | None:
        return self._held.get(content)

    def drop(self, content: bytes) -> None:
        data = self._held.pop(content, None)
        if data is not None:
            self._bytes -= len(data)


class State:
    """Shared by the engine's parts; only `Engine.step` and what it calls touch it."""

    def __init__(self, index: Index, identity: LinkIdentity, clock: Clock, bounds: Bounds) -> None:
        self.index = index
        self.identity = identity
        self.clock = clock
        self.bounds = bounds
        self.now = Now(0.0, 0)
        self.phase = Phase.OFFLINE
        self.halted: str = ""
        self.is_paused = False
        self.tasks: list[Task] = []
        self.sent = Sent(index, clock.random)
        self.position = self._load_position()
        self.head_seq = 0
        self.contents = ContentCache()
        self.progress = Progress()
        self._begin_rows()
        self._begin_jobs()
        self._begin_looks()
        self._begin_trash()
        self._begin_durable()
        self._begin_connection()
        self._begin_left_out()
        self._begin_shared()
        self.acts = RunOfActs(*last_run(index))

    def _begin_rows(self) -> None:
        """Which rows are to be planned, and which wait for what."""
        self.busy: dict[Nid, int] = {}
        """How many jobs each row is in."""
        self.fresh: set[Nid] = set(self.index.dirty_nids())
        self.was_unfinished = self.position is not None and self.index.has_unplaced()
        """The last run ended in the middle of work. What it did on disk and could not record is recognised by what the
        remote tree said then, so the first scan comes before any newer entry."""
        self.waiting: set[Nid] = set()
        self.behind: dict[Nid, set[Nid]] = {}
        """Rows that wait for a busy folder above them, by that folder."""
        self.blocked: dict[Nid, Nid] = {}
        """The same, by row."""
        self.stalled: dict[Nid, set[Nid]] = {}
        """Rows whose plan stays the same until there is news of another, by that one."""
        self.unseen: set[Nid] = set()
        """Remote-only rows before the first scan is over: what was not seen yet may still be there."""
        self.deleting: set[Nid] = set()
        self.delete_first_s = self.delete_last_s = 0.0
        self.delete_window: dict[Nid, float] = {}
        """Files whose deletion was let go, from the oldest, and when."""
        self.delete_base: tuple[float, int] | None = None
        """When files were last counted to weigh deletions, and how many there were."""
        self.after_scan: dict[Nid, float] = {}
        """Rows whose disk was not what was planned on, until a look that began no earlier has told."""
        self.held_back: set[Nid] = set()
        self.spent: set[NodeId] = set()
        """Ids of conflicted copies that were made and deleted: another id is taken for the next."""
        self.allowed: set[Nid] = set()
        self.retry_at: dict[Nid, float] = {}
        self.tries: dict[Nid, int] = {}
        self.misses: dict[Nid, int] = {}
        """How often the disk was not what was planned on."""

    def _begin_jobs(self) -> None:
        """What is under way, by lane."""
        self.ready_commits: deque[Job] = deque()
        self.ready_disk: deque[Job] = deque()
        self.ready_fetch: deque[Job] = deque()
        self.listless: list[Job] = []
        """Files to fetch whose blocklist is being asked for."""
        self.is_listing = False
        self.ready_uploads: deque[Job] = deque()
        self.uploading: dict[Nid, Job] = {}
        self.wants_pull = False
        self.following: dict[int, list[Job]] = {}
        self.claimed: dict[tuple[Nid, str], Job] = {}
        self.running: dict[int, list[Job]] = {}
        self.ground = Ground()
        self.counts = {"commit": 0, "upload": 0, "fetch": 0, "disk": 0}
        self.number = 0
        self.last_reply_s = -1e9
        self.settled_s: float | None = None
        """Since when nothing is to be done."""

    def _begin_looks(self) -> None:
        """What is to be looked at on disk."""
        self.is_scanning = False
        self.scan_begun_s: float | None = None
        """When the scan under way began to look, as soon as its first part has told."""
        self.asked_s: float | None = None
        """When a look at everything was asked for while nobody knew whether the one under way had begun."""
        self.scan_cuts = 0
        """How many looks in a row were cut short."""
        self.held_parts: deque[Scanned] = deque()
        """What the first scan saw while the remote tree was still coming."""
        self.hints: list[Hint] = [Hint(DiskPath(b""), None, True)]
        self.later_hints: list[tuple[float, Hint]] = []
        self.seen_again: set[DiskPath] = set()
        """Paths that wait for another look, since what was seen there could not be folded."""
        self.look_when_free: dict[Nid, DiskPath] = {}
        """Where rows in flight were seen changed: that is looked at when they are in none any more."""
        self.trails: dict[DiskPath, tuple[Nid, float]] = {}
        """Where folders stood before they were recorded elsewhere, and when that was; the oldest first."""
        self.doubted_below: set[Nid] = set()
        """Folders to be looked into as soon as it is known where they stand."""
        self.told: dict[DiskPath, tuple[float, bool]] = {}
        """Folders of which a watcher told names, when, and whether it was of all below; the oldest first."""
        self.gone: dict[tuple[int, int], Nid] = {}
        """Rows that were told to be gone, by inode and birth time."""
        self.shaken: dict[Nid, bool] = {}
        """Rows that tasks of this device move while a look is under way; whether that look told anything of them."""
        self.scanned_once = False
        self.full_look_s = -NEVER_S
        """When the last look at everything began that came to its end."""
        self.next_full_scan_s = 0.0
        self.is_degraded = False
        self.scan_orders: dict[int, Nid] = {}
        """The rows of the folders that were new in the scan under way."""
        self.adopted: dict[Nid, Nid] = {}
        """Rows that became another during that scan."""
        self.refused: set[Nid] = set()
        """Rows of which that scan told something that could not be folded."""
        self.leaving_names: set[Nid] = set()
        """Rows at whose name another stands now, and that scan has not told yet where they went."""
        self.unread_tries: dict[bytes, int] = {}

    def _begin_trash(self) -> None:
        """Late looks at what was swapped out."""
        self.is_looking_late = False
        self.next_late_s = 0.0
        self.late_base_ms: int | None = None
        self.next_purge_s = 0.0

    def _begin_durable(self) -> None:
        """What the disk showed, and a power cut may have taken back."""
        durable = self.index.get("durable")
        self.durable = durable if isinstance(durable, int) else 0
        """The newest version of the local tree that is known to survive a power cut."""
        self.doubtful = range(0)
        """Versions that the disk may not show any more, though nobody changed them."""
        self.unseen_doubts: set[Nid] = set()
        """Rows of such versions that could not be looked at yet."""
        self.kept_doubts: set[Nid] = set()
        """Those of the look at everything that is under way."""
        self.has_leftovers = False
        """A task failed, and something of it may be in staging; see `leftovers`."""
        self.is_settling = False
        self.settle_wait_s = 1.0
        self.next_settling_s = 0.0
        self.is_syncing_volume = False
        self.next_volume_sync_s = NEVER_S

    def _begin_connection(self) -> None:
        """How far the connection is, and how patient."""
        self.reach_tries = 0
        self.calm_tries = 0
        self.calm_until_s = -1e9
        self.is_pulling = False
        self.has_stream = False
        self.version = PROTOCOL_VERSION_MIN
        """The protocol version that the service speaks with us."""
        self.is_answered = False
        """The service has answered a hello of this start: that this index went back in time would be known by now."""
        self.is_welcomed = False
        """And it has taken it."""
        self.is_caught_up = False
        """This start has folded all that there was when it was connected, so all that this link had sent before."""
        self.catches_up_at = 0
        self.snapshot_units: deque[NodeId] = deque()
        self.snapshot_busy: set[Nid] = set()
        # Folders that pages told of only as the parent of something.
        self.homeless: set[Nid] = set()
        self.unit_asked: NodeId | None = None
        self.page_asked: SnapshotRequest | None = None
        """The page of a snapshot that is under way; any other that comes was asked for before."""
        self.is_snapshotting = False
        self.page_seq_min = 0
        """A snapshot is told from a journal that reaches at least so far."""
        self.places: dict[int, Tag] = {}
        """Places of the journal that the remote tree rests on; see `journal_places`."""
        self.is_place_asked = False
        """The pull that is under way began after all of them were noted."""

    def _begin_left_out(self) -> None:
        """What is kept off this disk; see `excluding`."""
        self.left: dict[Nid, LeftOut]
        self.left, self.taken = load_left(self.index)
        """taken: those that an earlier start was just taking from the disk."""
        self.left_wait: dict[Nid, float] = {}
        """When units that could not leave are looked at again."""
        self.left_held: set[Nid] = set()
        """Units that wait for rows that are held."""
        self.next_leave_s = 0.0
        self.quiet: set[Nid] = set()
        """Not planned as things stand, and weighed again with each plan: empty folders that are only here, at the name
        of what is left out, and what came new into what leaves."""
        self.scope_nodes: list[NodeId] = []
        self.scope_told: bytes | None = b""
        """The mark of what the service was told to leave out last; None when it leaves out something else."""
        self.is_telling = False
        self.leaves_at: dict[Nid, int] = {}
        """The number of this start that the service is to know before a row leaves the disk; see `link_run`."""
        self.run_told = 0
        self.doubted: list[LeftTrash] = []
        self.back_faults: dict[str, Fault] = {}
        """What left this disk and is to come back to it, since the service may have lost it."""
        self.is_bringing_back = False
        self.next_back_s = 0.0
        self.beside: list[Nid] = []
        """What stepped aside for something left out, for status."""

    def _begin_shared(self) -> None:
        """Shared folders in this tree, and what holds where this tree is itself one; see `mounts`, `yielding`."""
        self.mounts: dict[Nid, Mount] = {}
        self.is_turning = False
        """Rows are to change hands: nothing more is done before the next start of this link."""
        self.is_own_told = False
        """The join under way has named the linked remote folder itself; see `own_folder`."""
        self.is_view_only = False
        """This account may not change what is in here: nothing is committed."""
        self.carrying: dict[Nid, str] = {}
        """What only this disk has and is on its way out, with its name in the trash."""
        self.edge: Edge | None = None
        """Who knows of files that went over to a neighbouring link; None where there is no neighbour."""

    def _load_position(self) -> Position | None:
        seq, tag = self.index.get("seq"), self.index.get("tag")
        if not isinstance(seq, int) or not isinstance(tag, bytes):
            return None
        return Position(self.identity.ns, seq, Tag(tag))

    def set_position(self, seq: int, tag: Tag) -> None:
        self.position = Position(self.identity.ns, seq, tag)
        self.index.put("seq", seq)
        self.index.put("tag", tag)

    def calm_down(self, fault: Fault) -> None:
        """The service could not be asked, or is overloaded: ask nothing for a growing while, with jitter."""
        self.calm_tries += 1
        wait_s = min(30.0, 0.1 * 2.0 ** min(self.calm_tries, 9)) * (0.75 + self.clock.random(1)[0] / 512)
        asked_s = fault.fields.get("retry_after_s")
        wait_s = max(wait_s, float(asked_s)) if isinstance(asked_s, (int, float)) else wait_s
        self.calm_until_s = max(self.calm_until_s, self.now.monotonic_s + wait_s)

    @property
    def sends_xattrs(self) -> bool:
        """True when extended attributes are synced and the service keeps them."""
        return self.identity.has_xattrs and self.version >= XATTRS_VERSION

    @property
    def may_ask(self) -> bool:
        """True when the service may be asked for anything now."""
        return self.phase is Phase.LIVE and self.now.monotonic_s >= self.calm_until_s

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def new_op_id(self, flags: int) -> OpId:
        """Return an id that is nobody else's; ids of one moment are neighbours, which the service's tables like."""
        return self.sent.new_id(flags, self.now.wall_ns // 1_000_000)

    def touch(self, nids: Collection[Nid], *, is_deletion: bool = False, clean: Collection[Nid] = frozenset()) -> None:
        """Settle rows whose sides changed (but for the `clean`), and queue those that are dirty for planning."""
        unsettled = [nid for nid in nids if nid not in clean] if clean else nids
        dirty = self.index.settle(unsettled, keep=lambda nid: nid in self.busy or nid in self.snapshot_busy)
        for group in (self.waiting, self.unseen, self.fresh, self.deleting, self.held_back, self.quiet):
            group.difference_update(nids)
        if self.tries or self.misses or self.retry_at:
            still = set(dirty)
            for nid in nids:
                self.retry_at.pop(nid, None)
                if nid not in still:
                    self.tries.pop(nid, None)
                    self.misses.pop(nid, None)
        for nid in dirty:
            if nid in self.busy or nid in self.after_scan:
                continue
            if is_deletion:
                if not self.deleting:
                    self.delete_first_s = self.now.monotonic_s
                self.delete_last_s = self.now.monotonic_s
                self.deleting.add(nid)
            else:
                self.fresh.add(nid)
        if self.stalled:
            self.release(nids)
        if self.waiting:
            self.plan_waiting()

    def plan_waiting(self) -> None:
        """Plan anew what waited for any news."""
        self.fresh |= self.waiting
        self.waiting.clear()

    def wait_behind(self, folder: Nid, nid: Nid) -> None:
        """Plan the row anew when the busy folder above it is free."""
        self.behind.setdefault(folder, set()).add(nid)
        self.blocked[nid] = folder

    @property
    def is_unit_untold(self) -> bool:
        """What is in a folder that has come back whole is yet to be told: what was deleted with it may live again."""
        return bool(self.snapshot_units) or self.unit_asked is not None

    def free(self, nid: Nid) -> None:
        """The row is in no job any more: what waited for it is to be planned."""
        self.busy.pop(nid, None)
        if nid in self.look_when_free:
            self.look_later(0.0, self.look_when_free.pop(nid), is_deep=nid in self.doubted_below)
        for each in self.behind.pop(nid, ()):
            self.blocked.pop(each, None)
            self._plan_again(each)

    def stall(self, nid: Nid, reasons: Iterable[Nid]) -> None:
        """Plan the row anew when there is news of one of these, one of which waits for its time or a look."""
        for each in reasons:
            self.stalled.setdefault(each, set()).add(nid)

    def release(self, nids: Iterable[Nid]) -> None:
        """There is news of these rows: what was stalled by them is to be planned."""
        for nid in nids:
            for each in self.stalled.pop(nid, ()):
                self._plan_again(each)

    def _plan_again(self, nid: Nid) -> None:
        is_elsewhere = nid in self.busy or nid in self.deleting or nid in self.after_scan
        if not (is_elsewhere or nid in self.retry_at or nid in self.held_back or nid in self.unseen):
            self.fresh.add(nid)

    def look_again(self, *paths: DiskPath) -> None:
        """Queue a look at these paths."""
        for path in paths:
            folder, _, name = path.rpartition(b"/")
            if path:
                self.hints.append(Hint(DiskPath(folder), frozenset((name,))))
            else:
                self.hints.append(Hint(path, None, True))

    def look_later(self, delay_s: float, path: DiskPath, *, is_deep: bool = False) -> None:
        """Queue a look at the path; is_deep: into the folder that stands there, too."""
        folder, _, name = path.rpartition(b"/")
        hint = Hint(DiskPath(folder), frozenset((name,)), is_deep) if path else Hint(path, None, True)
        self.later_hints.append((self.now.monotonic_s + delay_s, hint))
