"""Plans what is new on this disk and in nobody's way, without a merge: a first upload is made of nothing else.

Invariant: for such rows the result is that of `planner.plan`, operation by operation; whatever is not so plain is left
to the planner. Source: docs/design/040 (planner).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NID, Nid
from satchel.core.operations import CommitCreate
from satchel.core.trees import Item


def plan_creates(items: Mapping[Nid, Item], agreed: Collection[Nid]) -> list[CommitCreate] | None:
    """Return a create for each item, after that of its folder; None when a folder is neither agreed nor among them.

    items: by nid, in order, what stands on this disk alone: no other tree has the node or ever had it, and nobody else
    has the name on either side. agreed: folders that are equal in all three trees, with nothing in flight.
    """
    operations: list[CommitCreate] = []
    index_of: dict[Nid, int] = {}
    for start in items:
        pending = [start]
        while pending:
            nid = pending[-1]
            item = items[nid]
            parent = item.parent
            needs: tuple[int, ...] = ()
            if parent != ROOT_NID and parent not in agreed:
                above = items.get(parent)
                if above is None or above.kind is not Kind.FOLDER or len(pending) > len(items):
                    return None
                if parent not in index_of:
                    pending.append(parent)
                    continue
                needs = (index_of[parent],)
            pending.pop()
            if nid not in index_of:
                index_of[nid] = len(operations)
                operations.append(CommitCreate(len(operations), needs, nid, item))
    return operations
