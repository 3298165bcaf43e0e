"""The whole service over each database: what a device commits another one reads, also after a restart."""

from __future__ import annotations

import os
from pathlib import Path

from satchel.core.ids import LinkId, Tag
from satchel.core.messages import Changes, ChangesRequest, Position, PutReply, PutRequest, Stored
from tests.support.databases import database_url, postgres_server
from tests.support.server import Session, User, running_server
from tests.support.wire import Wire, raw_block

__all__ = ["database_url", "postgres_server"]


def contents(session: Session, link: bytes) -> dict[str, bytes]:
    with Wire(session, link) as wire:
        asked = ChangesRequest(Position(wire.ns, 0, Tag(b"")), LinkId(link))
        page, bodies = wire.call("changes", asked, Changes)
        return {entry.name: bytes(bodies[entry.inline]) for entry in page.entries}


def test_what_one_device_commits_another_reads_also_after_a_restart(tmp_path: Path, database_url: str) -> None:
    with running_server(tmp_path, environment={"SATCHEL_DATABASE_URL": database_url}) as server:
        user = server.add_user()
        with Wire(user.sign_in("laptop")) as wire:
            inline, put = os.urandom(1_000), os.urandom(2_000)
            wire.call("blocks/put", PutRequest(wire.ns, (raw_block(put),)), PutReply, [put])
            reply = wire.commit(wire.create("inline", inline), wire.create("put", put), inline=[inline])
            assert all(isinstance(outcome, Stored) for outcome in reply.outcomes)
        expected = {"inline": inline, "put": put}
        assert contents(user.sign_in("phone"), b"phone") == expected
        assert server.stop() == 0
        server.start()
        assert contents(User(server.url, user.name, user.password).sign_in("tablet"), b"tablet") == expected
