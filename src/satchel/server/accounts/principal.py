"""Who asks. Invariant: a principal is made from a valid token alone, and every room decides by it."""

from __future__ import annotations

from dataclasses import dataclass

from satchel.core.ids import AccountId, DeviceId, NamespaceId


@dataclass(frozen=True, slots=True)
class Principal:
    """An account on one of its devices. root_ns: the namespace that is the account's own tree."""

    account_id: AccountId
    account_name: str
    device_id: DeviceId
    device_name: str
    root_ns: NamespaceId
    is_admin: bool = False
