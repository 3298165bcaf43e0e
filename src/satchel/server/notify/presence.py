"""Who is connected. Invariant: a fact that may be lost at any time; nothing but a display depends on it."""

from __future__ import annotations

from satchel.core.ids import AccountId


def presence_key(account: AccountId) -> str:
    """Return the key of the account's connected devices in the short-lived state; its members are ids in hex."""
    return f"user:devices:{account.hex()}"
