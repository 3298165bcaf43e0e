"""Who this device is at its server. Invariant: the token is readable by this user alone, and goes to this server alone.

One file, `credentials.json`, 0600 in SATCHEL_HOME (0700), replaced as a whole. Source: docs/design/060 rule 3.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from satchel.core.errors import MessageInvalid, NotSignedIn, StorageFailed
from satchel.core.ids import DeviceId
from satchel.device.durable import read_json, sync_folder, write_json

FILE_NAME = "credentials.json"


class Credentials(msgspec.Struct, frozen=True):
    """A signed-in device. url: the server's origin; device_id and root_ns (the account's root namespace): hex."""

    url: str
    account: str
    device_id: str
    token: str
    device_name: str = ""
    root_ns: str = ""

    def __post_init__(self) -> None:
        if not self.token or not self.url:
            raise ValueError("credentials without server or token")
        bytes.fromhex(self.device_id)
        bytes.fromhex(self.root_ns)

    @property
    def device(self) -> DeviceId:
        """The device's id as bytes."""
        return DeviceId(bytes.fromhex(self.device_id))

    def __repr__(self) -> str:
        # The token must not reach a log by way of a traceback.
        return f"Credentials(url={self.url!r}, account={self.account!r}, device_id={self.device_id!r})"


def load(home: Path) -> Credentials:
    """Return this device's credentials. Raises: NotSignedIn; MessageInvalid for a file that is no credentials."""
    try:
        found = read_json(home / FILE_NAME, Credentials)
    except (msgspec.DecodeError, ValueError) as error:
        raise MessageInvalid(
            "The credentials file is damaged; sign in again.", reason="credentials", path=str(home / FILE_NAME)
        ) from error
    if found is None:
        raise NotSignedIn("This device is not signed in.", home=str(home))
    return found


def save(home: Path, credentials: Credentials) -> None:
    """Keep the credentials, durably, instead of earlier ones. Raises: StorageFailed."""
    write_json(home / FILE_NAME, credentials)


def forget(home: Path) -> None:
    """Remove the credentials, durably. Nothing when there are none. Raises: StorageFailed."""
    path = home / FILE_NAME
    try:
        os.unlink(path)
        sync_folder(home)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageFailed("The credentials cannot be removed.", where=str(path), reason=str(error)) from error
