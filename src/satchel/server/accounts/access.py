"""The one question whether someone may do something in a namespace. Invariant: unknown and forbidden answer alike."""

from __future__ import annotations

from satchel.core.access import Right, Role, allows
from satchel.core.errors import NotFound
from satchel.core.ids import NamespaceId
from satchel.server.accounts.principal import Principal


def role_of(principal: Principal, ns: NamespaceId) -> Role:
    """Return what the principal is to the namespace."""
    return Role.OWNER if ns == principal.root_ns else Role.NONE


def authorize(principal: Principal, ns: NamespaceId, right: Right) -> None:
    """Return when the principal has the right in the namespace. Raises: NotFound."""
    if not allows(role_of(principal, ns), right):
        raise NotFound("There is no such namespace.")
