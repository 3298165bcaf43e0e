import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.core import messages as m
from satchel.core.entries import Action, Entry, Kind
from satchel.core.errors import LimitExceeded, MessageInvalid
from satchel.core.ids import BlockHash, ContentHash, DeviceId, LinkId, NamespaceId, NodeId, OpId, Tag
from satchel.core.xattrs import pack_xattrs

GOLDEN = Path(__file__).parents[2] / "golden" / "frames.json"

NS, LINK, DEVICE = NamespaceId(b"n" * 16), LinkId(b"l" * 16), DeviceId(b"d" * 16)
NODE, PARENT, OP, TAG = NodeId(b"o" * 16), NodeId(b"p" * 16), OpId(b"i" * 16), Tag(b"t" * 8)
HASH = BlockHash(b"h" * 32)
XATTRS = pack_xattrs({b"colour": b"red"})
CONTENT = m.Content(ContentHash(b"c" * 32), HASH + (5).to_bytes(4, "big"), 5)
BLOCK = m.WireBlock(HASH, 5, m.CODEC_RAW, 5)
POSITION = m.Position(NS, 7, TAG)
ENTRY = Entry(
    7, TAG, Action.EDIT, NODE, PARENT, "Ä.txt", "ä.txt", Kind.FILE, True, CONTENT.content_hash, CONTENT.blocks, 5,
    1_700_000_000_000_000_000, False, 7, 3, False, DEVICE, LINK, OP, 1_700_000_000_000, 0, XATTRS,
)  # fmt: skip
CHANGES = m.Changes(NS, 6, 7, TAG, (ENTRY,), 9, True, False, (BLOCK,), b"s" * 8)

OPS: tuple[m.Op, ...] = (
    m.CreateOp(OP, NODE, PARENT, "a", Kind.FILE, CONTENT, "", 5, True),
    m.CreateOp(OP, NODE, PARENT, "b", Kind.FOLDER),
    m.CreateOp(OP, NODE, PARENT, "c", Kind.SYMLINK, None, "../a"),
    m.EditOp(OP, NODE, 7, CONTENT, "", 5, False),
    m.MoveOp(OP, (m.Placement(NODE, 7, PARENT, "d"), m.Placement(PARENT, 8, NODE, "e"))),
    m.DeleteOp(OP, NODE, 7),
    m.UndeleteOp(OP, NODE, PARENT, "f", CONTENT, "", 5, False, True),
    m.AttrOp(OP, NODE, 7, True),
    m.AttrOp(OP, NODE, 7, False, XATTRS),
)
OUTCOMES: tuple[m.Outcome, ...] = (
    m.Stored(7), m.Conflict(ENTRY), m.Conflict(), m.NeedBlocks((HASH,)), m.Moved(NS), m.Refused("cycle", "x"),
)  # fmt: skip

# Every message of the protocol once: name -> (message, what it is decoded as, bodies).
FRAMES: dict[str, tuple[msgspec.Struct, object, list[bytes]]] = {
    "commit_request": (m.CommitRequest(NS, LINK, OPS, (BLOCK,), m.Position(NS, 9, TAG)), m.CommitRequest, [b"hello"]),
    "commit_reply": (m.CommitReply(OUTCOMES, 9), m.CommitReply, []),
    "put_request": (m.PutRequest(NS, (BLOCK,)), m.PutRequest, [b"hello"]),
    "put_reply": (m.PutReply((HASH,)), m.PutReply, []),
    "get_request": (m.GetRequest(NS, (HASH,)), m.GetRequest, []),
    "get_reply": (m.GetReply((BLOCK,), (HASH,)), m.GetReply, [b"hello"]),
    "changes_request": (m.ChangesRequest(POSITION, LINK, 100, False, True), m.ChangesRequest, []),
    "changes": (CHANGES, m.Changes, [b"hello"]),
    "snapshot_request": (m.SnapshotRequest(NS, NODE, PARENT, 7, 100, LINK), m.SnapshotRequest, []),
    "snapshot_page": (m.SnapshotPage(NS, 7, TAG, (ENTRY,), True, b"s" * 8), m.SnapshotPage, []),
    "scope_request": (m.ScopeRequest(NS, LINK, (NODE, PARENT)), m.ScopeRequest, []),
    "scope_reply": (m.ScopeReply(b"s" * 8), m.ScopeReply, []),
    "manifests_request": (m.ManifestsRequest(NS, (CONTENT.content_hash,)), m.ManifestsRequest, []),
    "manifests_reply": (m.ManifestsReply(((CONTENT.content_hash, CONTENT.blocks),)), m.ManifestsReply, []),
    "namespaces_reply": (
        m.NamespacesReply(b"e" * 16, "ada", (m.NamespaceHead(NS, "root", True, 7, TAG),), 2, 1), m.NamespacesReply, [],
    ),
    "hello": (m.Hello(m.PROTOCOL_VERSION, b"e" * 16, LINK, 3, (POSITION,)), m.Hello, []),
    "welcome": (m.Welcome(b"e" * 16, False, DEVICE, 3), m.StreamFrame, []),
    "behind": (m.Behind(POSITION), m.StreamFrame, []),
    "pushed": (m.Pushed(CHANGES), m.StreamFrame, [b"hello"]),
    "ping": (m.Ping(), m.StreamFrame, []),
}  # fmt: skip


def framed(name: str) -> bytes:
    message, _, bodies = FRAMES[name]
    return b"".join(m.encode_frame(message, bodies))


@pytest.mark.parametrize("name", FRAMES)
def test_a_message_comes_back_with_its_bodies(name: str) -> None:
    message, into, bodies = FRAMES[name]
    decoded, views = m.decode_frame(framed(name), into)
    assert decoded == message
    assert [bytes(view) for view in views] == bodies


def test_the_frames_are_the_golden_ones() -> None:
    assert {name: framed(name).hex() for name in FRAMES} == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_ends_early_is_refused(name: str) -> None:
    whole, into = framed(name), FRAMES[name][1]
    for end in range(len(whole)):
        with pytest.raises(MessageInvalid):
            m.decode_frame(whole[:end], into)


# -- versions ---------------------------------------------------------------------------------------------------------

NAMESPACES_REPLY_1 = (
    "0000003e9293c41065656565656565656565656565656565a36164619195c4106e6e6e6e6e6e6e6e"
    "6e6e6e6e6e6e6e6ea4726f6f74c307c408747474747474747490"
)
"""As version 1 sent it."""


class NamespacesReply1(msgspec.Struct, array_like=True, frozen=True):
    """As version 1 reads it."""

    epoch: bytes
    account: str
    namespaces: tuple[m.NamespaceHead, ...]


def test_a_service_of_version_1_is_understood_and_known_for_one() -> None:
    reply, _ = m.decode_frame(bytes.fromhex(NAMESPACES_REPLY_1), m.NamespacesReply)
    assert (reply.account, reply.namespaces[0].head_seq) == ("ada", 7)
    assert (reply.version, reply.version_min) == (1, 1)


def test_a_device_of_version_1_understands_what_we_say() -> None:
    reply, _ = m.decode_frame(framed("namespaces_reply"), NamespacesReply1)
    assert reply == NamespacesReply1(b"e" * 16, "ada", (m.NamespaceHead(NS, "root", True, 7, TAG),))


WELCOME_BEFORE = (
    "000000309294a777656c636f6d65c41065656565656565656565656565656565c2c4106464646464646464646464646464646490"
)
"""As it was before it told the service's version."""


class WelcomeBefore(msgspec.Struct, array_like=True, frozen=True, tag="welcome"):
    """As it was read before."""

    epoch: bytes
    recover: bool
    device: DeviceId


WELCOME_3 = "000000319295a777656c636f6d65c41065656565656565656565656565656565c2c410646464646464646464646464646464640390"
SCOPE_REQUEST_3 = (
    "0000004c9293c4106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ec4106c6c6c6c6c6c6c6c6c6c6c6c6c6c6c6c92c410"
    "6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6fc4107070707070707070707070707070707090"
)
SCOPE_REPLY_3 = "0000000d9291c408737373737373737390"
"""As they were before they told of starts."""


def test_a_welcome_and_a_scope_that_tell_no_start_are_understood() -> None:
    assert m.decode_frame(bytes.fromhex(WELCOME_3), m.StreamFrame)[0] == m.Welcome(b"e" * 16, False, DEVICE, 3)
    request, into, _ = FRAMES["scope_request"]
    assert m.decode_frame(bytes.fromhex(SCOPE_REQUEST_3), into)[0] == request
    assert m.decode_frame(bytes.fromhex(SCOPE_REPLY_3), m.ScopeReply)[0] == m.ScopeReply(b"s" * 8)


def test_a_welcome_without_a_version_is_understood_and_one_with_a_version_always_was() -> None:
    assert m.decode_frame(bytes.fromhex(WELCOME_BEFORE), m.StreamFrame)[0] == m.Welcome(b"e" * 16, False, DEVICE, 0)
    assert m.decode_frame(framed("welcome"), WelcomeBefore)[0] == WelcomeBefore(b"e" * 16, False, DEVICE)


@pytest.mark.parametrize(
    ("newest", "oldest", "agreed"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 3), (9, 1, 3), (4, 4, None), (0, 0, None)],
)
def test_the_newest_version_that_both_speak_is_agreed_on(newest: int, oldest: int, agreed: int | None) -> None:
    assert (m.PROTOCOL_VERSION_MIN, m.PROTOCOL_VERSION) == (1, 3)
    assert m.agreed_version(newest=newest, oldest=oldest) == agreed


# -- what is no frame -------------------------------------------------------------------------------------------------


def test_a_frame_that_goes_on_is_refused() -> None:
    with pytest.raises(MessageInvalid) as caught:
        m.decode_frame(framed("put_request") + b"x", m.PutRequest)
    assert caught.value.fields["reason"] == "long"


def test_a_message_of_another_kind_is_refused() -> None:
    with pytest.raises(MessageInvalid):
        m.decode_frame(framed("commit_request"), m.PutReply)
    with pytest.raises(MessageInvalid):
        m.decode_frame(framed("put_request"), m.StreamFrame)


def test_a_header_past_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(LimitExceeded):
        m.decode_frame((m.HEADER_BYTES_MAX + 1).to_bytes(4, "big"), m.PutReply)


@given(raw=st.binary(max_size=200), name=st.sampled_from(sorted(FRAMES)))
def test_any_bytes_decode_or_are_refused(raw: bytes, name: str) -> None:
    try:
        m.decode_frame(len(raw).to_bytes(4, "big") + raw, FRAMES[name][1])
    except MessageInvalid:
        pass


@given(name=st.sampled_from(sorted(FRAMES)), data=st.data())
def test_a_damaged_frame_decodes_or_is_refused(name: str, data: st.DataObject) -> None:
    whole = bytearray(framed(name))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        m.decode_frame(bytes(whole), FRAMES[name][1])
    except (MessageInvalid, LimitExceeded):
        pass


def test_deep_nesting_is_refused() -> None:
    deep = b"\x91" * 100_000 + b"\xc0"
    header = b"\x92" + deep + b"\x90"
    with pytest.raises(MessageInvalid):
        m.decode_frame(len(header).to_bytes(4, "big") + header, m.PutReply)


def test_an_error_reply_travels_without_a_frame() -> None:
    reply = m.ErrorReply("not_found", "No such node.", "Check it.", 1.5)
    assert m.decode_plain(m.encode_plain(reply), m.ErrorReply) == reply
    with pytest.raises(MessageInvalid):
        m.decode_plain(b"\xc1", m.ErrorReply)


class AttrOp2(msgspec.Struct, array_like=True, frozen=True, tag="attr"):
    """As version 2 reads and sends it."""

    op_id: OpId
    node_id: NodeId
    base_rev: int
    is_executable: bool


def test_i5_a_service_of_version_2_reads_the_bit_and_not_the_attributes() -> None:
    frame = b"".join(m.encode_frame(m.AttrOp(OP, NODE, 7, True, XATTRS)))
    assert m.decode_frame(frame, AttrOp2)[0] == AttrOp2(OP, NODE, 7, True)


def test_i5_what_a_device_of_version_2_sends_leaves_the_attributes_as_they_are() -> None:
    sent, _ = m.decode_frame(b"".join(m.encode_frame(AttrOp2(OP, NODE, 7, True))), m.AttrOp)
    assert sent.xattrs is None
    asked, _ = m.decode_frame(b"".join(m.encode_frame(m.ChangesRequest(POSITION, LINK))), m.ChangesRequest)
    assert not asked.with_xattrs


@pytest.mark.parametrize("seq", [2**63, 2**64 - 1])
def test_a_number_that_no_column_holds_is_refused(seq: int) -> None:
    frame = b"".join(m.encode_frame(m.ChangesRequest(m.Position(NS, seq, Tag(b"")), LinkId(b""))))
    with pytest.raises(MessageInvalid):
        m.decode_frame(frame, m.ChangesRequest)
