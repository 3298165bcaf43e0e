"""Satchel for other programs: a small typed client of the REST interface.

async with Client("https://files.example.org", token) as client:
    item = await client.upload_in_parts("/film.mp4", file, size=size)

Faults are the classes of `satchel.core.errors`, with the server's codes. Source: docs/use/api.md.
"""

from __future__ import annotations

from satchel.api.client import Client
from satchel.api.links import Link
from satchel.api.search import FoundItem, FoundItems, FoundText, FoundTexts
from satchel.api.shares import Invitation, Person, Share
from satchel.api.uploads import Upload
from satchel.device.api import Account, Device, Item, SignedIn, Trashed, Version

__all__ = [
    "Account",
    "Client",
    "Device",
    "FoundItem",
    "FoundItems",
    "FoundText",
    "FoundTexts",
    "Invitation",
    "Item",
    "Link",
    "Person",
    "Share",
    "SignedIn",
    "Trashed",
    "Upload",
    "Version",
]
