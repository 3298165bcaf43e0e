"""The device protocol against a real server: one new file is one request, and what cannot be is refused by name."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.core.entries import Action, Entry, Kind
from satchel.core.hashing import block_hash
from satchel.core.ids import ROOT_NODE, LinkId, NamespaceId, NodeId, OpId, Tag
from satchel.core.limits import BLOCK_BYTES_MAX, INLINE_UP_BYTES_MAX, KIB
from satchel.core.messages import (
    Changes,
    ChangesRequest,
    CommitReply,
    CommitRequest,
    Conflict,
    DeleteOp,
    EditOp,
    GetReply,
    GetRequest,
    ManifestsReply,
    ManifestsRequest,
    MoveOp,
    NeedBlocks,
    Placement,
    Position,
    PutReply,
    PutRequest,
    Refused,
    SnapshotPage,
    SnapshotRequest,
    Stored,
)
from tests.support.server import PASSWORD, RunningServer, Session, User, running_server
from tests.support.wire import Refusal, Wire, content_of, raw_block

ADMIN = "root"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server")) as running:
        running.add_user(ADMIN, is_admin=True)
        yield running


@pytest.fixture
def admin(server: RunningServer) -> Session:
    return User(server.url, ADMIN, PASSWORD).sign_in("console")


@pytest.fixture
def wire(server: RunningServer) -> Iterator[Wire]:
    with Wire(server.add_user(f"user {next(_numbers)}").sign_in("laptop")) as wire:
        yield wire


def stored(reply: CommitReply) -> list[int]:
    assert all(isinstance(outcome, Stored) for outcome in reply.outcomes), reply
    return [outcome.seq for outcome in reply.outcomes if isinstance(outcome, Stored)]


def changes(wire: Wire, seq: int = 0, tag: bytes = b"", link: bytes = b"other") -> tuple[Changes, list[bytes]]:
    asked = ChangesRequest(Position(wire.ns, seq, Tag(tag)), LinkId(link))
    page, bodies = wire.call("changes", asked, Changes)
    return page, [bytes(body) for body in bodies]


def newest(wire: Wire, name: str) -> Entry:
    return [entry for entry in changes(wire)[0].entries if entry.name == name][-1]


def test_a_new_file_up_to_the_inline_limit_costs_one_request_up(
    server: RunningServer, admin: Session, wire: Wire
) -> None:
    before = server.counters(admin)
    data = os.urandom(INLINE_UP_BYTES_MAX)
    stored(wire.commit(wire.create("big.bin", data), inline=[data]))
    after = server.counters(admin)
    asked = {
        route: count - before["satchel_requests_total"].get(route, 0)
        for route, count in after["satchel_requests_total"].items()
        if count != before["satchel_requests_total"].get(route, 0)
    }
    assert asked == {"POST /sync/v1/commit": 1, "GET /api/v1/admin/counters": 1}
    assert after["satchel_blocks_received_total"] - before["satchel_blocks_received_total"] == 1


def test_small_contents_come_with_the_changes_but_not_to_the_link_that_sent_them(wire: Wire) -> None:
    stored(wire.commit(wire.create("a.txt", b"hello"), inline=[b"hello"]))
    page, bodies = changes(wire)
    assert [(entry.name, entry.inline) for entry in page.entries] == [("a.txt", 0)]
    assert bodies == [b"hello"]
    own, none = changes(wire, link=wire.link)
    assert [(entry.name, entry.inline) for entry in own.entries] == [("a.txt", -1)]
    assert none == []


def test_blocks_that_are_put_are_committed_and_got_back_in_order(wire: Wire) -> None:
    blocks = [os.urandom(BLOCK_BYTES_MAX), os.urandom(1), b"text" * 100_000]
    listed = tuple(raw_block(data) for data in blocks)
    reply, _ = wire.call("blocks/put", PutRequest(wire.ns, listed), PutReply, blocks)
    assert reply.stored == tuple(block.hash for block in listed)
    op = wire.create("three.bin", b"")
    stored(wire.commit(type(op)(op.op_id, op.node_id, op.parent_id, op.name, op.kind, content_of(*blocks))))
    wanted = tuple(block.hash for block in reversed(listed))
    got, bodies = wire.call("blocks/get", GetRequest(wire.ns, wanted), GetReply)
    assert [bytes(body) for body in bodies] == blocks[::-1]
    assert got.missing == ()


def test_a_block_of_another_account_gives_need_blocks_and_no_byte(server: RunningServer, wire: Wire) -> None:
    secret = os.urandom(1_000)
    stored(wire.commit(wire.create("secret", secret), inline=[secret]))
    with Wire(server.add_user("mallory").sign_in()) as other:
        (outcome,) = other.commit(other.create("mine", secret)).outcomes
        assert outcome == NeedBlocks((block_hash(secret),))
        got, bodies = other.call("blocks/get", GetRequest(other.ns, (block_hash(secret),)), GetReply)
        assert (got.blocks, got.missing, bodies) == ((), (block_hash(secret),), [])
        for route, message in (
            ("blocks/get", GetRequest(wire.ns, (block_hash(secret),))),
            ("commit", CommitRequest(wire.ns, other.link, (other.create("x"),))),
            ("changes", ChangesRequest(Position(wire.ns, 0, Tag(b"")), other.link)),
            ("snapshot", SnapshotRequest(wire.ns, ROOT_NODE, NodeId(b""))),
            ("manifests/get", ManifestsRequest(wire.ns, ())),
            ("blocks/put", PutRequest(wire.ns, ())),
        ):
            with pytest.raises(Refusal) as refused:
                other.call(route, message, Stored)
            assert (refused.value.status, refused.value.reply.code) == (404, "not_found"), route


def test_bytes_that_do_not_have_their_hash_are_refused(wire: Wire) -> None:
    request = CommitRequest(wire.ns, wire.link, (wire.create("a", b"good"),), (raw_block(b"good"),))
    with pytest.raises(Refusal) as refused:
        wire.call("commit", request, CommitReply, [b"evil"])
    assert (refused.value.status, refused.value.reply.code) == (422, "block_mismatch")
    assert changes(wire)[0].entries == ()


def test_the_same_commit_twice_is_stored_once(wire: Wire) -> None:
    op = wire.create("once", b"once")
    first = wire.commit(op, inline=[b"once"])
    assert wire.commit(op, inline=[b"once"]).outcomes == first.outcomes
    assert len(changes(wire)[0].entries) == 1


def test_an_edit_on_an_old_rev_is_a_conflict_with_what_stands_there(wire: Wire) -> None:
    create = wire.create("a", b"one")
    (rev,) = stored(wire.commit(create, inline=[b"one"]))
    edit = EditOp(OpId(wire.new_id()), create.node_id, rev, content_of(b"two"))
    stored(wire.commit(edit, inline=[b"two"]))
    late = EditOp(OpId(wire.new_id()), create.node_id, rev, content_of(b"three"))
    (outcome,) = wire.commit(late, inline=[b"three"]).outcomes
    assert isinstance(outcome, Conflict)
    assert outcome.current is not None
    assert outcome.current.content == content_of(b"two").content_hash


def test_a_folder_moved_into_itself_is_refused_as_a_cycle(wire: Wire) -> None:
    outer = wire.create("outer", kind=Kind.FOLDER)
    inner = wire.create("inner", kind=Kind.FOLDER, parent=outer.node_id)
    stored(wire.commit(outer, inner))
    placement = Placement(outer.node_id, newest(wire, "outer").place_rev, inner.node_id, "outer")
    assert wire.commit(MoveOp(OpId(wire.new_id()), (placement,))).outcomes == (Refused("cycle"),)


@pytest.mark.parametrize("name", ["n" * 256, "ä" * 128, "a/b", "..", "", "nul\0"])
def test_a_name_that_cannot_be_is_refused_and_the_rest_of_the_request_is_stored(wire: Wire, name: str) -> None:
    reply = wire.commit(wire.create(name, b"x"), wire.create("n" * 255, b"x"), inline=[b"x", b"x"][:1])
    assert isinstance(reply.outcomes[0], Refused)
    assert reply.outcomes[0].code == "name_invalid"
    assert isinstance(reply.outcomes[1], Stored)


def test_what_does_not_fit_the_quota_is_refused_and_deletes_still_work(server: RunningServer) -> None:
    session = server.add_user("small", quota_bytes=1_000).sign_in()
    with Wire(session) as wire:
        create = wire.create("a", b"a" * 900)
        stored(wire.commit(create, inline=[b"a" * 900]))
        (outcome,) = wire.commit(wire.create("b", b"b" * 200), inline=[b"b" * 200]).outcomes
        assert isinstance(outcome, Refused)
        assert outcome.code == "quota_exceeded"
        with pytest.raises(Refusal) as refused:
            wire.call("blocks/put", PutRequest(wire.ns, (raw_block(b"b" * 200),)), PutReply, [b"b" * 200])
        assert (refused.value.status, refused.value.reply.code) == (507, "quota_exceeded")
        head = wire.namespaces().namespaces[0].head_seq
        stored(wire.commit(DeleteOp(OpId(wire.new_id()), create.node_id, head)))


def test_snapshot_and_blocklists_say_what_the_journal_says(wire: Wire) -> None:
    folder = wire.create("folder", kind=Kind.FOLDER)
    stored(wire.commit(folder, wire.create("a", b"a", parent=folder.node_id), inline=[b"a"]))
    page, _ = wire.call("snapshot", SnapshotRequest(wire.ns, ROOT_NODE, NodeId(b"")), SnapshotPage)
    assert {entry.name for entry in page.entries} == {"folder", "a"}
    assert {entry.action for entry in page.entries} == {Action.SNAPSHOT}
    content = content_of(b"a")
    lists, _ = wire.call("manifests/get", ManifestsRequest(wire.ns, (content.content_hash,)), ManifestsReply)
    assert lists.manifests == ((content.content_hash, content.blocks),)


def test_a_position_that_the_journal_does_not_know_is_a_reset(wire: Wire) -> None:
    stored(wire.commit(wire.create("a")))
    assert changes(wire, 1, b"nonsense")[0].is_reset
    assert changes(wire, 99, b"nonsense")[0].is_reset


@pytest.mark.parametrize("token", ["", "nonsense", "x" * 10_000])
def test_a_wrong_token_reaches_nothing(wire: Wire, token: str) -> None:
    session = Session(wire.session.url, token, b"", b"d" * 16, wire.session.root_ns)
    with Wire(session) as stranger, pytest.raises(Refusal) as refused:
        stranger.commit(stranger.create("a"))
    assert (refused.value.status, refused.value.reply.code) == (401, "unauthenticated")


def test_a_body_past_its_limit_is_refused_by_the_limits_name(wire: Wire) -> None:
    big = os.urandom(INLINE_UP_BYTES_MAX + 1)
    with pytest.raises(Refusal) as refused:
        wire.commit(wire.create("big", big), inline=[big])
    assert (refused.value.status, refused.value.reply.code) == (413, "limit_exceeded")
    assert "INLINE_UP_BYTES_MAX" in refused.value.reply.message


@pytest.mark.parametrize("raw", [b"", b"\xff\xff\xff\xff", b"\0\0\0\x01\xc1", bytes(1_000)])
def test_a_frame_that_does_not_decode_is_refused(wire: Wire, raw: bytes) -> None:
    answer = wire.session.ask("POST", "/sync/v1/commit", raw)
    assert answer.status in (400, 413)


def test_an_unknown_call_is_not_found(wire: Wire) -> None:
    assert wire.session.ask("POST", "/sync/v1/nothing", b"").status == 404
    assert wire.session.ask("GET", "/sync/v1/commit").status == 404


def test_what_was_acknowledged_is_there_after_a_crash(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        session = server.add_user().sign_in()
        with Wire(session) as wire:
            data = os.urandom(100 * KIB)
            stored(wire.commit(wire.create("kept", data), inline=[data]))
        server.kill()
        server.start()
        again = Session(server.url, session.token, session.account_id, session.device_id, session.root_ns)
        with Wire(again) as wire:
            assert newest(wire, "kept").size == len(data)
            _, bodies = wire.call("blocks/get", GetRequest(NamespaceId(session.root_ns), (block_hash(data),)), GetReply)
            assert bytes(bodies[0]) == data
