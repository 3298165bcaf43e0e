"""Disk operations to fetches and applier batches, and what came of them.

Invariant: what was done is written as the local side with the stat seen after our own write, and agreed only in the
values that the operation took from the remote side as it was planned on. Source: docs/design/040 (rules 2, 10).
"""

from __future__ import annotations

from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.core.hashing import EMPTY_CONTENT
from satchel.core.ids import ROOT_NID, ContentHash, Nid
from satchel.core.limits import DEPTH_MAX, MANIFESTS_GET_COUNT_MAX, MIB
from satchel.core.operations import MoveLocal, Place, PlannedMove, SetAttributes, TrashLocal
from satchel.core.paths import name_key
from satchel.core.trees import Item
from satchel.core.xattrs import is_packed
from satchel.device.engine.acting import note_move, note_placed, note_trashed, record_acts
from satchel.device.engine.attributes import given, set_task, settled_attributes, write_set
from satchel.device.engine.bringing_back import doubt_left
from satchel.device.engine.excluding import has_left, name_trash, put_off
from satchel.device.engine.ground import Steps
from satchel.device.engine.late import remember_trashed
from satchel.device.engine.leftovers import note_failure
from satchel.device.engine.results import (
    LOOK_AGAIN_S,
    fail,
    fail_until_scanned,
    fail_until_sure,
    fail_with,
    finish,
    look_again_s,
)
from satchel.device.engine.shaken import shake_folders, steady
from satchel.device.engine.state import Job, Stage, State
from satchel.device.engine.trails import leave_trail
from satchel.device.engine.yielding import name_carried
from satchel.device.index.left_out import remote_child
from satchel.device.ports import ROOT_PATH, DiskPath, Hint, Stat, joined, split
from satchel.device.tasks import (
    Applied,
    ApplyResult,
    ApplyTask,
    Changed,
    DiskResult,
    DiskTask,
    Failed,
    Fetched,
    FetchItem,
    FetchTask,
    ManifestsTaken,
    ManifestTask,
    MovePath,
    MovePaths,
    PlaceFile,
    PlaceFolder,
    PlaceSymlink,
    SetAttrs,
    TrashUnit,
)

APPLY_BYTES_MAX = 32 * MIB
FETCH_BYTES_MAX = 16 * MIB


def next_placings(state: State) -> None:
    """Hand out applier batches; files whose bytes are not here yet go to the fetch lane first."""
    may_place = not (state.has_leftovers or state.halted)
    while may_place and state.ready_disk and state.counts["disk"] < state.bounds.apply_batches:
        share = max(1, -(-len(state.ready_disk) // (state.bounds.apply_batches - state.counts["disk"])))
        if not _batch(state, min(state.bounds.apply_tasks, max(share, 16))):
            break
    next_fetches(state)
    next_manifests(state)


def _batch(state: State, limit: int) -> bool:
    """Hand out one batch. Result: whether there was anything to hand out that need not wait for what is under way."""
    number = state.next_number()
    jobs: list[Job] = []
    waiting: list[Job] = []
    tasks: list[DiskTask] = []
    paths: dict[Nid, DiskPath] = {}
    satisfied: dict[int, int] = {}
    size = 0
    while state.ready_disk and len(tasks) < limit and size < APPLY_BYTES_MAX:
        job = state.ready_disk.popleft()
        if job.is_over:
            continue
        steps = _steps(state, job, paths)
        if state.ground.is_taken(steps):
            waiting.append(job)
            continue
        made = _task(state, job, paths)
        if made is None:
            if not job.is_over:
                state.ready_fetch.append(job)
            continue
        job.stage = Stage.RUNNING
        state.ground.enter(number, steps)
        shake_folders(state, job)
        jobs.append(job)
        tasks.append(made)
        size += len(made.data or b"") if isinstance(made, PlaceFile) else 0
        if isinstance(made, PlaceFolder):
            paths[made.nid] = made.path
            # What goes into a new folder may stand later in the same batch.
            for each in job.dependents:
                satisfied[id(each)] = satisfied.get(id(each), 0) + 1
                if (
                    satisfied[id(each)] == each.open_needs
                    and isinstance(each.op, Place)
                    and each.stage is Stage.WAITING
                ):
                    each.stage = Stage.READY
                    state.ready_disk.append(each)
    state.ready_disk.extendleft(reversed(waiting))
    for job in [job for job in state.ready_disk if job.open_needs > 0]:
        state.ready_disk.remove(job)
        job.stage = Stage.WAITING
    for job in [job for job in state.ready_fetch if job.open_needs > 0]:
        state.ready_fetch.remove(job)
        job.stage = Stage.WAITING
    if not jobs:
        return False
    state.running[number] = jobs
    state.counts["disk"] += 1
    state.tasks.append(ApplyTask(number, tuple(tasks)))
    return True


def _steps(state: State, job: Job, paths: dict[Nid, DiskPath]) -> Steps:
    """Return the paths that the job's task will touch. paths: those of folders that are known in this batch."""
    op, reader = job.op, state.index.reader
    match op:
        case Place():
            parent = op.item.parent
            if parent != ROOT_NID and parent not in paths and (folder := reader.path_of(parent)) is not None:
                paths[parent] = folder
            path = _path(state, parent, op.item.name, paths)
            return Steps((path,) if path is not None else ())
        case MoveLocal():
            moving = {move.nid: move for move in op.moves}
            found = [(nid, (reader.path_of(nid), _path_when_moved(state, nid, moving))) for nid in moving]
        case TrashLocal(nid=nid) | SetAttributes(nid=nid):
            found = [(nid, (reader.path_of(nid), None))]
        case _:
            raise AssertionError(op)
    told = [(nid, path) for nid, ways in found for path in ways if path is not None]
    folders = {nid for nid, _ in told if (row := reader.local(nid)) is not None and row.kind is Kind.FOLDER}
    return Steps(tuple(path for _, path in told), tuple(path for nid, path in told if nid in folders))


def _claim(state: State, job: Job, parent: Nid, name: str) -> None:
    key = (parent, name_key(name))
    state.claimed[key] = job
    job.claims.append(key)


def _path(state: State, parent: Nid, name: str, planned: dict[Nid, DiskPath]) -> DiskPath | None:
    if parent == ROOT_NID:
        folder: DiskPath | None = ROOT_PATH
    else:
        folder = planned.get(parent) or state.index.reader.path_of(parent)
    return None if folder is None else joined(folder, name.encode())


def _task(state: State, job: Job, planned: dict[Nid, DiskPath]) -> DiskTask | None:
    """Return the applier's task; None when it failed (stage DONE) or its bytes must be fetched first."""
    op = job.op
    match op:
        case Place():
            return _place(state, job, op, planned)
        case MoveLocal():
            moving = {move.nid: move for move in op.moves}
            moves = [_move(state, move, moving) for move in op.moves]
            if any(move is None for move in moves):
                fail_until_scanned(state, job)
                return None
            for move in op.moves:
                _claim(state, job, move.parent, move.name)
            return MovePaths(tuple(move for move in moves if move is not None))
        case TrashLocal():
            return _trash(state, job, op)
        case SetAttributes():
            return set_task(state, job, op)
        case _:
            raise AssertionError(op)


def _move(state: State, move: PlannedMove, moving: dict[Nid, PlannedMove]) -> MovePath | None:
    reader = state.index.reader
    local, source = reader.local(move.nid), reader.path_of(move.nid)
    target = _path_when_moved(state, move.nid, moving)
    if local is None or source is None or target is None:
        return None
    return MovePath(move.nid, source, target, local.stat, _home(state, move.parent))


def _home(state: State, parent: Nid) -> Stat | None:
    """Return the folder that stands for the row; None for the root, and for one that is yet to be made."""
    row = None if parent == ROOT_NID else state.index.reader.local(parent)
    return None if row is None else row.stat


def _path_when_moved(state: State, nid: Nid, moving: dict[Nid, PlannedMove]) -> DiskPath | None:
    """Return where the row stands once all that moves together has moved; None when there is no such place."""
    names: list[bytes] = []
    at = nid
    while at != ROOT_NID:
        move, row = moving.get(at), state.index.reader.local(at)
        if row is None or len(names) > 2 * DEPTH_MAX:
            return None
        at, name = (move.parent, move.name.encode()) if move is not None else (row.parent, row.name)
        names.append(name)
    return DiskPath(b"/".join(reversed(names)))


def _trash(state: State, job: Job, op: TrashLocal) -> DiskTask | None:
    reader = state.index.reader
    top, local = reader.path_of(op.nid), reader.local(op.nid)
    if top is None or local is None or len(reader.named(local.parent, local.name)) > 1:
        # Where two rows are recorded at one name, what stands there may be the other's.
        fail_until_scanned(state, job)
        return None
    members: dict[bytes, Stat] = {}
    young: list[Nid] = []
    pending: list[tuple[Nid, bytes]] = [(op.nid, b"")]
    planned = set(op.nids)
    while pending:
        nid, below = pending.pop()
        row = reader.local(nid)
        if row is None or nid not in planned:
            continue
        members[below] = row.stat
        if row.kind is Kind.FILE and not row.stat.ctime_ns:
            young.append(nid)
        pending += [(child.nid, below + b"/" + child.name if below else child.name) for child in reader.children(nid)]
    if young:
        # What nobody is sure of would be put back, and so come back on all devices.
        fail_until_sure(state, job, young)
        return None
    trashed = name_trash(state, op.nid, top) if op.nid in state.left else name_carried(state, op.nid, top)
    return TrashUnit(op.nid, top, members, trashed, _twin(state, op.nid))


def _twin(state: State, nid: Nid) -> tuple[DiskPath, Stat] | None:
    """Return where the equal file is that makes a file superfluous which only this disk has: the one that the service
    has at this place, and that stands elsewhere here. Its bytes are known as of the last look only."""
    row = state.index.row(nid)
    if row is None or row.remote is not None or row.synced is not None or not isinstance(row.local, Item):
        return None
    other = remote_child(state.index, row.local.parent, name_key(row.local.name))
    local, path = (
        (None, None) if other is None else (state.index.reader.local(other), state.index.reader.path_of(other))
    )
    return None if local is None or path is None else (path, local.stat)


def _place(state: State, job: Job, op: Place, planned: dict[Nid, DiskPath]) -> DiskTask | None:
    path = _path(state, op.item.parent, op.item.name, planned)
    local = state.index.reader.local(op.nid) if op.replaces is not None else None
    if path is None or (op.replaces is not None and local is None):
        fail_until_scanned(state, job)
        return None
    expected = local.stat if local is not None else None
    keep_as = op.keep_as.encode() if op.keep_as is not None else None
    home = _home(state, op.item.parent)
    facts = state.index.remote_facts(op.nid)
    made: DiskTask | None
    match op.item.kind:
        case Kind.FOLDER:
            made = PlaceFolder(op.nid, path, op.item.xattrs, home)
        case Kind.SYMLINK:
            made = PlaceSymlink(op.nid, path, op.item.content, expected, keep_as, home)
        case Kind.FILE:
            data = b"" if op.item.content == EMPTY_CONTENT else state.contents.get(op.item.content)
            if data is None and not job.staged:
                return None
            if job.staged:
                data = None
            elif data:
                job.blocks = state.index.reader.blocklist(op.item.content) or b""
            bit, xattrs = op.item.attributes
            made = PlaceFile(op.nid, path, job.staged, data, facts.mtime_ns, bit, expected, keep_as, xattrs, home)
        case _:
            fail_until_scanned(state, job)
            return None
    _claim(state, job, op.item.parent, op.item.name)
    if op.keep_as is not None:
        _claim(state, job, op.item.parent, op.keep_as)
    return made


# -- fetching -------------------------------------------------------------------------------------------------


def next_fetches(state: State) -> None:
    """Hand out files to build in staging: small ones together, a large one alone."""
    while state.may_ask and state.ready_fetch and state.counts["fetch"] < state.bounds.fetches_in_flight:
        jobs: list[Job] = []
        items: list[FetchItem] = []
        size = 0
        while state.ready_fetch and len(items) < state.bounds.fetch_items:
            job = state.ready_fetch[0]
            if items and size + job.size > FETCH_BYTES_MAX:
                break
            state.ready_fetch.popleft()
            if job.is_over:
                continue
            if _is_listless(state, job):
                state.listless.append(job)
                continue
            items.append(_fetch_item(state, job))
            jobs.append(job)
            job.stage = Stage.RUNNING
            size += job.size
        if not jobs:
            return
        number = state.next_number()
        state.running[number] = jobs
        state.counts["fetch"] += 1
        state.tasks.append(FetchTask(number, state.identity.ns, tuple(items)))


def _is_listless(state: State, job: Job) -> bool:
    """True when the blocklist is not known here: without it no local block would be found."""
    op = job.op
    assert isinstance(op, Place)
    return job.size > 0 and not job.is_urgent and state.index.reader.blocklist(op.item.content) is None


def next_manifests(state: State) -> None:
    """Ask for the blocklists of files that wait for theirs."""
    if not state.listless or state.is_listing or not state.may_ask:
        return
    contents = {job.op.item.content: None for job in state.listless if isinstance(job.op, Place)}
    state.is_listing = True
    state.tasks.append(
        ManifestTask(state.identity.ns, tuple(ContentHash(each) for each in contents)[:MANIFESTS_GET_COUNT_MAX])
    )


def fold_manifests(state: State, fact: ManifestsTaken) -> None:
    """Keep the blocklists; what the service has none for is left to the transfer, which says what is wrong."""
    state.is_listing = False
    if fact.fault is not None and fact.fault.retryable:
        state.calm_down(fact.fault)
        return
    for content, blocks in fact.manifests.items():
        state.index.put_blocklist(content, blocks)
    waiting, state.listless = state.listless, []
    for job in waiting:
        asked = isinstance(job.op, Place) and job.op.item.content in fact.task.ids
        job.is_urgent = job.is_urgent or asked
        if not job.is_over:
            state.ready_fetch.append(job)


def _fetch_item(state: State, job: Job) -> FetchItem:
    op = job.op
    assert isinstance(op, Place)
    facts = state.index.remote_facts(op.nid)
    reader = state.index.reader
    blocks = reader.blocklist(op.item.content) or b""
    sources = reader.sources(blocks, op.nid) if blocks else {}
    return FetchItem(
        op.nid,
        ContentHash(op.item.content),
        facts.size,
        blocks,
        facts.mtime_ns,
        op.item.is_executable,
        sources,
        None,
        op.item.xattrs,
    )


def fold_fetched(state: State, fact: Fetched) -> None:
    """Staged files go to the applier; those whose remote content is another by now are dropped with their staging."""
    jobs = state.running.pop(fact.task.number)
    state.counts["fetch"] -= 1
    for job, item in zip(jobs, fact.items, strict=True):
        if item.fault is not None:
            if item.fault.code in ("unavailable", "too_many_requests"):
                state.calm_down(item.fault)
                job.stage = Stage.READY
                state.ready_fetch.append(job)
            else:
                fail_with(state, job, item.fault)
            continue
        job.staged = item.staged
        job.blocks = item.blocks
        state.progress.bytes_down_done += job.size
        if _is_superseded(state, job):
            fail(state, job)
            continue
        job.stage = Stage.READY
        state.ready_disk.append(job)


def _is_superseded(state: State, job: Job) -> bool:
    op = job.op
    assert isinstance(op, Place)
    row = state.index.row(op.nid)
    return row is None or not isinstance(row.remote, Item) or row.remote.content != op.item.content


# -- what came of it ------------------------------------------------------------------------------------------


def fold_applied(state: State, fact: ApplyResult) -> None:
    """Write what the disk holds now."""
    jobs = state.running.pop(fact.task.number)
    state.counts["disk"] -= 1
    state.ground.leave(fact.task.number)
    for job, task, result in zip(jobs, fact.task.tasks, fact.results, strict=True):
        _take(state, job, task, result)
    record_acts(state)


def _take(state: State, job: Job, task: DiskTask, result: DiskResult) -> None:
    match result:
        case Applied():
            _write(state, job, task, result)
            steady(state, job, is_undone=False)
            state.look_again(*result.put_back)
            finish(state, job)
        case Changed(paths=paths):
            steady(state, job, is_undone=True)
            put_off(state, job, task, is_sure=True)
            fail_until_scanned(state, job)
            for path in paths:
                state.look_later(look_again_s(state, job.nids), path)
        case Failed(fault=fault):
            note_failure(state)
            steady(state, job, is_undone=True)
            put_off(state, job, task, is_sure=False)
            fail_with(state, job, fault)


def _write(state: State, job: Job, task: DiskTask, result: Applied) -> None:
    index, op = state.index, job.op
    match op:
        case Place():
            assert isinstance(task, (PlaceFile, PlaceFolder, PlaceSymlink))
            _write_placed(state, job, op, task, result)
        case MoveLocal():
            assert isinstance(task, MovePaths)
            for move, way, stat in zip(op.moves, task.moves, result.stats, strict=True):
                row = index.row(move.nid)
                if row is None or not isinstance(row.local, Item):
                    continue
                if not _stands(state, move.parent):
                    # Its folder went, or was adopted into another row meanwhile: a look finds where it stands now.
                    state.look_later(LOOK_AGAIN_S, ROOT_PATH)
                    continue
                if state.is_scanning and row.local.kind is Kind.FOLDER:
                    # The look that is under way may have been in it, and found nothing more under its old name.
                    folder, name = split(way.target)
                    state.hints.append(Hint(folder, frozenset((name,)), True))
                note_move(state, row.node_id, way)
                was = index.reader.path_of(move.nid) if row.local.kind is Kind.FOLDER else None
                index.set_local(move.nid, move.parent, move.name, row.local.content, _unsure(stat))
                leave_trail(state, move.nid, was)
                if job.is_stale:
                    continue
                planned = job.rows[move.nid].remote
                if row.synced is not None and isinstance(planned, Item) and planned.place == (move.parent, move.name):
                    index.set_synced(move.nid, row.synced.at(move.parent, move.name))
        case TrashLocal():
            assert isinstance(task, TrashUnit)
            row = index.row(op.nid)
            content = row.local.content if row is not None and isinstance(row.local, Item) else b""
            if op.nid in state.left:
                has_left(state, job, task, result)
                if job.is_stale:
                    # The service went back meanwhile, and this may be all that there is of it.
                    doubt_left(state)
                return
            remember_trashed(state, result.trashed, task.path, task.members, content)
            if row is not None:
                rule = "view only" if op.nid in state.carrying else "remote delete"
                note_trashed(state, row.node_id, task, content, result.trashed, rule)
            gone = index.clear_local_unit(op.nid)
            index.clear_synced(gone)
            state.touch([nid for nid in gone if nid not in state.busy])
        case SetAttributes():
            assert isinstance(task, SetAttrs)
            write_set(state, job, op, task, result.stats[0])
        case _:
            raise AssertionError(task)


def _stands(state: State, parent: Nid) -> bool:
    """Tell whether the folder is on the disk, as far as is known: what is noted in one that is not is never missed."""
    return parent == ROOT_NID or state.index.reader.local(parent) is not None


def _unsure(moved: Stat) -> Stat:
    """A file that was moved is read once more: a write in that moment that set the time back shows in no stat.

    The rename itself has changed the ctime, which alone would tell of it.
    """
    return replace(moved, ctime_ns=0) if moved.kind is Kind.FILE else moved


def _write_placed(
    state: State, job: Job, op: Place, task: PlaceFile | PlaceFolder | PlaceSymlink, result: Applied
) -> None:
    index = state.index
    before = index.row(op.nid)
    if before is None or not _stands(state, op.item.parent):
        # It, or its folder, went while it was placed: a look finds what stands there now.
        state.look_later(LOOK_AGAIN_S, ROOT_PATH)
        return
    if result.kept is not None and op.keep_id is not None and isinstance(before.local, Item):
        kept = index.reader.nid_of(op.keep_id)
        kept = index.add(op.keep_id) if kept is None else kept
        blocks = index.reader.blocklist(before.local.content) or b""
        index.set_local(kept, op.item.parent, result.kept_name.decode(), before.local.content, result.kept, blocks)
        state.touch([kept])
    if not isinstance(task, PlaceFolder) and task.expected is not None and isinstance(before.local, Item):
        remember_trashed(state, result.trashed, task.path, {b"": task.expected}, before.local.content)
    stat = result.stats[0]
    note_placed(state, before, op.item, task, result)
    index.set_local(op.nid, op.item.parent, op.item.name, op.item.content, stat, job.blocks)
    given(state, op.nid, op.item.xattrs, stat)
    if op.item.kind is Kind.FILE:
        state.contents.drop(op.item.content)
    if job.is_stale:
        return
    if before.synced is None:
        # Also when it was deleted on the server meanwhile: what was placed came from there and is no new file of ours.
        # And when a user was so quick with its attributes: that is a change of what was placed.
        is_changed = is_packed(stat.xattrs) and stat.xattrs != op.item.xattrs
        if before.remote != op.item or is_changed:
            index.set_synced(op.nid, op.item)
        return
    held = settled_attributes(before.synced, op.item.attributes, job.rows[op.nid].remote)
    held = held.holding(op.item.content, is_executable=held.is_executable, xattrs=held.xattrs)
    index.set_synced(op.nid, held if held.kind is op.item.kind else op.item)
