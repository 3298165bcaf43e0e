"""Who asks. Invariant: a principal is made from a valid token alone, and every room decides by it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from satchel.core.ids import AccountId, DeviceId, NamespaceId


class Means(StrEnum):
    """By what somebody is known: a device's token, a browser's session, an app password."""

    DEVICE = "device"
    SESSION = "session"
    APP_PASSWORD = "app_password"


@dataclass(frozen=True, slots=True)
class Principal:
    """An account on one of its devices. root_ns: the namespace that is the account's own tree.

    device_id and device_name are those of the session or of the app password where it is one. may_write: False for an
    app password that only reads; whoever takes app passwords refuses its writes.
    """

    account_id: AccountId
    account_name: str
    device_id: DeviceId
    device_name: str
    root_ns: NamespaceId
    is_admin: bool = False
    means: Means = Means.DEVICE
    may_write: bool = True
