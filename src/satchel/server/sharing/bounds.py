"""How many people a shared folder has, and how many shared folders a person."""

from __future__ import annotations

from collections.abc import Sized

from satchel.core.errors import LimitExceeded
from satchel.core.limits import MEMBERS_MAX, MOUNTS_MAX


def require_room(memberships: Sized) -> None:
    """Return when an account can have a part in one shared folder more. Raises: LimitExceeded."""
    if len(memberships) >= MOUNTS_MAX:
        raise LimitExceeded(
            "The account has a part in too many shared folders.",
            limit="MOUNTS_MAX",
            maximum=MOUNTS_MAX,
            actual=len(memberships) + 1,
        )


def require_place(members: Sized) -> None:
    """Return when a shared folder can have one member more. Raises: LimitExceeded."""
    if len(members) >= MEMBERS_MAX:
        raise LimitExceeded(
            "The shared folder has too many members.",
            limit="MEMBERS_MAX",
            maximum=MEMBERS_MAX,
            actual=len(members) + 1,
        )
