"""No bytes make the service fail: whatever a device sends is answered, below 500, and what was stored stays whole."""

from __future__ import annotations

import asyncio

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.core.ids import ROOT_NODE, LinkId, NodeId, Tag
from satchel.core.messages import Changes, ChangesRequest, Position, decode_frame, encode_frame
from tests.support.memory_service import MemoryService, open_service

Asked = tuple[tuple[str, object], list[bytes]]
CALLS = ("commit", "blocks/put", "blocks/get", "changes", "snapshot", "manifests/get", "namespaces")


IDS = st.one_of(st.just(ROOT_NODE), st.integers(1, 6).map(lambda n: bytes([n]) * 16), st.binary(max_size=40))
NUMBERS = st.one_of(st.integers(-2, 9), st.integers(-(2**63), 2**64 - 1))
NAMES = st.one_of(st.sampled_from(["a", "b", "A", "..", "", "a\0b", "x" * 256]), st.text(max_size=8))
HASHES = st.one_of(st.integers(0, 3).map(lambda n: bytes([n]) * 32), st.binary(max_size=40))
CONTENTS = st.one_of(
    st.none(),
    st.tuples(
        HASHES, st.one_of(st.binary(max_size=80), st.just(b"")), NUMBERS, st.sampled_from(["cdc1", "fixed4m", ""])
    ),
)
KINDS = st.integers(-1, 6)
OPS = st.one_of(
    st.tuples(st.just("create"), IDS, IDS, IDS, NAMES, KINDS, CONTENTS, NAMES, NUMBERS, st.booleans()),
    st.tuples(st.just("edit"), IDS, IDS, NUMBERS, CONTENTS, NAMES, NUMBERS, st.booleans()),
    st.tuples(st.just("move"), IDS, st.lists(st.tuples(IDS, NUMBERS, IDS, NAMES), max_size=3)),
    st.tuples(st.just("delete"), IDS, IDS, NUMBERS),
    st.tuples(st.just("undelete"), IDS, IDS, IDS, NAMES, CONTENTS, NAMES, NUMBERS, st.booleans(), st.booleans()),
    st.tuples(st.just("attr"), IDS, IDS, NUMBERS, st.booleans()),
)
BLOCKS = st.lists(st.tuples(HASHES, NUMBERS, NUMBERS, NUMBERS), max_size=2)
BODIES = st.lists(st.binary(max_size=40), max_size=2)
SPACES = st.one_of(st.just("own"), st.binary(max_size=20))
PLACES = st.tuples(SPACES, NUMBERS, st.binary(max_size=9))
MESSAGES = st.one_of(
    st.tuples(st.just("commit"), st.tuples(SPACES, IDS, st.lists(OPS, max_size=4), BLOCKS)),
    st.tuples(st.just("blocks/put"), st.tuples(SPACES, BLOCKS)),
    st.tuples(st.just("blocks/get"), st.tuples(SPACES, st.lists(HASHES, max_size=3))),
    st.tuples(
        st.just("changes"), st.tuples(st.tuples(SPACES, NUMBERS, st.binary(max_size=9)), IDS, NUMBERS, st.booleans())
    ),
    st.tuples(st.just("snapshot"), st.tuples(SPACES, IDS, IDS, NUMBERS, NUMBERS)),
    st.tuples(st.just("manifests/get"), st.tuples(SPACES, st.lists(HASHES, max_size=3))),
)


def framed(message: object, bodies: list[bytes]) -> bytes:
    header = msgspec.msgpack.encode([message, [len(body) for body in bodies]])
    return len(header).to_bytes(4, "big") + header + b"".join(bodies)


def with_own(value: object, ns: bytes) -> object:
    if isinstance(value, tuple | list):
        return [with_own(part, ns) for part in value]
    return ns if value == "own" else value


async def stays_readable(world: MemoryService) -> None:
    """Every entry that is in the journal now can be read and decoded."""
    asked = ChangesRequest(Position(world.ns, 0, Tag(b"")), LinkId(b""))
    status, raw = await world.ask("changes", b"".join(encode_frame(asked)))
    assert status == 200
    page, _ = decode_frame(raw, Changes)
    assert [entry.seq for entry in page.entries] == list(range(1, len(page.entries) + 1))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(MESSAGES, BODIES), min_size=1, max_size=6))
def test_any_message_of_the_right_shape_is_answered_below_500(
    asked: list[tuple[tuple[str, object], list[bytes]]],
) -> None:
    async def main() -> None:
        world = await open_service()
        for (call, message), bodies in asked:
            status, answer = await world.ask(call, framed(with_own(message, world.ns), bodies))
            assert status < 500 or status == 507, (call, message, bodies, answer)
        await stays_readable(world)

    asyncio.run(main())


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CALLS), st.binary(max_size=200), st.booleans())
def test_any_bytes_are_answered_below_500(call: str, raw: bytes, is_framed: bool) -> None:
    async def main() -> None:
        world = await open_service()
        body = len(raw).to_bytes(4, "big") + raw if is_framed else raw
        status, _ = await world.ask(call, body)
        assert status < 500

    asyncio.run(main())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_valid_commit_with_one_byte_changed_is_answered_below_500(at: int, byte: int) -> None:
    async def main() -> None:
        world = await open_service()
        op = ("create", b"o" * 16, NodeId(b"n" * 16), ROOT_NODE, "a.txt", 1, (b"h" * 32, b"", 0, "cdc1"), "", 7, True)
        body = bytearray(framed([world.ns, b"L" * 16, [op], []], []))
        body[at % len(body)] = byte
        status, _ = await world.ask("commit", bytes(body))
        assert status < 500
        await stays_readable(world)

    asyncio.run(main())
