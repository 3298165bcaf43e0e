"""Files and folders whose extended attributes are not as the service has them, and why. Invariant: such a node's local
attributes count as they were agreed on, so that nothing follows from what the disk shows of them.

TOO_LARGE: here they are past a limit. UNHELD: this disk did not take those of the service, and what it shows of them
says nothing until it takes some. A note of a row that went stays behind and names nobody: a nid is never used twice.
Source: docs/adr/2026-11-29-extended-attributes.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import apsw

from satchel.core.ids import Nid
from satchel.core.xattrs import TOO_LARGE, UNHELD

NOTES_SHOWN_MAX = 20

_NOTED = """
SELECT x.nid, x.seen FROM xattr_notes AS x CROSS JOIN nodes AS n ON n.nid = x.nid AND n.l_state > 0
ORDER BY x.nid LIMIT ?
"""


def has_notes(connection: apsw.Connection) -> bool:
    """Tell whether there is any note."""
    return next(iter(connection.execute("SELECT 1 FROM xattr_notes LIMIT 1")), None) is not None


def note_xattrs(connection: apsw.Connection, seen: Iterable[tuple[Nid, bytes | None]]) -> bool:
    """Remember what the disk showed of these rows' attributes, as far as it is to be told. Result: was there any?"""
    told = [one for one in seen if one[1] is not None]
    signs = [one for one in told if one[1] in (TOO_LARGE, UNHELD)]
    if signs:
        connection.executemany("INSERT OR REPLACE INTO xattr_notes VALUES (?, ?)", signs)
    if len(signs) < len(told) and has_notes(connection):
        values = [(nid, TOO_LARGE) for nid, xattrs in told if xattrs not in (TOO_LARGE, UNHELD)]
        connection.executemany("DELETE FROM xattr_notes WHERE nid = ? AND seen = ?", values)
    return bool(signs)


def assume_xattrs(connection: apsw.Connection, nid: Nid, xattrs: bytes) -> None:
    """The disk shows nothing that counts: what it was given counts as what it has."""
    connection.execute("UPDATE nodes SET l_xattrs = ? WHERE nid = ?", (xattrs, nid))


def drop_note(connection: apsw.Connection, nid: Nid) -> None:
    """The disk shows just what it was given."""
    connection.execute("DELETE FROM xattr_notes WHERE nid = ?", (nid,))


def move_note(connection: apsw.Connection, source: Nid, target: Nid) -> None:
    """The local side of `source` is that of `target` now."""
    connection.execute("UPDATE OR REPLACE xattr_notes SET nid = ? WHERE nid = ?", (target, source))


def is_unheld(connection: apsw.Connection, nid: Nid) -> bool:
    """Tell whether this disk did not take the row's attributes."""
    found = connection.execute("SELECT 1 FROM xattr_notes WHERE nid = ? AND seen = ?", (nid, UNHELD))
    return next(iter(found), None) is not None


def noted(connection: apsw.Connection) -> list[tuple[Nid, bytes]]:
    """Return rows that stand on this disk and their notes, at most NOTES_SHOWN_MAX."""
    return [(Nid(row[0]), row[1]) for row in connection.execute(_NOTED, (NOTES_SHOWN_MAX,))]
