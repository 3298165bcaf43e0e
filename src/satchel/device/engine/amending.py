"""What a person has taken back or ended: which acts it is about, and how it is recorded.

Invariant: what was taken back is a run of its own, so that it can be taken back as well. Source: docs/design/040,
rule 11.
"""

from __future__ import annotations

from collections.abc import Sequence

from satchel.core.conflicts import is_conflicted_copy, original_name
from satchel.core.errors import NotFound
from satchel.core.ids import ROOT_NID, ROOT_NODE
from satchel.device.engine.acting import record_acts
from satchel.device.engine.late import remember_trashed
from satchel.device.engine.state import Now, State
from satchel.device.index.activity import Act, Activity, What
from satchel.device.ports import DiskPath, Hint, split
from satchel.device.undoing import Done

UNDO_ACTS_MAX = 10_000


def last_changes(state: State) -> list[Act]:
    """Return what the last run did to the disk, in order; of a very long one its last part."""
    return [row.act for row in Activity(state.index.connection).last_changes(UNDO_ACTS_MAX)]


def sides_of(state: State, path: str) -> tuple[Act, Act]:
    """Return a conflicted copy and the file that it was made beside, as acts with their node ids and paths.

    path: relative to the linked folder. Raises: NotFound when it is no conflicted copy.
    """
    folder, name = split(DiskPath(path.encode()))
    if not is_conflicted_copy(name.decode()):
        raise NotFound(f"{path} is no conflicted copy; see 'satchel conflicts list'.", path=path)
    beside = original_name(name.decode())
    original = f"{folder.decode()}/{beside}" if folder else beside
    return _at(state, path), _at(state, original)


def _at(state: State, path: str) -> Act:
    reader, nid = state.index.reader, ROOT_NID
    for name in path.encode().split(b"/"):
        row = reader.find(nid, name)
        if row is None:
            return Act(What.DECIDED, ROOT_NODE, path, "resolved")
        nid = row.nid
    return Act(What.DECIDED, state.index.node_id_of(nid) or ROOT_NODE, path, "resolved")


def record(state: State, done: Sequence[Done], now: Now) -> None:
    """Record what was done as a run of its own, and let what went to the trash be looked at again."""
    made = [each for each in done if each.act is not None]
    if not made:
        return
    state.now = now
    with state.index.transaction():
        state.acts.begin()
        for each in made:
            assert each.act is not None
            state.acts.noted.append(each.act)
            if each.trashed is not None:
                path = DiskPath(each.act.path.encode())
                remember_trashed(state, each.act.trashed, path, each.trashed, each.act.was_content)
        record_acts(state)
        state.acts.close()


def hints_of(done: Sequence[Done]) -> tuple[Hint, ...]:
    """Return where to look at now."""
    paths = {path for each in done if each.act is not None for path in (each.act.path, each.act.was_path) if path}
    places = [split(DiskPath(path.encode())) for path in sorted(paths)]
    return tuple(Hint(folder, frozenset((name,)), True) for folder, name in places)
