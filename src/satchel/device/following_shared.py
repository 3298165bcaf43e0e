"""Lets a link whose remote folder was made a shared one go on as the link of that shared folder, before it begins.

Invariant: nothing on disk is touched and nothing that was agreed on is forgotten: node ids and revs are the same in the
shared folder, so the link only asks anew what stands there. The list of links is changed first; a stop before the index
let go of the old journal does it once more. Source: docs/adr/2026-11-29-a-linked-folder-made-shared.md.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from satchel.core.ids import short
from satchel.device.engine.own_folder import BECOMES, STANDS_ALONE
from satchel.device.index.beside import FILE_NAME
from satchel.device.index.store import Index
from satchel.device.links import Link, LinkStore, index_folder
from satchel.device.logs import EventLog
from satchel.device.mounted import NO_UNIT

log = EventLog(__name__)


def follow_shared(home: Path, link: Link) -> Link:
    """Return the link as it is to begin. Nothing of it runs. Idempotent. Raises: the index's faults, SettingInvalid."""
    store, index_file = LinkStore(home), index_folder(home, link.link_id) / FILE_NAME
    link = next((one for one in store.links() if one.link_id == link.link_id), link)
    if not index_file.exists():
        return link
    index = Index(str(index_file))
    try:
        becomes = index.get(BECOMES)
        if not isinstance(becomes, bytes):
            return link
        link = replace(link, ns=becomes.hex(), unit=NO_UNIT)
        store.add(link, instead_of=link.link_id)
        with index.durable():
            # Another journal, with places and a scope of its own.
            for key in ("seq", "places", "scope", BECOMES):
                index.put(key, None)
            index.put(STANDS_ALONE, 1)
    finally:
        index.close()
    log.info("link.follows_shared", link=short(link.link_id))
    return link
