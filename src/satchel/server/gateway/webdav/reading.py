"""GET, HEAD, OPTIONS and PROPFIND. Invariant: nothing is changed by them, and however long the answer is, only a page
of it is in memory.

Source: RFC 4918 (9.1, 9.4), RFC 9110 (14, ranges).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from urllib.parse import quote

from satchel.core.access import Right
from satchel.core.entries import Entry
from satchel.core.hashing import unpack_blocks
from satchel.core.ids import ContentHash, NamespaceId
from satchel.server.accounts.service import account_of
from satchel.server.gateway.content import pieces_of, range_of
from satchel.server.gateway.raw import Joining, Send
from satchel.server.gateway.webdav.answers import HEAD, XML_TYPE, Answer, Refusal
from satchel.server.gateway.webdav.calls import FOLDERS, SHOWN, Call, Look, etag_of, existing
from satchel.server.gateway.webdav.conditions import names_tag
from satchel.server.gateway.webdav.dead_properties import Properties, properties_of
from satchel.server.gateway.webdav.locks import held
from satchel.server.gateway.webdav.names import Names, href_of
from satchel.server.gateway.webdav.properties import (
    Quota,
    Wanted,
    http_date,
    live_properties,
    lockdiscovery,
    media_type_of,
    read_propfind,
    response,
)
from satchel.server.gateway.webdav.xml_bodies import DAV
from satchel.server.metadata.tree import blocklist_of, list_folder

ALLOWED = b"OPTIONS, GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK"
ABILITIES = ((b"dav", b"1, 2, 3"), (b"ms-author-via", b"DAV"), (b"allow", ALLOWED))
PAGE_ENTRIES = 500
"""So many are told in one go: nobody else is answered meanwhile."""
_FOLDER_TEXT = b"This is a WebDAV folder. Open its address in a program that mounts WebDAV.\n"
_FINITE = "<D:propfind-finite-depth/>"


def options() -> Answer:
    """Say what can be done, which is the same everywhere and told to everyone."""
    return Answer(200, ABILITIES)


async def get(call: Call) -> Answer | None:
    """Give a file's bytes, whole or one range of them; None when all is sent."""
    place = await call.place(call.names)
    entry = existing(place)
    await call.may(place.ns, Right.READ)
    if place.is_folder:
        return Answer(200, ((b"content-type", b"text/plain; charset=utf-8"), *ABILITIES), _FOLDER_TEXT)
    tag = etag_of(entry)
    if (told := call.header(b"if-match")) and not names_tag(told, tag):
        raise Refusal(412, "The file is not what If-Match names.")
    headers = _file_headers(entry, tag)
    if (told := call.header(b"if-none-match")) and names_tag(told, tag):
        return Answer(304, tuple(headers))
    if_range = call.header(b"if-range") or tag
    first, last, is_part = range_of(call.header(b"range"), if_range=if_range, size=entry.size, tag=tag)
    if first > last and entry.size:
        return Answer(416, (*headers, (b"content-range", b"bytes */%d" % entry.size)))
    if is_part:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, entry.size)))
    headers.append((b"content-length", b"%d" % (last + 1 - first)))
    content = ContentHash(entry.content)
    packed = await blocklist_of(call.services.db, place.ns, content) if entry.size else b""
    pieces = pieces_of(call.services, place.ns, unpack_blocks(packed), first, last + 1)
    if call.scope["method"] == "HEAD":
        await call.send({"type": "http.response.start", "status": 206 if is_part else 200, "headers": headers})
        await call.send({"type": "http.response.body", "body": b""})
        return None
    # The first piece is read before the answer begins, so that damage is an error and not a short file.
    head = await anext(pieces, b"")
    await call.send({"type": "http.response.start", "status": 206 if is_part else 200, "headers": headers})
    await call.send({"type": "http.response.body", "body": head, "more_body": True})
    async for piece in pieces:
        await call.still(place.ns, Right.READ)
        await call.send({"type": "http.response.body", "body": piece, "more_body": True})
    await call.send({"type": "http.response.body", "body": b""})
    return None


async def propfind(call: Call) -> Answer | None:
    """Tell properties of a file or folder and, at depth 1, of what stands in it; None when all is sent."""
    # Without the header the standard says all levels.
    depth = call.depth("infinity")
    wanted = read_propfind(await call.xml())
    look = await call.look()
    entry = existing(look.place)
    await call.may(look.place.ns, Right.READ)
    if not look.place.is_folder:
        depth = "0"
    if depth == "infinity":
        raise Refusal(403, "Folders are told level by level: Depth 0 or 1.", _FINITE)
    await _send_multistatus(call.send, _responses(call, look, entry, wanted, is_deep=depth == "1"))
    return None


async def _responses(call: Call, look: Look, entry: Entry, wanted: Wanted, *, is_deep: bool) -> AsyncIterator[str]:
    quota = await _quota(call) if wanted.has_quota else None
    yield await _page(call, look, look.place.ns, [(_names(look, entry), entry)], wanted, quota)
    after = ""
    [inside] = look.place.own
    while is_deep:
        await call.still(inside.ns, Right.READ)
        page = await list_folder(call.services.db, call.principal, *inside, after, PAGE_ENTRIES)
        shown = [(_names(look, entry, each), each) for each in page if each.kind in SHOWN]
        yield await _page(call, look, inside.ns, shown, wanted, quota)
        if len(page) < PAGE_ENTRIES:
            return
        after = page[-1].name_key


async def _page(
    call: Call,
    look: Look,
    ns: NamespaceId,
    entries: Sequence[tuple[Names, Entry]],
    wanted: Wanted,
    quota: Quota | None,
) -> str:
    """Return the parts of some resources."""
    nodes = [entry.node_id for _, entry in entries]
    is_kept = wanted.names is None or any(name[0] != DAV for name in wanted.names)
    dead = await properties_of(call.services.db, ns, nodes) if is_kept else {}
    # Most namespaces have no locks, and then nothing is asked again.
    locks = look.locks[ns]
    if locks.locks:
        locks = await held(call.services.db, call.services.clock, ns, nodes)
    now_ms = call.services.clock.now_ms()
    nothing: Properties = {}
    parts = []
    for names, entry in entries:
        live = live_properties(entry, quota)
        live[DAV, "lockdiscovery"] = lockdiscovery(locks.covering(entry.node_id), locks, now_ms)
        href = href_of(names, is_folder=entry.kind in FOLDERS)
        parts.append(response(href, live, dead.get(entry.node_id, nothing), wanted))
    return "".join(parts)


async def _quota(call: Call) -> Quota:
    account = await account_of(call.services.db, call.principal)
    return Quota(account.used_bytes, account.quota_bytes)


async def _send_multistatus(send: Send, parts: AsyncIterator[str]) -> None:
    # What can fail at the first page fails before the answer begins.
    first = await anext(parts)
    await send({"type": "http.response.start", "status": 207, "headers": [(b"content-type", XML_TYPE)]})
    joining = Joining()

    async def write(pieces: Iterable[bytes | memoryview]) -> None:
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    await write(joining.add(f'{HEAD}<D:multistatus xmlns:D="DAV:">{first}'.encode()))
    async for part in parts:
        await write(joining.add(part.encode()))
    await write(joining.add(b"</D:multistatus>\n"))
    await send({"type": "http.response.body", "body": joining.rest()})


def _names(look: Look, entry: Entry, child: Entry | None = None) -> Names:
    """Return the path to tell: by the names as they are kept, whatever the case of those in the address."""
    asked = look.place.names
    own = (*asked[:-1], entry.name) if asked else ()
    return own if child is None else (*own, child.name)


def _file_headers(entry: Entry, tag: str) -> list[tuple[bytes, bytes]]:
    changed_ms = entry.mtime_ns // 1_000_000 if entry.mtime_ns > 0 else entry.created_ms
    return [
        (b"content-type", media_type_of(entry.name).encode()),
        (b"etag", tag.encode()),
        (b"last-modified", http_date(changed_ms).encode()),
        (b"accept-ranges", b"bytes"),
        (b"content-disposition", f"attachment; filename*=UTF-8''{quote(entry.name, safe='')}".encode()),
        (b"cache-control", b"private, no-cache"),
    ]
