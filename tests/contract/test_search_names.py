"""Search by name, on SQLite and on PostgreSQL: what is found, in which order, and what never is."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import MessageInvalid, NotFound, Unavailable
from satchel.core.ids import ROOT_NODE, LinkId, NodeId, OpId
from satchel.core.limits import SEARCH_HITS_MAX
from satchel.core.messages import CommitRequest, CreateOp, DeleteOp, MoveOp, Op, Placement, Stored, UndeleteOp
from satchel.core.paths import name_key
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import authenticate, register_account, register_device
from satchel.server.db.engine import READ_WAIT_S, Connection, Database, Dialect, Work
from satchel.server.metadata.commit import commit
from satchel.server.search import indexing
from satchel.server.search.grams import Rank, question_of, rank_of
from satchel.server.search.indexing import Phase, begin_again, place_txn, step
from satchel.server.search.names import Found, Wanted, search_names
from satchel.server.search.scopes import Place
from satchel.server.search.within import Within
from satchel.server.upkeep.naming import index_names, index_some, make_anew
from tests.support.clocks import SteppingClock
from tests.support.databases import Run

_numbers = count(1)
T = TypeVar("T")


class Between:
    """The store, but before its write of this number something happens."""

    def __init__(self, db: Database, at: int, what: Callable[[], Awaitable[None]]) -> None:
        self.dialect: Dialect = db.dialect
        self.write_count = 0
        self._db, self._at, self._what = db, at, what

    async def write(self, key: bytes, work: Work[T]) -> T:
        self.write_count += 1
        if self.write_count == self._at:
            await self._what()
        return await self._db.write(key, work)

    async def read(self, work: Work[T], *, wait_s: float = READ_WAIT_S) -> T:
        return await self._db.read(work, wait_s=wait_s)

    async def glance(self, work: Work[T]) -> T:
        return await self._db.glance(work)

    async def close(self) -> None:
        await self._db.close()


class Tree:
    """An account's tree, of folders alone: to a search a name is a name."""

    def __init__(self, db: Database, who: Principal, clock: SteppingClock) -> None:
        self.db, self.who, self.ns, self.clock = db, who, who.root_ns, clock

    async def commit(self, *ops: Op) -> list[int]:
        reply = await commit(self.db, self.clock, self.who, CommitRequest(self.ns, LinkId(b""), ops))
        assert all(isinstance(outcome, Stored) for outcome in reply.outcomes), reply
        return [outcome.seq for outcome in reply.outcomes if isinstance(outcome, Stored)]

    async def make(self, *names: str, inside: NodeId = ROOT_NODE) -> list[NodeId]:
        nodes = [NodeId(next(_numbers).to_bytes(16, "big")) for _ in names]
        await self.commit(
            *[CreateOp(_op(), node, inside, name, Kind.FOLDER) for node, name in zip(nodes, names, strict=True)]
        )
        return nodes

    async def move(self, node: NodeId, name: str, parent: NodeId = ROOT_NODE) -> None:
        rows = await self.db.read(
            lambda conn: conn.fetch("SELECT place_rev FROM files WHERE ns = $1 AND node_id = $2", self.ns, node)
        )
        await self.commit(MoveOp(_op(), (Placement(node, rows[0][0], parent, name),)))

    async def delete(self, node: NodeId) -> None:
        await self.commit(DeleteOp(_op(), node, 2**40))

    async def undelete(self, node: NodeId, name: str, *, is_subtree: bool = True) -> None:
        await self.commit(UndeleteOp(_op(), node, ROOT_NODE, name, is_subtree=is_subtree))

    async def look(self, text: str, folder: NodeId = ROOT_NODE, **terms: object) -> Found:
        wanted = Wanted(question_of(text), **terms)  # type: ignore[arg-type]
        return await search_names(self.db, self.who, [Place(self.ns, folder)], wanted)

    async def find(self, text: str, folder: NodeId = ROOT_NODE, **terms: object) -> list[str]:
        found = await self.look(text, folder, **terms)
        assert found.is_complete
        return [hit.path for hit in found.hits]


def _op() -> OpId:
    return OpId(next(_numbers).to_bytes(16, "big"))


async def tree_of(db: Database, name: str = "ann", clock: SteppingClock | None = None) -> Tree:
    clock = clock or SteppingClock()
    account = await register_account(db, clock, name=name, password_hash="none")
    token, _ = await register_device(db, clock, account_id=account.account_id, name="laptop")
    return Tree(db, await authenticate(db, token), clock)


def test_names_are_found_by_beginning_part_and_several_words_the_best_first(run: Run) -> None:
    async def scenario(db: Database) -> None:
        tree = await tree_of(db)
        await tree.make("Transport", "annual REPORT", "Report 2024.pdf", "report", "Straße", "年度報告書", "a.b_c", "x")
        assert await tree.find("report") == ["/report", "/Report 2024.pdf", "/annual REPORT"]
        assert set(await tree.find("port")) == {"/report", "/Report 2024.pdf", "/annual REPORT", "/Transport"}
        assert await tree.find("an") == ["/annual REPORT"]
        assert await tree.find("rt") == []
        assert await tree.find("2024 rep") == ["/Report 2024.pdf"]
        assert await tree.find("STRASSE") == ["/Straße"]
        assert await tree.find("報告") == await tree.find("年") == ["/年度報告書"]
        assert await tree.find("c") == ["/a.b_c"]
        assert await tree.find("x") == ["/x"]
        assert await tree.find("pdf", within=Within(frozenset({"png", "pdf"}))) == ["/Report 2024.pdf"]
        assert await tree.find("pdf", kind=Kind.FILE) == []
        for text in ("", "  ", "1 2 3 4 5 6 7 8 9", "a" * 256):
            with pytest.raises(MessageInvalid):
                question_of(text)

    run(scenario)


def test_what_is_dead_moved_or_elsewhere_is_found_as_it_stands_now(run: Run) -> None:
    async def scenario(db: Database) -> None:
        tree = await tree_of(db)
        top, other = await tree.make("top", "other")
        (inner,) = await tree.make("inner", inside=top)
        (deep,) = await tree.make("deep paper", inside=inner)
        assert await tree.find("paper") == ["/top/inner/deep paper"]
        assert await tree.find("paper", folder=top) == await tree.find("paper", folder=inner) != []
        assert await tree.find("paper", folder=other) == []
        await tree.delete(top)
        assert await tree.find("paper") == await tree.find("inner") == await tree.find("top") == []
        await tree.undelete(top, "top")
        assert await tree.find("paper") == ["/top/inner/deep paper"]
        await tree.move(inner, "inside", other)
        assert await tree.find("paper") == ["/other/inside/deep paper"]
        assert (await tree.find("inner"), await tree.find("inside")) == ([], ["/other/inside"])
        await tree.delete(deep)
        assert await tree.find("paper") == []
        # A folder that comes back without what lay in it.
        await tree.make("lost", inside=top)
        await tree.delete(top)
        await tree.undelete(top, "top", is_subtree=False)
        assert (await tree.find("top"), await tree.find("lost")) == (["/top"], [])

    run(scenario)


def test_nobody_finds_what_is_another_account_s(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ann = await tree_of(db)
        bob = await tree_of(db, "bob", ann.clock)
        await ann.make("secret")
        assert await bob.find("secret") == []
        with pytest.raises(NotFound) as known:
            await search_names(db, bob.who, [Place(ann.ns)], Wanted(question_of("secret")))
        with pytest.raises(NotFound) as unknown:
            await search_names(db, bob.who, [Place(type(ann.ns)(b"u" * 16))], Wanted(question_of("secret")))
        assert (known.value.message, known.value.fields) == (unknown.value.message, unknown.value.fields)

    run(scenario)


def test_the_index_is_the_same_however_it_was_made(run: Run) -> None:
    """Followed step by step, read from a tree that changes meanwhile, made by many at once, cut off anywhere."""

    async def scenario(db: Database) -> None:
        tree, chance = await tree_of(db), random.Random(4711)
        words = ("alpha", "beta", "gamma", "al", "gam", "x1")
        live: dict[NodeId, str] = {}

        async def change() -> None:
            if len(live) > 20 and chance.random() < 0.5:
                node = chance.choice(list(live))
                if chance.random() < 0.5:
                    del live[node]
                    await tree.delete(node)
                    return
                live[node] = f"{chance.choice(words)} {chance.choice(words)} {next(_numbers)}"
                await tree.move(node, live[node])
                return
            name = f"{chance.choice(words)}-{next(_numbers)}.{chance.choice(words)}"
            live[(await tree.make(name))[0]] = name

        def expected(text: str) -> set[str]:
            question = question_of(text)
            return {f"/{name}" for name in live.values() if rank_of(question, name_key(name)) is not None}

        for turn in range(4):
            for _ in range(25):
                await change()
                if chance.random() < 0.3:
                    await step(db, tree.ns, count=3)
            if turn == 1:
                await begin_again(db, tree.ns)
            if turn == 2:
                await asyncio.gather(*[step(db, tree.ns, count=5) for _ in range(8)])
            for text in ("alpha", "gam", "a", "al be", "x1 gamma", "eta", "1", "lpha gam"):
                assert set(await tree.find(text)) == expected(text), text
        await make_anew(db, page=1)
        assert (await index_names(db, tree.clock)).done.get("names", 0) == 0
        assert set(await tree.find("alpha")) == expected("alpha")

    run(scenario)


def test_more_than_can_be_ranked_is_said_and_the_best_are_there(run: Run) -> None:
    async def scenario(db: Database) -> None:
        tree = await tree_of(db)
        await tree.make("paper")
        for at in range(0, 1_200, 600):
            await tree.make(*[f"wallpaper {number}" for number in range(at, at + 600)])
        # The index was not asked so far and makes no more than a few steps for a question.
        assert not (await tree.look("paper")).is_complete
        await index_names(db, tree.clock)
        found = await tree.look("paper")
        assert (len(found.hits), found.is_all, found.is_complete) == (SEARCH_HITS_MAX, False, True)
        assert (found.hits[0].path, found.hits[0].rank) == ("/paper", Rank.EXACT)
        assert (await tree.look("paper 77")).is_all

    run(scenario)


async def _changed(db: Database, turn: int, clock: SteppingClock) -> tuple[Tree, set[str]]:
    """Return a tree, indexed before its last changes, and what a search for "report" is to find in it."""
    tree = await tree_of(db, f"ann{turn}", clock)
    made = await tree.make(*[f"report {number}" for number in range(8)], "letter")
    await _to_the_end(db, tree)
    await tree.delete(made[0])
    await tree.move(made[1], "minutes")
    await tree.move(made[2], "report moved")
    await tree.move(made[8], "letter report")
    await tree.make("report new")
    return tree, {*[f"/report {number}" for number in range(3, 8)], "/report moved", "/letter report", "/report new"}


async def _to_the_end(db: Database, tree: Tree) -> None:
    while await step(db, tree.ns) is not None:
        pass


async def _begun_anew(db: Database, tree: Tree) -> None:
    """Have the old index removed, so that the next step reads the tree."""
    await begin_again(db, tree.ns)
    while (await db.read(lambda conn: place_txn(conn, tree.ns)) or pytest.fail("gone")).phase == Phase.REMOVING:
        await step(db, tree.ns)


async def _away(db: Database, tree: Tree) -> None:
    raise Unavailable("away", where="test")


async def _one_step(db: Database, tree: Tree) -> None:
    await step(db, tree.ns)


async def _all_anew(db: Database, tree: Tree) -> None:
    await _begun_anew(db, tree)
    await _to_the_end(db, tree)


@pytest.mark.parametrize("what", [_away, _one_step, _to_the_end, _begun_anew, _all_anew])
def test_a_step_that_ends_anywhere_is_done_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, what: Callable[[Database, Tree], Awaitable[None]]
) -> None:
    """Cut off before any of its writes, or overtaken there: by others that do it, or that make the whole index anew."""
    monkeypatch.setattr(indexing, "ROWS_A_WRITE", 12)

    async def scenario(db: Database) -> None:
        clock, numbers = SteppingClock(), count()
        for begin in (None, _begun_anew):
            for at in count(1):
                tree, expected = await _changed(db, next(numbers), clock)
                if begin is not None:
                    await begin(db, tree)
                store = Between(db, at, lambda tree=tree: what(db, tree))  # type: ignore[misc]  # bound here
                with contextlib.suppress(Unavailable):
                    await step(store, tree.ns)
                await _to_the_end(db, tree)
                assert set(await tree.find("report")) == expected, at
                if store.write_count < at:
                    assert at > 6
                    break

    run(scenario)


def test_a_journal_that_is_pruned_under_a_step_has_the_tree_read(run: Run) -> None:
    async def scenario(db: Database) -> None:
        tree, expected = await _changed(db, 1, SteppingClock())

        class Pruned(Between):
            async def read(self, work: Work[T], *, wait_s: float = READ_WAIT_S) -> T:
                async def prune_txn(conn: Connection) -> None:
                    await conn.execute("DELETE FROM file_changes WHERE ns = $1 AND seq <= $2", tree.ns, 11)
                    await conn.execute("UPDATE namespaces SET min_seq = $2 WHERE ns = $1", tree.ns, 11)

                await db.write(b"prune", prune_txn)
                return await db.read(work, wait_s=wait_s)

        async def nothing() -> None:
            """Nothing happens."""

        assert await step(Pruned(db, 0, nothing), tree.ns) == 0
        await _to_the_end(db, tree)
        assert set(await tree.find("report")) == expected

    run(scenario)


@pytest.mark.parametrize(("share", "pauses"), [(0.1, 1), (0.9, 2)])
def test_indexing_leaves_room_for_whoever_works_meanwhile(run: Run, share: float, pauses: int) -> None:
    class SharedMachine(SteppingClock):
        """Of the time that passes others have `share` of a processor."""

        def __init__(self) -> None:
            super().__init__()
            self.slept_s: list[float] = []

        async def sleep_s(self, seconds: float) -> None:
            self.slept_s.append(seconds)

        def used_s(self) -> float:
            return share * sum(self.slept_s)

    async def scenario(db: Database) -> None:
        clock = SharedMachine()
        tree = await tree_of(db, clock=clock)
        await tree.make("report")
        await _begun_anew(db, tree)
        assert await index_some(db, clock, tree.ns) == 1
        assert len(clock.slept_s) == pauses
        assert clock.slept_s == sorted(clock.slept_s)
        assert await index_some(db, clock, tree.ns) is None
        assert len(clock.slept_s) == pauses
        await tree.make("letter")
        assert await index_some(Between(db, 1, lambda: _to_the_end(db, tree)), clock, tree.ns) == 0
        assert len(clock.slept_s) == pauses + 1

    run(scenario)
