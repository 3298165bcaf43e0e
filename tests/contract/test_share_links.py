"""The rules of links, on SQLite and on PostgreSQL: who opens what, and counts that hold whoever asks at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import LimitExceeded, MessageInvalid, NotFound
from satchel.core.ids import ROOT_NODE, LinkId, NamespaceId, NodeId, OpId
from satchel.core.limits import SHARES_PER_ACCOUNT_MAX
from satchel.core.messages import CommitRequest, CreateOp, DeleteOp, MoveOp, Op, Placement, Stored, UndeleteOp
from satchel.server.accounts.audit import read_chain
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import authenticate, disable_user, register_account, register_device
from satchel.server.db.engine import Database
from satchel.server.metadata.commit import commit
from satchel.server.sharing.hits import Hits
from satchel.server.sharing.links import (
    LinkPlace,
    MadeLink,
    Wanted,
    change_link,
    children_of,
    link_of,
    links_of,
    make_link,
    open_link,
    revoke_link,
    take_download,
)
from satchel.server.sharing.shares import Permission, ShareId, hash_of_token
from tests.support.clocks import SteppingClock
from tests.support.databases import Run

START = LinkPlace(NamespaceId(b""), ShareId(b""))
_numbers = count(1)


class Stage:
    """Two accounts; the first has /docs with the folders inner and inner/deep, and /private beside it."""

    def __init__(self, db: Database, ann: Principal, bob: Principal, clock: SteppingClock) -> None:
        self.db, self.ann, self.bob, self.clock = db, ann, bob, clock
        self.docs = self.inner = self.deep = self.private = ROOT_NODE

    async def commit(self, op: Op) -> int:
        reply = await commit(self.db, self.clock, self.ann, CommitRequest(self.ann.root_ns, LinkId(b""), (op,)))
        assert isinstance(reply.outcomes[0], Stored), reply
        return reply.outcomes[0].seq

    async def folder(self, name: str, parent: NodeId = ROOT_NODE) -> NodeId:
        node = NodeId(next(_numbers).to_bytes(16, "big"))
        await self.commit(CreateOp(_op(), node, parent, name, Kind.FOLDER))
        return node

    async def link(self, node: NodeId, **terms: object) -> tuple[str, MadeLink]:
        wanted = Wanted(**terms)  # type: ignore[arg-type]
        return await make_link(self.db, self.clock, self.ann, self.ann.root_ns, node, wanted)

    async def opens(self, token: str, node: NodeId | None = None) -> bool:
        try:
            await open_link(self.db, self.clock, token, node)
        except NotFound as fault:
            assert (fault.message, fault.fields) == ("There is no such link, or nothing of that name in it.", {})
            return False
        return True


def _op() -> OpId:
    return OpId(next(_numbers).to_bytes(16, "big"))


async def staged(db: Database) -> Stage:
    clock = SteppingClock()
    found = []
    for name in ("ann", "bob"):
        account = await register_account(db, clock, name=name, password_hash="none")
        token, _ = await register_device(db, clock, account_id=account.account_id, name="laptop")
        found.append(await authenticate(db, token))
    stage = Stage(db, found[0], found[1], clock)
    stage.docs = await stage.folder("docs")
    stage.inner = await stage.folder("inner", stage.docs)
    stage.deep = await stage.folder("deep", stage.inner)
    stage.private = await stage.folder("private")
    return stage


def test_a_link_opens_its_node_and_what_lives_beneath_it_alone(run: Run) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        token, _ = await stage.link(stage.inner)
        for node in (None, stage.inner, stage.deep):
            assert await stage.opens(token, node)
        for node in (stage.docs, stage.private, ROOT_NODE, NodeId(b"x" * 16), NodeId(b"")):
            assert not await stage.opens(token, node)
        opened = await open_link(db, stage.clock, token)
        assert [node.name for node in await children_of(db, opened, opened.node.node_id, "", 10)] == ["deep"]
        # What moves out of it is out, whatever was opened before.
        inside = await open_link(db, stage.clock, token, stage.deep)
        rev = inside.node.place_rev
        await stage.commit(MoveOp(_op(), (Placement(stage.deep, rev, stage.private, "deep"),)))
        assert not await stage.opens(token, stage.deep)
        with pytest.raises(NotFound):
            await children_of(db, inside, inside.node.node_id, "", 10)

    run(scenario)


def test_a_link_is_gone_with_its_node_or_a_folder_above_and_comes_back_with_it(run: Run) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        token, _ = await stage.link(stage.inner)
        await stage.commit(DeleteOp(_op(), stage.docs, 1_000))
        assert not await stage.opens(token)
        with pytest.raises(NotFound):
            await stage.link(stage.inner)
        await stage.commit(UndeleteOp(_op(), stage.docs, ROOT_NODE, "docs", is_subtree=True))
        assert await stage.opens(token)

    run(scenario)


def test_a_link_ends_with_its_time_its_revocation_and_its_makers_account(run: Run) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        token, _ = await stage.link(stage.docs, expires_ms=stage.clock.now + 1_000)
        assert await stage.opens(token)
        stage.clock.now += 1_000
        assert not await stage.opens(token)
        token, made = await stage.link(stage.docs)
        await disable_user(db, stage.clock, "ann")
        assert not await stage.opens(token)
        await disable_user(db, stage.clock, "ann", is_disabled=False)
        assert await stage.opens(token)
        await revoke_link(db, stage.clock, stage.ann, made.share.ns, made.share.share_id)
        assert not await stage.opens(token)
        assert (
            await db.read(
                lambda conn: conn.fetch("SELECT 1 FROM share_tokens WHERE token_hash = $1", hash_of_token(token))
            )
            == []
        )
        with pytest.raises(NotFound):
            await revoke_link(db, stage.clock, stage.ann, made.share.ns, made.share.share_id)

    run(scenario)


@pytest.mark.parametrize("permission", Permission)
def test_a_link_whose_maker_has_no_right_any_more_is_gone(run: Run, permission: Permission) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        token, _ = await stage.link(stage.docs, permission=permission)
        opened = await open_link(db, stage.clock, token)
        assert opened.principal.root_ns == stage.ann.root_ns
        # As if ann's right to this namespace had been another's and was taken away.
        await db.write(b"", lambda conn: conn.execute("UPDATE shares SET maker = $1", stage.bob.account_id))
        assert not await stage.opens(token)

    run(scenario)


def test_only_what_one_may_share_is_linked_and_only_ones_own_links_are_found(run: Run) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        ann, bob = stage.ann, stage.bob
        with pytest.raises(NotFound):
            await make_link(db, stage.clock, bob, ann.root_ns, stage.docs, Wanted())
        with pytest.raises(NotFound):
            await make_link(db, stage.clock, bob, bob.root_ns, stage.docs, Wanted())
        with pytest.raises(MessageInvalid):
            await stage.link(ROOT_NODE)
        made = [(await stage.link(stage.docs))[1] for _ in range(3)]
        assert await links_of(db, ann, [ann.root_ns, bob.root_ns], after=START, limit=10) == made
        after = LinkPlace(made[0].share.ns, made[0].share.share_id)
        assert await links_of(db, ann, [ann.root_ns], after=after, limit=1) == made[1:2]
        assert await links_of(db, bob, [bob.root_ns], after=START, limit=10) == []
        share = made[0].share
        for denied in (
            lambda: links_of(db, bob, [ann.root_ns], after=START, limit=10),
            lambda: link_of(db, bob, share.ns, share.share_id),
            lambda: revoke_link(db, stage.clock, bob, share.ns, share.share_id),
            lambda: change_link(db, stage.clock, bob, share, Wanted(), is_password_new=True),
        ):
            with pytest.raises(NotFound):
                await denied()
        assert await link_of(db, ann, share.ns, share.share_id) == made[0]

    run(scenario)


def test_a_download_limit_is_exact_whoever_asks_at_once(run: Run) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        _, made = await stage.link(stage.docs, downloads_max=7)
        taken: list[bool] = []

        async def take() -> None:
            try:
                await take_download(db, made.share)
            except NotFound:
                taken.append(False)
            else:
                taken.append(True)

        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(take())
        assert (taken.count(True), taken.count(False)) == (7, 93)
        now = (await link_of(db, stage.ann, made.share.ns, made.share.share_id)).share
        assert (now.downloads, now.is_used_up) == (7, True)
        changed = await change_link(
            db, stage.clock, stage.ann, now, Wanted(downloads_max=8, password=""), is_password_new=False
        )
        assert (changed.share.downloads_max, changed.share.downloads) == (8, 7)
        await take_download(db, made.share)
        with pytest.raises(NotFound):
            await take_download(db, made.share)

    run(scenario)


def test_looks_of_many_processes_are_added_up_and_none_is_lost_when_a_write_fails(run: Run) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        _, made = await stage.link(stage.docs)
        share = made.share
        first, second = Hits(), Hits()
        for hits in (first, second, first):
            hits.opened(share)
        second.downloaded(share)
        closed = Hits()
        closed.opened(share)

        class Broken:
            async def write(self, key: bytes, work: object) -> None:
                raise NotFound("as any fault")

        with pytest.raises(NotFound):
            await closed.write(Broken(), stage.clock)  # type: ignore[arg-type]
        for hits in (first, second, closed):
            await hits.write(db, stage.clock)
            await hits.write(db, stage.clock)
        now = (await link_of(db, stage.ann, share.ns, share.share_id)).share
        assert (now.hits, now.downloads, now.seen_ms > share.created_ms) == (4, 1, True)

    run(scenario)


def test_terms_that_make_no_sense_and_too_many_links_are_refused(run: Run) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        for terms in (
            {"expires_ms": 1},
            {"downloads_max": 0},
            {"password": "short"},
            {"permission": Permission.UPLOAD, "downloads_max": 1},
            {"permission": Permission.EDIT, "is_no_download": True},
        ):
            with pytest.raises(MessageInvalid):
                await stage.link(stage.docs, **terms)
        with pytest.raises(LimitExceeded):
            await stage.link(stage.docs, password="x" * 2_000)
        _, made = await stage.link(stage.docs)
        rows = [
            replace(made.share, share_id=ShareId(at.to_bytes(16, "big"))) for at in range(SHARES_PER_ACCOUNT_MAX - 1)
        ]
        await db.write(
            b"",
            lambda conn: conn.execute_many(
                "INSERT INTO shares (ns, share_id, node_id, maker, device, permission, password_hash, token_hash,"
                " is_no_download, downloads, hits, created_at, seen_at)"
                " VALUES ($1, $2, $3, $4, $5, 'view', '', $6, 0, 0, 0, 0, 0)",
                [(r.ns, r.share_id, r.node_id, r.maker, r.device, r.share_id) for r in rows],
            ),
        )
        with pytest.raises(LimitExceeded):
            await stage.link(stage.docs)
        await revoke_link(db, stage.clock, stage.ann, made.share.ns, made.share.share_id)
        await stage.link(stage.docs)

    run(scenario)


def test_what_is_done_with_links_stands_in_the_audit_log_without_their_tokens(run: Run) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        token, made = await stage.link(stage.docs, password="correct horse")
        await change_link(db, stage.clock, stage.ann, made.share, Wanted(downloads_max=3), is_password_new=False)
        await revoke_link(db, stage.clock, stage.ann, made.share.ns, made.share.share_id)
        rows = await read_chain(db, stage.ann.account_id)
        assert [row.action for row in rows[:3]] == ["link_revoked", "link_changed", "link_made"]
        assert {row.subject for row in rows[:3]} == {made.share.share_id.hex()}
        assert token not in str(rows)

    run(scenario)
