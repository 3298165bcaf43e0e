"""A join's pages are read while the journal goes on: the entries after its place say what the pages, mixed, do not."""

from __future__ import annotations

from satchel.core.entries import Action, Entry
from satchel.core.messages import NamespaceHead, NamespacesReply, SnapshotPage
from satchel.device.service_tasks import Pulled, PullTask, Reached, ReachTask, SnapshotTaken, SnapshotTask
from tests.support.engine_rig import EPOCH, NODE_A, NODE_B, NODE_D, NS, Rig, changes, entry, folder, tag

S = 5
"""The place of the first page."""


def joined(*rows: Entry) -> Rig:
    """Return a link that was told these rows as of `S`, some of which are newer; the pull that follows is pending."""
    rig = Rig()
    rig.step()
    rig.take(ReachTask)
    rig.step(Reached(NamespacesReply(EPOCH, "ann", (NamespaceHead(NS, "root", True, 9, tag(9)),))))
    page = SnapshotPage(NS, S, tag(S), tuple(sorted(rows, key=lambda row: row.node_id)), False)
    rig.step(SnapshotTaken(rig.take(SnapshotTask), page))
    rig.welcome()
    rig.take(PullTask)
    return rig


def is_remote(rig: Rig, node: bytes) -> bool:
    nid = rig.index.reader.nid_of(node)  # type: ignore[arg-type]  # a node's id
    return nid is not None and rig.index.is_remote(nid)


def test_what_lay_in_a_folder_that_came_back_bare_stays_dead_where_the_folder_was_told_of_before() -> None:
    rig = joined(folder(9, NODE_D, "d", action=Action.UNDELETE), entry(4, NODE_A, "a", b"a", parent=NODE_D))
    rig.step(
        Pulled(
            changes(
                S,
                entry(6, NODE_B, "b", b"b", parent=NODE_D),
                folder(7, NODE_D, "d", action=Action.DELETE, is_live=False),
                folder(9, NODE_D, "d", action=Action.UNDELETE),
            )
        )
    )
    assert is_remote(rig, NODE_D)
    assert not is_remote(rig, NODE_A), "of a page that was read before the deletion"
    assert not is_remote(rig, NODE_B), "folded onto the folder of a later page"


def test_what_came_back_into_a_bare_folder_by_itself_lives() -> None:
    rig = joined(folder(8, NODE_D, "d", action=Action.UNDELETE), entry(9, NODE_A, "a", b"a", parent=NODE_D))
    rig.step(
        Pulled(
            changes(
                S,
                folder(7, NODE_D, "d", action=Action.DELETE, is_live=False),
                folder(8, NODE_D, "d", action=Action.UNDELETE),
                entry(9, NODE_A, "a", b"a", parent=NODE_D, action=Action.UNDELETE),
            )
        )
    )
    assert is_remote(rig, NODE_A)


def test_a_unit_that_came_back_whole_between_the_pages_is_asked_for() -> None:
    """Its rows may have been read while it was dead."""
    rig = joined(folder(8, NODE_D, "d", action=Action.UNDELETE, is_subtree=True))
    back = folder(8, NODE_D, "d", action=Action.UNDELETE, is_subtree=True)
    rig.step(Pulled(changes(S, folder(7, NODE_D, "d", action=Action.DELETE, is_live=False), back)))
    assert rig.take(SnapshotTask).request.unit == NODE_D


def test_what_was_told_in_a_folder_that_was_not_is_out_of_sight_until_the_folder_is_told() -> None:
    rig = joined(entry(4, NODE_A, "a", b"a", parent=NODE_D))
    assert not is_remote(rig, NODE_A)
    assert not (rig.state.fresh or rig.state.busy or rig.state.waiting)
    rig.step(Pulled(changes(S, folder(7, NODE_D, "d", action=Action.MOVE))))
    asked = rig.take(SnapshotTask)
    assert asked.request.unit == NODE_D
    rows = (entry(4, NODE_A, "a", b"a", parent=NODE_D), folder(7, NODE_D, "d"))
    rig.step(SnapshotTaken(asked, SnapshotPage(NS, 7, tag(7), rows, False)))
    assert is_remote(rig, NODE_A)
