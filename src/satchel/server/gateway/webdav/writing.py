"""PUT, MKCOL, DELETE and PROPPATCH. Invariant: a file is replaced whole and its earlier state stays a version; what is
deleted is in the trash.

Conditions and locks are looked at again once the bytes have come, so a long upload overwrites nothing that its sender
could not know of. Source: RFC 4918 (9.2, 9.3, 9.6, 9.7).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from satchel.core.access import Right
from satchel.core.entries import Kind
from satchel.core.errors import LimitExceeded
from satchel.core.ids import NamespaceId
from satchel.core.limits import MIB
from satchel.core.messages import Content, CreateOp, DeleteOp, EditOp
from satchel.server.gateway.commits import check_room, new_op_id
from satchel.server.gateway.content import UPLOAD_BYTES_IN_MEMORY, received
from satchel.server.gateway.files import new_node_id
from satchel.server.gateway.raw import Disconnected
from satchel.server.gateway.telling import leave_share
from satchel.server.gateway.webdav.answers import Answer, Refusal, xml_answer
from satchel.server.gateway.webdav.calls import Call, Look, decided, existing, folder_of, tag_of
from satchel.server.gateway.webdav.dead_properties import PropertyChange, change_properties
from satchel.server.gateway.webdav.locks import drop_locks, unchanged
from satchel.server.gateway.webdav.names import href_of
from satchel.server.gateway.webdav.properties import propstat, read_propertyupdate
from satchel.server.gateway.webdav.xml_bodies import DAV, escaped, tagged

ROOM_LOOKED_AT_BYTES = 64 * MIB
"""How much of a body of unknown length comes between two looks at the quota."""
_PROTECTED = "<D:cannot-modify-protected-property/>"


async def put(call: Call) -> Answer:
    """Store the request's body as the file at its path."""
    if call.header(b"content-range"):
        raise Refusal(400, "A part of a file cannot be put.")
    if call.header(b"content-encoding") not in ("", "identity"):
        raise Refusal(415, "A file is put as it is, without a coding.")
    look = await call.look()
    await call.may(look.place.ns, Right.WRITE)
    _check_put(call, look)
    size = _length(call.header(b"content-length"))
    expected = _length(call.header(b"x-expected-entity-length"))
    await check_room(call.services, call.principal, look.place.ns, size or expected or 0)
    taken = UPLOAD_BYTES_IN_MEMORY if size is None else min(UPLOAD_BYTES_IN_MEMORY, 4 * size)
    with call.services.room.taken(call.principal.account_id, taken):
        content = await received(call.services, look.place.ns, _pieces(call, look.place.ns))
    mtime_ns = _mtime_ns(call)
    # Bytes may come for hours: whoever was signed out meanwhile writes nothing.
    await call.still(look.place.ns, Right.WRITE)

    async def attempt() -> Answer:
        now = await call.look()
        _check_put(call, now)
        if now.place.ns != look.place.ns:
            raise Refusal(409, "The folder went elsewhere while the file came.")
        return await _store(call, now, content, mtime_ns)

    return await decided(attempt)


async def mkcol(call: Call) -> Answer:
    """Make a folder in one that exists."""
    if await call.xml():
        raise Refusal(415, "A MKCOL has no body that is understood.")

    async def attempt() -> Answer:
        look = await call.look()
        place = look.place
        await call.may(place.ns, Right.WRITE)
        if place.entry is not None or not call.names:
            raise Refusal(405, "There is something at this path.")
        parent = folder_of(place)
        look.require(call.principal, place.above)
        op_id, node_id = new_op_id(call.services), new_node_id(call.services)
        await call.commit(look, place.ns, CreateOp(op_id, node_id, parent, call.names[-1], Kind.FOLDER))
        return Answer(201)

    return await decided(attempt)


async def delete(call: Call) -> Answer:
    """Put a file or folder, with all that is in it, into the trash."""

    async def attempt() -> Answer:
        look = await call.look()
        place = look.place
        entry = existing(place)
        await call.may(place.ns, Right.DELETE)
        if not call.names:
            raise Refusal(403, "The root folder itself cannot be deleted.")
        if entry.kind == Kind.MOUNT:
            # As over REST: whose folder it is not anymore leaves it, and its files stay with the others.
            look.require(call.principal, place.above)
            await leave_share(call.services, call.principal, place.own[0].ns, from_address=call.address)
            return Answer(204)
        if place.is_folder and call.depth("infinity") != "infinity":
            raise Refusal(400, "A folder is deleted with all that is in it.")
        look.require(call.principal, place.own + place.above, place.own)
        gone = DeleteOp(new_op_id(call.services), entry.node_id, look.heads.get(place.ns, 0))
        await call.commit(look, place.ns, gone)
        await drop_locks(call.services.db, place.ns, look.locks[place.ns].within(entry.node_id))
        return Answer(204)

    return await decided(attempt)


async def proppatch(call: Call) -> Answer:
    """Set and remove properties that clients make; all of them or none."""
    changes = read_propertyupdate(await call.xml())

    async def attempt() -> Answer:
        look = await call.look()
        place = look.place
        entry = existing(place)
        await call.may(place.ns, Right.WRITE)
        look.require(call.principal, place.own)
        href = href_of(call.names, is_folder=place.is_folder)
        if any(change.name[0] == DAV for change in changes):
            return _patched(href, changes, 403, _PROTECTED)
        guard = unchanged(call.services.clock, look.locks[place.ns])
        try:
            await change_properties(call.services.db, place.ns, entry.node_id, changes, guard)
        except LimitExceeded:
            return _patched(href, changes, 507, "")
        return _patched(href, changes, 200, "")

    return await decided(attempt)


def _check_put(call: Call, look: Look) -> None:
    """Accept what a file can be put to. Raises: Refusal."""
    place = look.place
    if place.is_folder or not call.names:
        raise Refusal(405, "There is a folder at this path.")
    folder_of(place)
    look.require(call.principal, place.own or place.above)


async def _store(call: Call, look: Look, content: Content, mtime_ns: int) -> Answer:
    place, op_id = look.place, new_op_id(call.services)
    headers: list[tuple[bytes, bytes]] = [(b"etag", tag_of(content.content_hash).encode())]
    if call.header(b"x-oc-mtime"):
        headers.append((b"x-oc-mtime", b"accepted"))
    if place.entry is None:
        node_id = new_node_id(call.services)
        op = CreateOp(op_id, node_id, folder_of(place), call.names[-1], Kind.FILE, content, mtime_ns=mtime_ns)
        await call.commit(look, place.ns, op)
        return Answer(201, tuple(headers))
    entry = place.entry
    bit = entry.is_executable
    await call.commit(look, place.ns, EditOp(op_id, entry.node_id, entry.content_rev, content, "", mtime_ns, bit))
    return Answer(204, tuple(headers))


async def _pieces(call: Call, ns: NamespaceId) -> AsyncIterator[bytes]:
    """Yield the body as it comes, and look at the quota now and then. Raises: Disconnected, QuotaExceeded."""
    size = looked_at = 0
    while True:
        message = await call.receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size - looked_at >= ROOM_LOOKED_AT_BYTES:
            looked_at = size
            await check_room(call.services, call.principal, ns, size)
        if piece:
            yield piece
        if not message.get("more_body", False):
            return


def _length(text: str) -> int | None:
    """Return a length that a header tells, None for none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _mtime_ns(call: Call) -> int:
    """Return when the file was changed: as the client says in the header that sync programs use, or now."""
    told = call.header(b"x-oc-mtime")
    if told.isascii() and told.isdigit() and len(told) <= 10:
        return int(told) * 1_000_000_000
    return call.services.clock.now_ms() * 1_000_000


def _patched(href: str, changes: list[PropertyChange], status: int, condition: str) -> Answer:
    """Return what became of each instruction. status: of those that decided it; the others failed with them."""
    names = list(dict.fromkeys(change.name for change in changes))
    guilty = [name for name in names if status != 403 or name[0] == DAV]
    others = [name for name in names if name not in guilty]
    parts = propstat(status, [tagged(name, "") for name in guilty], condition)
    if others:
        parts += propstat(424, [tagged(name, "") for name in others])
    told = f"<D:response><D:href>{escaped(href)}</D:href>{parts}</D:response>"
    return xml_answer(207, f'<D:multistatus xmlns:D="DAV:">{told}</D:multistatus>')
