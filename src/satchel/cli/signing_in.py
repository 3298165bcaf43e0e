"""What every way to sign in ends with. Invariant: a device is signed in to one server, as one account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from satchel.cli import daemon, session
from satchel.core.errors import AlreadyExists, DaemonNotRunning, NotSignedIn

if TYPE_CHECKING:
    from satchel.device.api import SignedIn


def refuse_another(url: str, user: str) -> None:
    """Return when this device is signed in nowhere else. user: empty when not known yet. Raises: AlreadyExists."""
    from satchel.device import credentials

    try:
        known = credentials.load(session.home())
    except NotSignedIn:
        return
    if known.url != url or user not in ("", known.account):
        raise AlreadyExists(
            f"This device is signed in to {known.url} as {known.account}; run 'satchel logout' first.",
            what="sign-in",
            name=known.account,
        )


def keep(url: str, device: str, signed_in: SignedIn) -> str:
    """Keep the token of a sign-in, and have a running daemon use it; return the account's name."""
    from satchel.device import credentials

    credentials.save(
        session.home(),
        credentials.Credentials(
            url=url,
            account=signed_in.account,
            device_id=signed_in.device_id,
            device_name=device,
            root_ns=signed_in.root_ns,
            token=signed_in.token,
        ),
    )
    _restart_daemon()
    return signed_in.account


def _restart_daemon() -> None:
    """A running daemon holds the old token; it is started again with the new one."""
    try:
        daemon.stop_daemon()
    except DaemonNotRunning:
        return
    daemon.ensure_daemon()
