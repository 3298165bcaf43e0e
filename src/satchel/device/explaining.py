"""Tells why something stands as it does, and what was done to it. Invariant: only what the index holds, no guesses.

The command line prints it; what the server knows (who stored which version) it asks itself.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from satchel.core.conflicts import is_conflicted_copy, original_name
from satchel.core.entries import Kind
from satchel.core.errors import NotFound
from satchel.core.ids import ROOT_NID
from satchel.core.trees import Item, Row, Side
from satchel.device.index.activity import Act, ActRow, What
from satchel.device.index.beside import View, viewing

EVENTS_MAX = 50

RULES = {
    "edit/edit": "Both sides changed the content since they last agreed. What reached the server first keeps the"
    " name; what this device had stands beside it as a conflicted copy.",
    "create/create": "Both sides made this file with different content. What reached the server first keeps the name;"
    " what this device had stands beside it as a conflicted copy.",
    "unit moved/delete": "The folder was moved on one side and deleted on the other; the move holds.",
    "delete/unit moved": "The folder was deleted here and moved on the server; the move holds.",
    "folder needed": "The folder was deleted on one side, but something in it was changed on the other, so it stays"
    " for that.",
    "move/cycle": "Two moves would have put folders into each other; one of them was taken back.",
    "name clash": "Two different things had one name in one folder; both are kept, one under another name.",
    "case clash": "Two names differed in case only; both are kept, one under another name.",
    "unicode clash": "Two names differed only in how a character is encoded; both are kept, one under another name.",
    "excluded name": "It was made here at the name of something that this device leaves out; both are kept, this one"
    " under another name.",
    "excluded inside": "The folder was deleted here, but something in it is left out on this device and was not seen,"
    " so it stays for that.",
    "left out": "A person leaves it out on this device: it went to the local trash, and stays as it is on the server.",
    "remote create": "It came from the server; nothing stood at this name.",
    "remote edit": "It was changed on the server and not here.",
    "kept both": "What the server holds took the name; what stood here was kept beside it.",
    "remote delete": "It was deleted on the server and unchanged here.",
    "remote move": "It was moved on the server.",
    "remote exec": "The executable bit was changed on the server.",
    "remote xattrs": "The extended attributes were changed on the server.",
    "view only": "It was changed here, where this account may only look, or may not look any more: what was not on the"
    " server was moved to the folder 'Unsynced from ...' among your own files.",
    "undo": "A person took back what the run before had done.",
    "resolved": "A person ended a conflict.",
}


class SideTold(msgspec.Struct, frozen=True):
    """One side of a node. state: present, absent or unknown; content: hex of the hash, target of a symlink."""

    state: str
    path: str = ""
    kind: str = ""
    content: str = ""
    is_executable: bool = False


class Event(msgspec.Struct, frozen=True):
    """Something decided or done. number: for paging; run: what was done together; trashed: in the local trash.

    base, local, remote: the three sides that a decision was made on, None for what was only done.
    """

    number: int
    at_ms: int
    run: int
    what: str
    path: str
    rule: str
    told: str
    device: str
    was_path: str = ""
    was_content: str = ""
    content: str = ""
    trashed: str = ""
    beside: str = ""
    base: SideTold | None = None
    local: SideTold | None = None
    remote: SideTold | None = None


class Explained(msgspec.Struct, frozen=True):
    """A path, explained. node_id: hex, "" when nothing is known of it. told: one sentence on how it stands.

    copy_of: for a conflicted copy the path of the file beside which it stands. events: the newest first.
    """

    path: str
    node_id: str
    told: str
    base: SideTold
    local: SideTold
    remote: SideTold
    held_code: str = ""
    held_reason: str = ""
    next_try_ms: int = 0
    copy_of: str = ""
    events: tuple[Event, ...] = ()


class Conflict(msgspec.Struct, frozen=True):
    """A conflicted copy on this disk and the file beside it. made_by: the device whose edit the copy holds.

    original: "" when that file is gone. Times are Unix ms of the last change, as both files carry it.
    """

    copy: str
    original: str
    made_by: str
    is_mine: bool
    copy_size: int
    copy_changed_ms: int
    original_size: int = 0
    original_changed_ms: int = 0


ABSENT = SideTold("absent")


def rule_text(rule: str) -> str:
    """Return what a rule says, in one sentence or two."""
    if rule in RULES:
        return RULES[rule]
    here, slash, there = rule.partition("/")
    if not slash:
        return rule
    text = f"Here: {_changed(here)}. On the server: {_changed(there)}."
    if "delete" in (here, there):
        return f"{text} A change beats a deletion, so it stays."
    if "move" in here and "move" in there:
        return f"{text} The place that reached the server first holds."
    return f"{text} Both changes are kept."


def _changed(changes: str) -> str:
    words = {"delete": "deleted", "create": "made", "move": "moved", "edit": "edited", "exec": "executable bit set"}
    words["xattrs"] = "extended attributes set"
    return " and ".join(words.get(each, each) for each in changes.split("+"))


def event_of(row: ActRow) -> Event:
    """Return a row of the record for people."""
    act = row.act
    sides = msgspec.json.decode(act.sides) if act.sides else {}
    return Event(
        row.number,
        row.at_ms,
        row.run,
        act.what.name.lower(),
        act.path,
        act.rule,
        rule_text(act.rule),
        row.device,
        was_path=act.was_path,
        was_content=_content_text(act, act.was_content),
        content=_content_text(act, act.content),
        trashed=act.trashed,
        beside=act.beside,
        base=_recorded(sides, "base"),
        local=_recorded(sides, "local"),
        remote=_recorded(sides, "remote"),
    )


def _content_text(act: Act, content: bytes) -> str:
    return "" if act.what is What.DECIDED else content.hex()


def _recorded(sides: dict[str, object], which: str) -> SideTold | None:
    if which not in sides:
        return None
    side = sides[which]
    if side is None or side == "unknown":
        return SideTold("unknown" if side else "absent")
    return msgspec.convert({"state": "present", **side}, SideTold)  # type: ignore[dict-item]  # the record's own form


def explain(view: View, names: tuple[str, ...]) -> Explained:
    """Explain a path below the linked folder. names: its components, at least one."""
    path = "/".join(names)
    nid = view.nid_at(names)
    row = view.row(nid) if nid is not None else None
    rows = {each.number: each for each in view.activity.at_path(path, EVENTS_MAX)}
    copy_of = "/".join((*names[:-1], original_name(names[-1]))) if is_conflicted_copy(names[-1]) else ""
    if row is None:
        parked = view.unread(path.encode())
        code, reason = parked or ("", "")
        told = f"It cannot be synced: {reason}." if parked else "Nothing is known of this path now."
        return Explained(path, "", told, ABSENT, ABSENT, ABSENT, code, reason, 0, copy_of, _newest(rows))
    rows |= {each.number: each for each in view.activity.of_node(row.node_id, EVENTS_MAX)}
    facts = view.facts(row.nid)
    return Explained(
        path,
        row.node_id.hex(),
        _told(row, facts.held_reason),
        side_of(view, row.synced),
        side_of(view, row.local),
        side_of(view, row.remote),
        facts.held_code,
        facts.held_reason,
        facts.next_try_ms,
        copy_of,
        _newest(rows),
    )


def _newest(rows: dict[int, ActRow]) -> tuple[Event, ...]:
    return tuple(event_of(rows[number]) for number in sorted(rows, reverse=True)[:EVENTS_MAX])


def _told(row: Row, held_reason: str) -> str:
    if held_reason:
        return f"It waits: {held_reason}."
    if not row.is_dirty:
        return "In sync: this disk and the server hold the same."
    if not isinstance(row.local, Item | None) or not isinstance(row.remote, Item | None):
        return "One side cannot be read, so nothing is done to it."
    here, there = row.local != row.synced, row.remote != row.synced
    if here and there:
        return "Both sides differ from what they last agreed on; the next plan brings them together."
    if here:
        return "It was deleted here; that goes to the server." if row.local is None else "Changed here; it goes up."
    return "It was deleted on the server." if row.remote is None else "Changed on the server; it comes down."


def conflicts_in(folder: Path, device_name: str, limit: int) -> list[Conflict]:
    """Return the conflicted copies of the link with this state folder; none when it was never synced."""
    try:
        with viewing(folder) as view:
            return conflicts(view, device_name, limit)
    except NotFound:
        return []


def conflicts(view: View, device_name: str, limit: int) -> list[Conflict]:
    """Return the conflicted copies on this disk, the oldest first; at most `limit`."""
    found: list[Conflict] = []
    for nid in view.conflicted_copies(limit):
        local, path = view.reader.local(nid), view.reader.path_of(nid)
        if local is None or path is None:
            continue
        name = local.name.decode()
        original = view.reader.find(local.parent, original_name(name).encode())
        made_by = device_of(name)
        folder = path.rpartition(b"/")[0].decode()
        beside = (f"{folder}/" if folder else "") + original_name(name)
        found.append(
            Conflict(
                path.decode(),
                beside if original is not None else "",
                made_by,
                made_by == device_name,
                local.stat.size,
                local.stat.mtime_ns // 1_000_000,
                original.stat.size if original is not None else 0,
                original.stat.mtime_ns // 1_000_000 if original is not None else 0,
            )
        )
    return found


def device_of(name: str) -> str:
    """Return the device that the name of a conflicted copy tells of."""
    head = name.rpartition("'s conflicted copy ")[0]
    return head.rpartition(" (")[2]


def side_of(view: View, side: Side) -> SideTold:
    """Return one side of a row for people."""
    if side is None:
        return ABSENT
    if not isinstance(side, Item):
        return SideTold("unknown")
    above = "" if side.parent == ROOT_NID else view.reader.remote_path_of(side.parent).strip("/")
    path = f"{above}/{side.name}" if above else side.name
    content = side.content.decode(errors="replace") if side.kind is Kind.SYMLINK else side.content.hex()
    return SideTold("present", path, side.kind.name.lower(), content, side.is_executable)
