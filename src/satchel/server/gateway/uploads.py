"""REST: files that come in parts and go on after a break. Invariant: what was acknowledged is there after any stop of
the service or of the caller, and the file is seen whole or not at all.

To begin wants the right to write where the file is to stand; each part and the end ask for it again. A part's bytes
become blocks as they come; whoever is cut off asks where the upload stands and goes on from there, at any gateway.
Source: docs/use/api.md.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import Annotated

import msgspec
from litestar import Response, delete, get, head, patch, post
from litestar.params import Parameter
from msgspec.structs import replace

from satchel.core.access import Right
from satchel.core.cutting import CDC1
from satchel.core.entries import Kind
from satchel.core.errors import BlockMismatch, LimitExceeded, MessageInvalid, OffsetMismatch, PreconditionFailed
from satchel.core.hashing import Block, packed_content_hash, unpack_blocks
from satchel.core.ids import NodeId, uuid7
from satchel.core.limits import BLOCK_BYTES_MAX, BLOCKS_PER_COMMIT_MAX, LIST_PAGE_MAX
from satchel.core.messages import CommitRequest, Content, CreateOp, EditOp, Stored, decode_plain, encode_plain
from satchel.core.paths import validate_name
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.commits import NO_LINK, check_room, commit_request, new_op_id, stored_or_fault
from satchel.server.gateway.content import UPLOAD_BYTES_IN_MEMORY, pieces_of
from satchel.server.gateway.files import Limit, new_node_id, place_of
from satchel.server.gateway.growing import Growing
from satchel.server.gateway.rest import Asked, Item, from_hex, item_of, namespace_of, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.tree import child_of, entry_by_id
from satchel.server.metadata.upload_sessions import (
    UploadSession,
    begin_again,
    begin_upload,
    decide,
    end_upload,
    finish_upload,
    note_lease,
    open_bytes,
    parts_of,
    upload_of,
    uploads_of,
)

TOLD = ("Upload-Offset", "Upload-Length")
ONE = "/api/v1/uploads/{upload_id:str}"
SIZE_BYTES_MAX = BLOCKS_PER_COMMIT_MAX * BLOCK_BYTES_MAX
LEASE_AGE_MS = 12 * 3_600_000
"""Blocks are held for two days; those of an upload that goes on are held anew when half a day is over."""
Size = Annotated[int, msgspec.Meta(ge=0, le=SIZE_BYTES_MAX)]
Moment = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Rev = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]
HashTold = Annotated[str, Parameter(pattern="^([0-9a-f]{64})?$")]


class UploadAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file to come: how many bytes, and where it is to stand: a path, or a folder's id and a name.

    base_rev: only if the file is still at that rev, 0: only if nothing is there; without it the newest content is
    replaced. sha256: of all bytes, in hex; they are checked with it in the end. mtime_ns: the present by default.
    """

    size: Size
    path: str = ""
    parent: str = ""
    name: str = ""
    namespace: str = ""
    base_rev: Rev | None = None
    sha256: Sha256 = ""
    mtime_ns: Moment = 0


class UploadShown(msgspec.Struct, frozen=True):
    """An upload as it stands. offset: how many bytes are there, which is where the next part begins. expires_ms: when
    it is forgotten, if nothing more comes. is_finished: the file is there."""

    id: str
    name: str
    size: int
    offset: int
    created_ms: int
    expires_ms: int
    is_finished: bool


class Uploads(msgspec.Struct, frozen=True):
    """A page of uploads, the oldest first. after: give it to get the next page; empty at the end."""

    items: list[UploadShown]
    after: str


@post("/api/v1/uploads", status_code=201, tells=TOLD)
async def begin(request: Asked, data: UploadAsked) -> Response[UploadShown]:
    """Begin an upload: say how long the file is and where it is to stand. Wants the right to write there."""
    services, principal = services_of(request), await principal_of(request)
    if bool(data.path) == bool(data.parent or data.name):
        raise MessageInvalid("Name the place by a path, or by a folder's id and a name.", reason="path or parent")
    if data.path:
        ns, parent, name = await place_of(services, principal, data.path)
    else:
        ns, parent = namespace_of(principal, data.namespace), NodeId(from_hex(data.parent, what="parent"))
        name = data.name
        if (await entry_by_id(services.db, principal, ns, parent)).kind != Kind.FOLDER:
            raise MessageInvalid("The parent is no folder.", reason="parent")
    validate_name(name)
    await authorize(services.db, principal, ns, Right.WRITE)
    now = services.clock.now_ms()
    await check_room(services, principal, ns, data.size + await open_bytes(services.db, principal.account_id, now))
    made = UploadSession(
        account_id=principal.account_id,
        upload_id=uuid7(now, services.clock.random(10)),
        ns=ns,
        parent_id=parent,
        name=name,
        base_rev=data.base_rev,
        size=data.size,
        wanted_hash=bytes.fromhex(data.sha256),
        mtime_ns=data.mtime_ns or now * 1_000_000,
        node_id=new_node_id(services),
        op_id=new_op_id(services),
        op=b"",
        received=0,
        cut=0,
        tail=b"",
        created_ms=now,
        seen_ms=now,
        leased_ms=now,
        finished_ms=None,
    )
    await begin_upload(services.db, made)
    headers = upload_headers(made) | {"location": f"/api/v1/uploads/{made.upload_id.hex()}"}
    return Response(_shown(made), status_code=201, headers=headers)


@get("/api/v1/uploads")
async def list_uploads(request: Asked, after: str = "", limit: Limit = LIST_PAGE_MAX) -> Uploads:
    """List the account's uploads that are not finished, the oldest first."""
    services, principal = services_of(request), await principal_of(request)
    above = from_hex(after, what="after") if after else b""
    found = await uploads_of(services.db, principal.account_id, above, limit, services.clock.now_ms())
    return Uploads([_shown(one) for one in found], found[-1].upload_id.hex() if len(found) == limit else "")


@get(ONE, tells=TOLD)
async def show(request: Asked, upload_id: str) -> Response[UploadShown]:
    """Tell where an upload stands. Only whoever began it may ask."""
    _, _, found = await found_upload(request, upload_id)
    return Response(_shown(found), headers=upload_headers(found))


@head(ONE, tells=TOLD)
async def look(request: Asked, upload_id: str) -> Response[None]:
    """Tell where an upload stands, in the headers `Upload-Offset` and `Upload-Length`."""
    _, _, found = await found_upload(request, upload_id)
    return Response(None, status_code=200, headers=upload_headers(found))


@patch(
    ONE,
    status_code=204,
    request_max_body_size=None,
    transfers=True,
    takes_bytes=True,
    tells=TOLD,
    headers=("Upload-Offset",),
    faults=(OffsetMismatch,),
)
async def add_part(request: Asked, upload_id: str) -> Response[None]:
    """Add the request's body to what is there. Needs `Upload-Offset`: where the upload stands. A request that breaks
    off leaves what came of it."""
    services, principal, found = await found_upload(request, upload_id)
    told = request.headers.get("upload-offset", "")
    if not (told.isascii() and told.isdigit() and len(told) < 19):
        raise MessageInvalid("The header Upload-Offset is needed, a number of bytes.", reason="upload-offset")
    if found.finished_ms is not None or int(told) != found.received:
        raise OffsetMismatch("The upload stands elsewhere.", expected=int(told), actual=found.received)
    await authorize(services.db, principal, found.ns, Right.WRITE)
    found = await leased_upload(services, found)
    with services.room.taken(principal.account_id, UPLOAD_BYTES_IN_MEMORY):
        growing = await Growing.of(services, found)
        stream = contextlib.aclosing(request.stream())
        try:
            async with stream as pieces:
                async for piece in pieces:
                    await growing.take(piece)
                    if growing.is_looked_at_due():
                        await authorize(services.db, await principal_of(request), found.ns, Right.WRITE)
        finally:
            # Also where the caller was cut off: what came of it is kept.
            found = await growing.settled()
    return Response(None, status_code=204, headers=upload_headers(found))


@post(f"{ONE}/finish", status_code=200, transfers=True, faults=(OffsetMismatch, BlockMismatch))
async def finish(request: Asked, upload_id: str, content_hash: HashTold = "") -> Item:
    """Make the file of what came, which is all of it; asked again, it answers the same. The bytes are read again and
    compared with `sha256`, where that was said, and their blocks with `content_hash`: if they differ, the upload begins
    anew."""
    services, principal, found = await found_upload(request, upload_id)
    if found.finished_ms is None:
        await authorize(services.db, principal, found.ns, Right.WRITE)
        if found.received != found.size:
            raise OffsetMismatch("Not all has come yet.", expected=found.size, actual=found.received)
        found = await leased_upload(services, found)
        with services.room.taken(principal.account_id, UPLOAD_BYTES_IN_MEMORY):
            packed = await (await Growing.of(services, found)).whole()
            if content_hash and packed_content_hash(packed).hex() != content_hash:
                raise await _begun_again(services, found, bytes.fromhex(content_hash), packed_content_hash(packed))
            await _check(services, found, unpack_blocks(packed))
        node_id = await _committed(services, principal, found, packed)
    else:
        node_id = found.node_id
    return item_of(found.ns, await entry_by_id(services.db, principal, found.ns, node_id))


@delete(ONE, status_code=204)
async def abandon(request: Asked, upload_id: str) -> None:
    """Forget an upload. A file that was made of it stays."""
    services, principal = services_of(request), await principal_of(request)
    await end_upload(services.db, principal.account_id, from_hex(upload_id, what="upload"))


async def found_upload(request: Asked, upload_id: str) -> tuple[Services, Principal, UploadSession]:
    """Return an upload of whoever asks. Raises: NotFound."""
    services, principal = services_of(request), await principal_of(request)
    raw = from_hex(upload_id, what="upload")
    return services, principal, await upload_of(services.db, principal.account_id, raw, services.clock.now_ms())


async def leased_upload(services: Services, found: UploadSession) -> UploadSession:
    """Hold what came for another while, where that is due. Raises: OffsetMismatch when some of it is gone."""
    now = services.clock.now_ms()
    if now - found.leased_ms < LEASE_AGE_MS:
        return found
    packed = await parts_of(services.db, found) + found.tail
    if not await services.blocks.renew(found.ns, [block.hash for block in unpack_blocks(packed)]):
        await begin_again(services.db, found, now)
        raise OffsetMismatch("What came was not kept; begin again.", expected=found.received, actual=0)
    await note_lease(services.db, found, now)
    return found


async def _check(services: Services, found: UploadSession, blocks: list[Block]) -> None:
    """Compare what is stored with the hash that was said. Raises: LimitExceeded, BlockMismatch."""
    if len(blocks) > BLOCKS_PER_COMMIT_MAX:
        raise LimitExceeded(
            "The file has too many blocks for one commit.",
            limit="BLOCKS_PER_COMMIT_MAX",
            maximum=BLOCKS_PER_COMMIT_MAX,
            actual=len(blocks),
        )
    if not found.wanted_hash:
        return
    hasher = hashlib.sha256()
    async for piece in pieces_of(services, found.ns, blocks, 0, found.size):
        await services.workers.run(lambda piece=piece: hasher.update(piece))  # type: ignore[misc]  # of this turn
    if hasher.digest() != found.wanted_hash:
        raise await _begun_again(services, found, found.wanted_hash, hasher.digest())


async def _begun_again(services: Services, found: UploadSession, wanted: bytes, came: bytes) -> BlockMismatch:
    await begin_again(services.db, found, services.clock.now_ms())
    return BlockMismatch("What came is not what was said; the upload begins anew.", expected=wanted, actual=came)


async def _committed(services: Services, principal: Principal, found: UploadSession, packed: bytes) -> NodeId:
    """Make the file, or give the one that stands there its new content; return its id. Raises: PreconditionFailed."""
    content = Content(packed_content_hash(packed), packed, found.size, CDC1)
    planned = found.op or await _planned(services, principal, found)
    noted = await decide(services.db, found, planned, found.op)
    # Without its content, which is as long as the file's list of blocks.
    bare = decode_plain(noted or planned, _Planned).op
    reply = await commit_request(
        services, principal, CommitRequest(found.ns, NO_LINK, (replace(bare, content=content),)), ()
    )
    outcome = reply.outcomes[0]
    if not isinstance(outcome, Stored):
        # Something stands there now: who asks again gets another plan.
        await decide(services.db, found, b"", noted or planned)
    stored_or_fault(outcome)
    await finish_upload(services.db, found, bare.node_id, services.clock.now_ms())
    return bare.node_id


class _Planned(msgspec.Struct, frozen=True):
    op: CreateOp | EditOp


async def _planned(services: Services, principal: Principal, found: UploadSession) -> bytes:
    """Return what is to be committed, as a row keeps it. Raises: PreconditionFailed, MessageInvalid."""
    current = await child_of(services.db, principal, found.ns, found.parent_id, found.name)
    if current is None:
        if found.base_rev:
            raise PreconditionFailed("The file is not there any more.", expected=found.base_rev, actual="")
        made = CreateOp(
            found.op_id, found.node_id, found.parent_id, found.name, int(Kind.FILE), mtime_ns=found.mtime_ns
        )
        return encode_plain(_Planned(made))
    if current.kind != Kind.FILE:
        raise MessageInvalid("There is a folder at this place.", reason="kind")
    if found.base_rev is not None and found.base_rev != current.content_rev:
        raise PreconditionFailed("The file is not at that rev.", expected=found.base_rev, actual=current.content_rev)
    edit = EditOp(found.op_id, current.node_id, current.content_rev, None, "", found.mtime_ns, current.is_executable)
    return encode_plain(_Planned(edit))


def upload_headers(found: UploadSession) -> dict[str, str]:
    """Return what every answer about an upload tells in its headers."""
    return {"upload-offset": str(found.received), "upload-length": str(found.size), "cache-control": "no-store"}


def _shown(found: UploadSession) -> UploadShown:
    return UploadShown(
        found.upload_id.hex(),
        found.name,
        found.size,
        found.received,
        found.created_ms,
        found.expires_ms,
        found.finished_ms is not None,
    )


ROUTES = (begin, list_uploads, show, look, add_part, finish, abandon)
