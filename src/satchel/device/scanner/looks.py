"""What a walk has still to look at, and what it has put off. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from satchel.device.ignore import Scope
from satchel.device.index.rows import LocalRow
from satchel.device.ports import DiskPath, Listed
from satchel.device.scanner.hints import Names
from satchel.device.scanner.places import Parent


@dataclass(slots=True)
class Look:
    """One folder to compare. parent: what it is to its names; container: the folder it is in (of a new one only).

    above: rules of the container, None when not known yet. inode: the folder's own. unsure: its row, when that is to
    be reported as known again once the folder could be listed.
    """

    parent: Parent
    path: DiskPath
    inode: int
    container: Parent | None = None
    names: Names = None
    is_deep: bool = True
    above: Scope | None = None
    unsure: LocalRow | None = None
    is_own: bool = False
    """It is not to be given away."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A known name at which nothing of its row stands. folder, folder_inode: where it was looked for."""

    row: LocalRow
    folder: DiskPath
    folder_inode: int
    is_shadowed: bool = False
    """Another row stands at its name."""
    is_double: bool = False
    """And it is the very same file."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A known name that something else stands at."""

    look: Look
    scope: Scope
    item: Listed
    row: LocalRow
