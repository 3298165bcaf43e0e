"""What must hold for every plan, as checks on random cases.

Invariant: a check depends on its source of randomness alone; it returns a trace, equal in every process for one seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from satchel.core.ids import ROOT_NID, Nid
from satchel.core.operations import (
    Adopt,
    CommitDelete,
    CommitMove,
    Hold,
    MoveLocal,
    Operation,
    Plan,
    TrashLocal,
)
from satchel.core.planner import plan
from satchel.core.trees import UNKNOWN, Row
from tests.support.planning import (
    FIRST_COPY,
    ROUNDS_MAX,
    Broken,
    Cases,
    Device,
    Service,
    Tree,
    check_shape,
    check_valid,
    closure,
    contents,
    paths,
    run_some,
    settle,
    unit,
)


@dataclass(frozen=True)
class Case:
    """A base, two changes of it, and the device that has to bring them together."""

    rng: random.Random
    cases: Cases
    base: Tree
    local: Tree
    remote: Tree
    device: Device


def make_case(rng: random.Random) -> Case:
    """Return a case."""
    cases = Cases(rng)
    base, local, remote = cases.three_trees()
    return Case(rng, cases, base, local, remote, _device(base, local, remote, is_lazy=rng.random() < 0.3))


def _device(base: Tree, local: Tree, remote: Tree, *, is_lazy: bool = False) -> Device:
    service = Service(remote)
    service.dead = set(base) - set(remote)
    return Device(service, dict(local), dict(base), is_lazy=is_lazy)


def expect(holds: bool, what: object) -> None:
    if not holds:
        raise Broken(str(what))


def trace(device: Device) -> str:
    """Return a digest of what stands at each path of the service."""
    return hashlib.sha256(repr(sorted(paths(device.service.tree).items())).encode()).hexdigest()


def is_folded(tree: Tree) -> bool:
    try:
        check_valid(tree)
    except Broken:
        return False
    return True


def check_ending(case: Case) -> None:
    """All three trees are one, valid, and hold every content that one side had and the base had not."""
    device = case.device
    check_valid(device.service.tree)
    expect(device.is_settled(), "the trees are not equal")
    new = contents(case.local, case.remote) - contents(case.base)
    lost = new - contents(device.service.tree)
    expect(not lost, f"lost: {sorted(lost)}")


# -- the properties ----------------------------------------------------------------------------------------------------


def ends_in_one_tree_without_loss(rng: random.Random) -> str:
    """Every order, with operations that fail, ends in equal trees; each step is one that service and disk accept."""
    case = make_case(rng)
    settle(case.device, case.rng, failing=case.rng.choice((0.0, 0.0, 0.3, 0.7)))
    check_ending(case)
    return trace(case.device)


def follows_the_only_side_that_changed(rng: random.Random) -> str:
    """Remote alone changed: the result is the remote tree; local alone: the local one."""
    case = make_case(rng)
    here = _device(case.base, case.base, case.remote)
    settle(here, case.rng)
    expect(here.local == case.remote, "a remote change was not followed")
    there = _device(case.base, case.local, case.base)
    settle(there, case.rng)
    if is_folded(case.local):
        expect(there.service.tree == case.local, "a local change was not followed")
    else:
        expect(contents(there.service.tree) == contents(case.local), "a local change was not followed")
    return trace(here) + trace(there)


def gives_no_node_a_foreign_parent(rng: random.Random) -> str:
    """A node ends where one side put it (its folder may be another by adoption), a copy beside its original."""
    case = make_case(rng)
    settle(case.device, case.rng)
    adopted = case.device.adopted
    for nid, item in case.device.service.tree.items():
        if nid >= FIRST_COPY:
            continue
        trees = (case.base, case.local, case.remote)
        own = {nid, *(old for old, into in adopted.items() if into == nid)}
        parents = {tree[each].parent for tree in trees for each in own if each in tree}
        expect(item.parent in parents | {adopted.get(parent, parent) for parent in parents}, f"foreign parent: {nid}")
    return trace(case.device)


def any_order_ends_the_same(rng: random.Random) -> str:
    """Two devices that run the same plans in different orders end in the same paths and contents."""
    case = make_case(rng)
    other = _device(case.base, case.local, case.remote, is_lazy=case.device.is_lazy)
    settle(case.device, rng)
    settle(other, rng)
    expect(paths(case.device.service.tree) == paths(other.service.tree), "the order matters")
    return trace(case.device)


def sees_enough_in_the_closure(rng: random.Random) -> str:
    """The plan of the closure is the plan of the whole tree, at every step; planning twice gives the same plan."""
    case = make_case(rng)
    for rounds in range(ROUNDS_MAX):
        rows = case.device.rows()
        context = case.device.context(rows)
        made = plan(closure(rows), context)
        expect(made == plan(rows, context), "the closure is too small")
        backwards = dict(reversed(list(rows.items())))
        expect(made == plan(backwards, context), "the order of the rows matters")
        if not made.operations:
            break
        # What draws for ever that all fails says nothing of the planner.
        run_some(case.device, made, case.rng, failing=0.5 if rounds < 20 else 0.0)
    check_ending(case)
    return trace(case.device)


def serves_a_second_device(rng: random.Random) -> str:
    """A second device merges its own changes into the result, and the first then follows exactly."""
    case = make_case(rng)
    other_local = dict(case.base)
    case.cases.perturb(other_local, case.rng.randrange(7), is_folding=False)
    settle(case.device, case.rng)
    merged = dict(case.device.service.tree)
    second = Device(case.device.service, dict(other_local), dict(case.base), name="Phone")
    settle(second, case.rng)
    expect(second.is_settled(), "the second device's trees are not equal")
    lost = (contents(other_local, merged) - contents(case.base)) - contents(second.service.tree)
    expect(not lost, f"lost: {sorted(lost)}")
    after = dict(second.service.tree)
    settle(case.device, case.rng)
    expect(case.device.local == after == case.device.service.tree, "the first device does not follow")
    return trace(second)


def bears_changes_in_the_middle(rng: random.Random) -> str:
    """Both sides change again while plans are half done: it still ends, and the newest contents are all there."""
    case = make_case(rng)
    device, service = case.device, case.device.service
    for _ in range(3):
        rows = device.rows()
        made = plan(closure(rows), device.context(rows))
        run_some(device, made, case.rng, failing=0.5)
        case.cases.perturb(device.local, case.rng.randrange(3), is_folding=False)
        _perturb_service(case, service)
    new = contents(device.local, service.tree) - contents(device.synced)
    settle(device, case.rng, failing=0.2)
    expect(device.is_settled(), "the trees are not equal")
    lost = new - contents(service.tree)
    expect(not lost, f"lost: {sorted(lost)}")
    return trace(device)


def _perturb_service(case: Case, service: Service) -> None:
    before = dict(service.tree)
    case.cases.perturb(service.tree, case.rng.randrange(3), is_folding=True)
    service.dead |= before.keys() - service.tree.keys()
    for nid, item in service.tree.items():
        if before.get(nid) != item:
            service.content_rev[nid] = service.place_rev[nid] = service.rev()


def leaves_busy_rows_alone(rng: random.Random) -> str:
    """No operation names a busy row, whatever else goes on; once nothing is busy, all ends well."""
    case = make_case(rng)
    device = case.device
    for _ in range(4):
        nids = sorted(device.rows())
        device.busy = frozenset(nid for nid in nids if case.rng.random() < 0.25)
        rows = device.rows()
        made = plan(closure(rows), device.context(rows))
        check_shape(made)
        touched = {nid for op in made.operations for nid in nids_of(op)}
        expect(not touched & device.busy, f"touches busy rows: {sorted(touched & device.busy)}")
        expect(not any(isinstance(op, Hold) for op in made.operations), "a busy row is no reason to hold")
        run_some(device, made, case.rng, failing=0.2)
    device.busy = frozenset()
    settle(device, case.rng)
    check_ending(case)
    return trace(device)


def leaves_unknown_rows_alone(rng: random.Random) -> str:
    """What cannot be read is never deleted, moved or overwritten, nor what holds it; once known, all ends well."""
    case = make_case(rng)
    device = case.device
    unreadable = _unreadable(case)
    for _ in range(ROUNDS_MAX):
        made = _plan_around(device, unreadable)
        check_shape(made)
        operations = tuple(op for op in made.operations if not isinstance(op, Hold))
        if not operations:
            break
        touched = {nid for op in operations for nid in nids_of(op)}
        expect(not touched & unreadable, f"touches unknown rows: {sorted(touched & unreadable)}")
        run_some(device, Plan(operations, made.decisions), case.rng, failing=0.2)
        expect(unreadable <= device.local.keys(), "an unknown row is gone")
    settle(device, case.rng)
    check_ending(case)
    return trace(device)


def _unreadable(case: Case) -> frozenset[Nid]:
    """Pick a unit of the disk that still stands where the synced tree has it."""
    local, base = case.local, case.base
    tops = [nid for nid in sorted(local) if nid in base and local[nid].place == base[nid].place]
    if not tops:
        return frozenset()
    inside = unit(local, case.rng.choice(tops))
    return frozenset(nid for nid in inside if nid in base and local[nid].place == base[nid].place)


def _plan_around(device: Device, unreadable: frozenset[Nid]) -> Plan:
    rows = device.rows()
    seen: dict[Nid, Row] = {nid: replace(row, local=UNKNOWN) if nid in unreadable else row for nid, row in rows.items()}
    return plan(closure(seen), device.context(seen))


def nids_of(op: Operation) -> tuple[Nid, ...]:
    """Return the rows that an operation changes."""
    match op:
        case CommitMove(moves=moves) | MoveLocal(moves=moves):
            return tuple(move.nid for move in moves)
        case CommitDelete(nids=nids) | TrashLocal(nids=nids):
            return nids
        case Adopt(nid=nid, into=into):
            return nid, into
        case _:
            return (op.nid,)


def merges_at_first_contact(rng: random.Random) -> str:
    """Without a synced tree nothing is deleted on either side, and the service's tree stays as it is."""
    case = make_case(rng)
    shift = 100_000
    local = {
        Nid(nid + shift): item.at(Nid(item.parent + shift) if item.parent != ROOT_NID else ROOT_NID, item.name)
        for nid, item in case.local.items()
    }
    device = Device(Service(case.remote), local, {})
    expect(not _deletions(device), "a deletion at first contact")
    settle(device, case.rng)
    expect(device.is_settled(), "the trees are not equal")
    lost = contents(case.local, case.remote) - contents(device.service.tree)
    expect(not lost, f"lost: {sorted(lost)}")
    here, there = paths(case.local), paths(device.service.tree)
    for path, said in paths(case.remote).items():
        # Attributes that nobody agreed on are no removal: where the service has none, those of the disk come along.
        is_kept = path in there and there[path][:3] == said[:3] and (not said[3] or there[path] == said)
        expect(is_kept, "the service's tree was changed")
    expect(len(there) >= len(here) or not is_folded(case.local), "something local is gone")
    return trace(device)


def keeps_a_moved_unit_whole(rng: random.Random) -> str:
    """What one side deleted with a folder survives, all of it, when the other side moved that folder."""
    case = make_case(rng)
    settle(case.device, case.rng)
    left = case.device.service.tree.keys() | case.device.adopted.keys()
    for here, gone in ((case.local, case.remote), (case.remote, case.local)):
        for top, item in case.base.items():
            if top in gone or top not in here or here[top].place == item.place:
                continue
            inside = [nid for nid in unit(case.base, top) if nid in here and _went_with(case.base, gone, nid, top)]
            known = contents(case.device.service.tree)
            gone_for_good = [nid for nid in inside if nid not in left and here[nid].content not in known]
            expect(not gone_for_good, f"lost from a moved unit: {gone_for_good}")
    return trace(case.device)


def _went_with(base: Tree, gone: Tree, nid: Nid, top: Nid) -> bool:
    """Tell whether all from nid up to top is gone on that side."""
    while nid not in gone:
        if nid == top:
            return True
        nid = base[nid].parent
    return False


def merges_bits_like_content(rng: random.Random) -> str:
    """A bit that one side alone changed ends so, whatever happened to the rest of the node."""
    case = make_case(rng)
    settle(case.device, case.rng, failing=0.3)
    for nid, item in case.base.items():
        final = case.device.service.tree.get(nid)
        if final is None or nid not in case.local or nid not in case.remote:
            continue
        bits = {tree[nid].is_executable for tree in (case.local, case.remote)}
        edits = {tree[nid].content for tree in (case.local, case.remote)} - {item.content}
        if len(bits) == 2 and len(edits) < 2:
            expect(final.is_executable != item.is_executable, f"a bit is lost: {nid}")
        changed = {tree[nid].xattrs for tree in (case.local, case.remote)} - {item.xattrs}
        if len(changed) == 1 and len(edits) < 2:
            expect({final.xattrs} == changed, f"attributes are lost: {nid}")
    return trace(case.device)


def _deletions(device: Device) -> list[Operation]:
    rows = device.rows()
    operations = plan(closure(rows), device.context(rows)).operations
    return [op for op in operations if isinstance(op, CommitDelete | TrashLocal)]


PROPERTIES: tuple[Callable[[random.Random], str], ...] = (
    ends_in_one_tree_without_loss,
    follows_the_only_side_that_changed,
    gives_no_node_a_foreign_parent,
    any_order_ends_the_same,
    sees_enough_in_the_closure,
    serves_a_second_device,
    bears_changes_in_the_middle,
    leaves_busy_rows_alone,
    leaves_unknown_rows_alone,
    merges_at_first_contact,
    keeps_a_moved_unit_whole,
    merges_bits_like_content,
)


def check(seed: int) -> str:
    """Check one property on the case of that seed: the seed chooses both. Raises: Broken, naming the seed."""
    holds = PROPERTIES[seed % len(PROPERTIES)]
    try:
        return holds(random.Random(seed))
    except (AssertionError, KeyError, RecursionError) as error:
        raise Broken(f"SEED={seed} {holds.__name__}: {error}") from error
