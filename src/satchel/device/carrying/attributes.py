"""Extended attributes on their way out of an account and back. Invariant: what was packed comes back byte for byte.

REST tells nothing of them, so they are asked for as a device does: all that is there, once, before an export; only
those of nodes that have some are in memory.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from urllib.parse import quote, unquote_to_bytes

from satchel.core.errors import MessageInvalid
from satchel.core.ids import ROOT_NODE
from satchel.core.messages import XATTRS_VERSION, SnapshotRequest
from satchel.core.xattrs import pack_xattrs, unpack_xattrs
from satchel.device.disk_xattrs import give
from satchel.device.remote import HttpRemote

Attributes = Mapping[tuple[str, str], bytes]
"""Packed attributes by namespace and node id, both hex."""


async def attributes_of(remote: HttpRemote) -> Attributes:
    """Return those of all that the account can read. Raises: as `HttpRemote`."""
    told = await remote.namespaces()
    found: dict[tuple[str, str], bytes] = {}
    if told.version < XATTRS_VERSION:
        return found
    for head in told.namespaces:
        after, seq, has_more = ROOT_NODE, -1, True
        while has_more:
            page = await remote.snapshot(SnapshotRequest(head.ns, ROOT_NODE, after, seq, with_xattrs=True))
            found |= {(head.ns.hex(), one.node_id.hex()): one.xattrs for one in page.entries if one.xattrs}
            seq, has_more = page.seq, page.has_more
            after = page.entries[-1].node_id if page.entries else after
    return found


def give_attributes(folder: int, name: str, flags: int, packed: bytes) -> bool:
    """Give a file or folder its attributes, durable; those that it has besides stay. False: the disk takes none of
    them, or not all. Raises: OSError (it is not there, or something else)."""
    handle = os.open(name, flags, dir_fd=folder)
    try:
        is_given = give(handle, packed)
        os.fsync(handle)
        return is_given
    finally:
        os.close(handle)


def written(packed: bytes) -> dict[str, str]:
    """Return them as the manifest has them: names with `%41` for what is no plain character, values in base64."""
    return {quote(name, safe=""): base64.b64encode(value).decode() for name, value in unpack_xattrs(packed).items()}


def read_back(told: Mapping[str, str]) -> bytes:
    """Return what `written` was given. Raises: MessageInvalid, LimitExceeded."""
    try:
        values = {unquote_to_bytes(name): base64.b64decode(value, validate=True) for name, value in told.items()}
    except (binascii.Error, ValueError) as error:
        raise MessageInvalid("The manifest's extended attributes do not decode.", reason="xattrs") from error
    return pack_xattrs(values)
