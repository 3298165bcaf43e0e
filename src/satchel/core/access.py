"""The table of rights: what each role may do in a namespace. Invariant: what is not in the table is refused.

A role belongs to a person (or link) and a namespace, and is looked up at each request; the table says the rest. No
right follows from knowing a hash, an id or a path. Source: docs/design, security rule 1.
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What someone is to a namespace. NONE: no member, and the namespace does not exist for them."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"
    NONE = "none"


class Right(StrEnum):
    """What can be done in a namespace.

    READ: list, fetch, versions, feed. WRITE: create, edit, move, undelete. DELETE: into the trash. SHARE: links and
    file requests. PURGE: out of the trash for ever. REWIND: the whole namespace to a time. ADMINISTER: members and
    their roles, end of the sharing. LEAVE: drop one's own membership.
    """

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    SHARE = "share"
    PURGE = "purge"
    REWIND = "rewind"
    ADMINISTER = "administer"
    LEAVE = "leave"


_VIEWER = frozenset({Right.READ, Right.LEAVE})
_EDITOR = _VIEWER | {Right.WRITE, Right.DELETE, Right.SHARE}
# The owner cannot leave: a namespace always has somebody who answers for it and whose quota it counts against.
_OWNER = (_EDITOR - {Right.LEAVE}) | {Right.PURGE, Right.REWIND, Right.ADMINISTER}

_RIGHTS: dict[Role, frozenset[Right]] = {
    Role.OWNER: _OWNER,
    Role.EDITOR: _EDITOR,
    Role.VIEWER: _VIEWER,
    Role.NONE: frozenset(),
}


def allows(role: Role, right: Right) -> bool:
    """Tell whether someone of this role may do this. The caller answers NotFound when not, as for the unknown."""
    return right in _RIGHTS[role]
