"""A killed server has everything that it acknowledged, whatever it was doing, and goes on from there."""

from __future__ import annotations

import http.client
import os
import threading
from pathlib import Path

from satchel.core.hashing import block_hash
from satchel.core.ids import LinkId, Tag
from satchel.core.limits import KIB
from satchel.core.messages import Changes, ChangesRequest, GetReply, GetRequest, Position, Stored
from tests.support.server import RunningServer, Session, User, running_server
from tests.support.wire import Wire

WRITERS = 4


def write_until_gone(session: Session, number: int, acknowledged: dict[str, bytes], enough: threading.Event) -> None:
    """Commit files until the server is gone; note each that was acknowledged, and say when there are enough."""
    with Wire(session) as wire:
        for count in range(10_000):
            data = os.urandom(1 + count * 1_000 % (64 * KIB))
            name = f"{number}-{count}"
            try:
                (outcome,) = wire.commit(wire.create(name, data), inline=[data]).outcomes
            except (OSError, http.client.HTTPException):
                return
            assert isinstance(outcome, Stored)
            acknowledged[name] = data
            if count == 25:
                enough.set()


def everything(session: Session) -> dict[str, bytes]:
    """Return all files of the account with their bytes, read by journal and blocks."""
    with Wire(session) as wire:
        found: dict[str, bytes] = {}
        position = Position(wire.ns, 0, Tag(b""))
        has_more = True
        while has_more:
            asked = ChangesRequest(position, LinkId(b"reader"), with_content=False)
            page, _ = wire.call("changes", asked, Changes)
            hashes = tuple(entry.blocks[:32] for entry in page.entries)
            got, bodies = wire.call("blocks/get", GetRequest(wire.ns, hashes), GetReply)  # type: ignore[arg-type]
            assert got.missing == ()
            for entry, body in zip(page.entries, bodies, strict=True):
                assert block_hash(body) == entry.blocks[:32]
                found[entry.name] = bytes(body)
            position = Position(wire.ns, page.last_seq, page.last_tag)
            has_more = page.has_more
        return found


def test_what_was_acknowledged_before_a_kill_is_whole_after_it(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        user = server.add_user()
        acknowledged: dict[str, bytes] = {}
        enough = threading.Event()
        sessions = [user.sign_in(f"device {number}") for number in range(WRITERS)]
        writers = [
            threading.Thread(target=write_until_gone, args=(session, number, acknowledged, enough))
            for number, session in enumerate(sessions)
        ]
        for writer in writers:
            writer.start()
        assert enough.wait(60)
        server.kill()
        for writer in writers:
            writer.join(60)
        session = restarted(server, user)
        found = everything(session)
        assert {name: data for name, data in acknowledged.items() if found.get(name) != data} == {}
        with Wire(session) as wire:
            (outcome,) = wire.commit(wire.create("after", b"after"), inline=[b"after"]).outcomes
            assert isinstance(outcome, Stored)


def restarted(server: RunningServer, user: User) -> Session:
    server.start()
    return User(server.url, user.name, user.password).sign_in("reader")
