"""Links that ended long ago are forgotten, and no others, over both databases."""

from __future__ import annotations

from satchel.core.errors import NotFound
from satchel.server.db.engine import Database
from satchel.server.sharing.links import Wanted, change_link, links_of, open_link, revoke_link
from satchel.server.upkeep.ended_links import KEPT_DAYS, forget_links
from tests.contract.test_share_links import START, staged
from tests.support.databases import Run

DAY_MS = 24 * 60 * 60 * 1000


def test_links_that_ended_long_ago_are_forgotten_and_no_others(run: Run) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        clock, ann = stage.clock, stage.ann
        soon = clock.now + DAY_MS
        revoked = [(await stage.link(stage.docs))[1] for _ in range(5)]
        for made in revoked:
            await revoke_link(db, clock, ann, made.share.ns, made.share.share_id)
        for _ in range(3):
            await stage.link(stage.docs, expires_ms=soon)
        opens, _ = await stage.link(stage.docs)
        clock.now += (KEPT_DAYS - 1) * DAY_MS
        _, young = await stage.link(stage.docs)
        await revoke_link(db, clock, ann, young.share.ns, young.share.share_id)
        assert (await forget_links(db, clock, page_shares=2)).done == {"links": 0}
        clock.now += 3 * DAY_MS // 2
        assert (await forget_links(db, clock, page_shares=2)).done == {"links": 5}
        clock.now += DAY_MS
        assert (await forget_links(db, clock, page_shares=2)).done == {"links": 3}
        assert len(await links_of(db, ann, [ann.root_ns], after=START, limit=10)) == 1
        assert (await open_link(db, clock, opens)).share.node_id == stage.docs
        rows = await db.read(
            lambda conn: conn.fetch("SELECT (SELECT COUNT(*) FROM shares), (SELECT COUNT(*) FROM share_tokens)")
        )
        assert rows == [(2, 1)]

    run(scenario)


def test_a_link_that_gets_another_end_meanwhile_stays(run: Run) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        clock = stage.clock
        token, made = await stage.link(stage.docs, expires_ms=clock.now + 1_000)
        clock.now += (KEPT_DAYS + 1) * DAY_MS

        class Between:
            """The store, on which the link gets another end between the look and the removal."""

            dialect = db.dialect
            read, glance = staticmethod(db.read), staticmethod(db.glance)

            async def write(self, key: bytes, work: object) -> object:
                if made.share.ns in key:
                    await change_link(db, clock, stage.ann, made.share, Wanted(), is_password_new=False)
                return await db.write(key, work)  # type: ignore[arg-type]

        assert (await forget_links(Between(), clock)).done == {"links": 0}  # type: ignore[arg-type]
        assert await stage.opens(token)

    run(scenario)


def test_a_forgotten_link_is_as_unknown_as_any(run: Run) -> None:
    async def scenario(db: Database) -> None:
        stage = await staged(db)
        token, made = await stage.link(stage.docs, expires_ms=stage.clock.now + 1_000)
        stage.clock.now += (KEPT_DAYS + 1) * DAY_MS
        await forget_links(db, stage.clock)
        assert not await stage.opens(token)
        try:
            await revoke_link(db, stage.clock, stage.ann, made.share.ns, made.share.share_id)
        except NotFound as fault:
            assert fault.message == "There is no such link."

    run(scenario)
