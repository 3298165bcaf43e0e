"""REST: what of an upload need not be sent. Invariant: only blocks that the file's namespace has a right to are taken
over, as a commit would, so a hash opens nothing that its caller could not read before.

Whoever cuts a file as the service does (`cdc1`) names the next blocks; those that lead are taken over as if their bytes
had come, and of the others it is told which are wanted. Source: docs/design/030 (put and right), 060 (3).
"""

from __future__ import annotations

from itertools import takewhile
from typing import Annotated

import msgspec
from litestar import Response, post

from satchel.core.access import Right
from satchel.core.errors import MessageInvalid, OffsetMismatch
from satchel.core.hashing import Block, pack_blocks
from satchel.core.ids import BlockHash
from satchel.core.limits import BLOCK_BYTES_MAX, BLOCKS_GET_COUNT_MAX
from satchel.server.accounts.access import authorize
from satchel.server.gateway.content import UPLOAD_BYTES_IN_MEMORY
from satchel.server.gateway.growing import Growing
from satchel.server.gateway.rest import Asked
from satchel.server.gateway.services import Services
from satchel.server.gateway.uploads import ONE, TOLD, found_upload, leased_upload, upload_headers
from satchel.server.metadata.upload_sessions import UploadSession, advance

Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class BlockNamed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A block of a file: the SHA-256 of its bytes in hex, and how many they are."""

    hash: Hash
    size: Annotated[int, msgspec.Meta(ge=1, le=BLOCK_BYTES_MAX)]


class BlocksNamed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The next blocks of a file, in its order. offset: where the first of them begins, which is where the upload
    stands."""

    offset: Annotated[int, msgspec.Meta(ge=0)]
    blocks: Annotated[list[BlockNamed], msgspec.Meta(min_length=1, max_length=BLOCKS_GET_COUNT_MAX)]


class BlocksKnown(msgspec.Struct, frozen=True):
    """What was taken over. offset: where the upload stands now. missing: the hashes among those named whose bytes have
    to come, each once."""

    offset: int
    missing: list[str]


@post(f"{ONE}/known", status_code=200, tells=TOLD, transfers=True, faults=(OffsetMismatch,))
async def take_known(request: Asked, data: BlocksNamed, upload_id: str) -> Response[BlocksKnown]:
    """Name the next blocks of the file: as many of them as lead and are there already need not be sent.

    Only what stands in the same namespace counts, such as an earlier version of the file or an upload that was not
    finished. The others' bytes come as parts; then the next blocks can be named.
    """
    services, principal, found = await found_upload(request, upload_id)
    if found.finished_ms is not None or data.offset != found.received:
        raise OffsetMismatch("The upload stands elsewhere.", expected=data.offset, actual=found.received)
    named = [Block(BlockHash(bytes.fromhex(block.hash)), block.size) for block in data.blocks]
    if sum(block.size for block in named) > found.size - found.received:
        raise MessageInvalid("More blocks were named than the file has.", reason="size", size=found.size)
    await authorize(services.db, principal, found.ns, Right.WRITE)
    found = await leased_upload(services, found)
    held = await services.blocks.held(found.ns, [block.hash for block in named])
    leading = list(takewhile(lambda block: held.get(block.hash) == block.size, named))
    if leading and await services.blocks.renew(found.ns, [block.hash for block in leading]):
        with services.room.taken(principal.account_id, UPLOAD_BYTES_IN_MEMORY):
            found = await _taken(services, found, leading)
    missing = dict.fromkeys(block.hash.hex() for block in named if held.get(block.hash) != block.size)
    return Response(BlocksKnown(found.received, list(missing)), status_code=200, headers=upload_headers(found))


async def _taken(services: Services, found: UploadSession, leading: list[Block]) -> UploadSession:
    if found.tail:
        # The caller says that a block ends here, so what waits for its end has come to it.
        found = await (await Growing.of(services, found)).closed()
    size = sum(block.size for block in leading)
    return await advance(
        services.db,
        found,
        blocks=pack_blocks(leading),
        cut=found.cut + size,
        tail=b"",
        received=found.received + size,
        now_ms=services.clock.now_ms(),
    )


ROUTES = (take_known,)
