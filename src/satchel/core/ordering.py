"""Orders the drafts of a plan. Invariant: the order respects all needs, and no state between two operations is refused.

A draft needs others for two reasons: because of the tree (its folder must be there first, what shall live on must leave
a unit before that is deleted), and because of names (a name must be free before it is taken). The first kind has no
circles. A circle of moves alone (a swap, a cyclic rename) becomes one joint operation; any other is cut by a detour:
whoever waits for a name takes a free one beside it, and the next plan brings it to its own. Source: docs/design/040.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from satchel.core.ids import Nid
from satchel.core.operations import Operation, PlannedMove
from satchel.core.trees import Item

Needs = tuple[int, ...]
Make = Callable[[int, Needs, Nid, Item], Operation]
MakeMoves = Callable[[int, Needs, tuple[PlannedMove, ...]], Operation]


class Draft:
    """An operation that has no index yet. item: what the node shall be, and where.

    make: builds the operation, for any but moves. make_moves: builds a move. needs, names: drafts that come first, for
    the tree's and for the names' sake. is_stuck: may not be done now, and so nothing that needs it.
    """

    __slots__ = ("is_detoured", "is_stuck", "item", "joint", "make", "make_moves", "moves", "names", "needs", "nid")

    def __init__(self, nid: Nid, item: Item, make: Make | None, *, is_stuck: bool = False) -> None:
        self.nid = nid
        self.item = item
        self.make = make
        self.make_moves: MakeMoves | None = None
        self.moves: tuple[PlannedMove, ...] = ()
        self.needs: list[Draft] = []
        self.names: list[Draft] = []
        self.joint: Draft | None = None
        self.is_stuck = is_stuck
        self.is_detoured = False

    @property
    def is_move(self) -> bool:
        return self.make_moves is not None

    def leader(self) -> Draft:
        """Return the draft that stands for this one: itself, or the joint operation that it became part of."""
        draft = self
        while draft.joint is not None:
            draft = draft.joint
        return draft

    def detour(self, name: str) -> None:
        """Take another name, which is free, and wait for none."""
        assert len(self.moves) <= 1
        self.item = self.item.at(self.item.parent, name)
        self.moves = tuple(PlannedMove(move.nid, move.parent, name, move.base_rev) for move in self.moves)
        self.names = []
        self.is_detoured = True


def ordered(drafts: list[Draft], detour_name: Callable[[Item], str]) -> list[Operation]:
    """Return the operations of all drafts that are not stuck, in an order that respects needs.

    detour_name: gives a free name in the folder of an item. Deterministic in the order of `drafts`.
    """
    chain = _sorted(drafts)
    while chain is None:
        _cut_circles(drafts, detour_name)
        chain = _sorted(drafts)
    operations: list[Operation] = []
    index_of: dict[Draft, int] = {}
    for draft in chain:
        before = [each.leader() for each in draft.needs]
        before += [each.leader() for each in draft.names]
        # What comes after a detour of its own node counted on the place that this node has not reached yet.
        if draft.is_stuck or any(each.is_stuck or (each.is_detoured and each.nid == draft.nid) for each in before):
            draft.is_stuck = True
            continue
        index = len(operations)
        index_of[draft] = index
        needs = tuple(sorted({index_of[each] for each in before if each is not draft})) if before else ()
        if draft.make_moves is not None:
            operations.append(draft.make_moves(index, needs, draft.moves))
        elif draft.make is not None:
            operations.append(draft.make(index, needs, draft.nid, draft.item))
    return operations


def _before(draft: Draft) -> list[Draft]:
    """Return the drafts that come before this one, each as its leader."""
    found = [each.leader() for each in draft.needs]
    found += [each.leader() for each in draft.names]
    return [each for each in found if each is not draft]


def _sorted(drafts: Iterable[Draft]) -> list[Draft] | None:
    """Return the leaders, each after what it needs; None when there is a circle."""
    chain: list[Draft] = []
    done: dict[Draft, bool] = {}
    for root in drafts:
        if root.joint is not None or root in done:
            continue
        stack = [(root, iter(_before(root)))]
        done[root] = False
        while stack:
            draft, rest = stack[-1]
            for each in rest:
                state = done.get(each)
                if state is False:
                    return None
                if state is None:
                    done[each] = False
                    stack.append((each, iter(_before(each))))
                    break
            else:
                done[draft] = True
                chain.append(draft)
                stack.pop()
    return chain


def _cut_circles(drafts: list[Draft], detour_name: Callable[[Item], str]) -> None:
    """Join the moves of each circle of moves, and send those on a detour that close any other circle by a name."""
    for circle in _circles([draft for draft in drafts if draft.joint is None]):
        if all(draft.is_move for draft in circle):
            _join(circle)
            continue
        members = set(circle)
        is_cut = False
        for draft in circle:
            closing = [each for each in draft.names if each.leader() in members]
            if any(not (draft.is_move and each.is_move) for each in closing):
                draft.detour(detour_name(draft.item))
                is_cut = True
        assert is_cut, "a circle of needs that no name closes"


def _join(circle: list[Draft]) -> None:
    first, *others = circle
    for other in others:
        other.joint = first
        first.moves += other.moves
        first.needs += other.needs
        first.names += other.names
        first.is_stuck = first.is_stuck or other.is_stuck


def _circles(drafts: list[Draft]) -> list[list[Draft]]:
    """Return the strongly connected parts of several drafts, each in the order of `drafts` (Tarjan, no recursion)."""
    number: dict[Draft, int] = {}
    low: dict[Draft, int] = {}
    open_drafts: list[Draft] = []
    is_open: set[Draft] = set()
    position = {draft: at for at, draft in enumerate(drafts)}
    found: list[list[Draft]] = []
    for root in drafts:
        if root in number:
            continue
        stack = [(root, iter(_before(root)))]
        number[root] = low[root] = len(number)
        open_drafts.append(root)
        is_open.add(root)
        while stack:
            draft, rest = stack[-1]
            for each in rest:
                if each not in number:
                    number[each] = low[each] = len(number)
                    open_drafts.append(each)
                    is_open.add(each)
                    stack.append((each, iter(_before(each))))
                    break
                if each in is_open:
                    low[draft] = min(low[draft], number[each])
            else:
                stack.pop()
                if stack:
                    low[stack[-1][0]] = min(low[stack[-1][0]], low[draft])
                if low[draft] == number[draft]:
                    part = [open_drafts.pop()]
                    while part[-1] is not draft:
                        part.append(open_drafts.pop())
                    is_open.difference_update(part)
                    if len(part) > 1:
                        found.append(sorted(part, key=position.__getitem__))
    return found
