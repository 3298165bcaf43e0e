"""Two gateways on one store: a lock that one gives holds at the other, and comes between no look and its change."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable

import pytest

from satchel.core.hashing import PACKED_BYTES
from satchel.core.limits import MIB
from satchel.server.db.engine import Database, Work
from satchel.server.gateway.app import Gateway
from tests.support.databases import Run
from tests.support.memory_service import MemoryService, open_service
from tests.support.webdav import LOCK_BODY, basic

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")

LOCK = LOCK_BODY.format(scope="exclusive", owner="x").encode()
Event = Callable[[], Awaitable[object]]


class Interrupted:
    """A store at which something else happens before the next write, once."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.before_write: Event | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def write(self, key: bytes, work: Work[object]) -> object:
        event, self.before_write = self.before_write, None
        if event is not None:
            await event()
        return await self._inner.write(key, work)


class Client:
    """Asks one gateway, in this process. between: happens after the first part of a body has come."""

    def __init__(self, service: MemoryService, gateway: Gateway) -> None:
        self.service = service
        self.gateway = gateway

    async def ask(
        self, method: str, path: str, body: bytes = b"", /, between: Event | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        sent: list[dict[str, object]] = []
        parts = [body] if between is None else [body[:1], body[1:]]

        async def receive() -> dict[str, object]:
            if between is not None and len(parts) == 1:
                await between()
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: object) -> None:
            assert isinstance(message, dict)
            sent.append(dict(message))

        told = {"authorization": basic("ann", self.service.token), "host": "here", "content-length": str(len(body))}
        told |= headers
        raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in told.items()]
        scope = {"type": "http", "method": method, "path": f"/dav{path}", "raw_path": f"/dav{path}".encode()}
        more = {"query_string": b"", "headers": raw, "client": ("127.0.0.1", 1), "scheme": "http", "root_path": ""}
        await self.gateway({**scope, **more}, receive, send)
        start: dict[str, object] = sent[0]
        found = {name.decode(): value.decode() for name, value in start["headers"]}  # type: ignore[attr-defined]
        return int(str(start["status"])), found, b"".join(bytes(each.get("body", b"")) for each in sent[1:])  # type: ignore[call-overload]

    async def status(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> int:
        return (await self.ask(method, path, body, **headers))[0]

    async def locked(self, path: str, **headers: str) -> str:
        status, found, body = await self.ask("LOCK", path, LOCK, **headers)
        assert status in (200, 201), body
        return found["lock-token"]


async def two(db: Database) -> tuple[Client, Client, Interrupted]:
    """Return clients of two gateways, and the store as the second one sees it."""
    interrupted = Interrupted(db)
    service = await open_service(interrupted)  # type: ignore[arg-type]  # it passes everything else on
    gateways = Gateway(service.services), Gateway(service.services)
    return Client(service, gateways[0]), Client(service, gateways[1]), interrupted


def test_a_lock_of_one_gateway_holds_at_the_other(run: Run) -> None:
    async def scenario(db: Database) -> None:
        one, other, _ = await two(db)
        assert await one.status("PUT", "/f", b"one") == 201
        token = await one.locked("/f")
        assert await other.status("PUT", "/f", b"two") == 423
        assert await other.status("PUT", "/f", b"two", If=f"({token})") == 204
        assert await other.status("LOCK", "/f", LOCK) == 423
        assert await other.status("UNLOCK", "/f", Lock_Token=token) == 204
        assert await one.status("PUT", "/f", b"three") == 204

    run(scenario)


def test_a_lock_that_is_given_while_bytes_come_keeps_them_out(run: Run) -> None:
    async def scenario(db: Database) -> None:
        one, other, _ = await two(db)
        assert await one.status("PUT", "/f", b"one") == 201

        async def lock() -> None:
            await one.locked("/f")

        status, _, _ = await other.ask("PUT", "/f", b"two", between=lock)
        assert status == 423
        assert (await one.ask("GET", "/f"))[2] == b"one"

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("DELETE", "/d/f", b"", {}),
        ("DELETE", "/d", b"", {}),
        ("MOVE", "/d/f", b"", {"Destination": "/dav/g"}),
        ("MOVE", "/g", b"", {"Destination": "/dav/d/f"}),
        ("COPY", "/g", b"", {"Destination": "/dav/d/f"}),
        ("LOCK", "/d", LOCK, {}),
        ("LOCK", "/d/f", LOCK, {}),
        (
            "PROPPATCH",
            "/d/f",
            b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x/></D:prop></D:set></D:propertyupdate>',
            {},
        ),
    ],
)
def test_a_lock_that_is_given_between_look_and_change_is_seen(
    run: Run, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    async def scenario(db: Database) -> None:
        one, other, interrupted = await two(db)
        assert await one.status("MKCOL", "/d") == 201
        assert await one.status("PUT", "/d/f", b"one") == 201
        assert await one.status("PUT", "/g", b"other") == 201
        interrupted.before_write = lambda: one.locked("/d/f")
        assert await other.status(method, path, body, **headers) == 423
        assert interrupted.before_write is None
        assert (await one.ask("GET", "/d/f"))[2] == b"one"

    run(scenario)


def test_of_many_that_lock_at_once_one_does(run: Run) -> None:
    async def scenario(db: Database) -> None:
        one, other, _ = await two(db)
        for path, made in (("/new", 201), ("/old", 200)):
            if made == 200:
                assert await one.status("PUT", path, b"x") == 201
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(each.status("LOCK", path, LOCK)) for each in (one, other) * 6]
            told = sorted(task.result() for task in asked)
            assert told in ([made] + [423] * 11, [200] + [423] * 11), told

    run(scenario)


def test_of_many_that_write_on_one_condition_one_does(run: Run) -> None:
    async def scenario(db: Database) -> None:
        one, other, _ = await two(db)
        _, found, _ = await one.ask("PUT", "/f", b"start")
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(each.status("PUT", "/f", b"%d" % number, If_Match=found["etag"]))
                for number, each in enumerate((one, other) * 6)
            ]
        assert sorted(task.result() for task in asked) == [204] + [412] * 11

    run(scenario)


def test_what_another_changed_meanwhile_is_not_deleted(run: Run) -> None:
    async def scenario(db: Database) -> None:
        one, other, interrupted = await two(db)
        assert await one.status("MKCOL", "/d") == 201
        _, found, _ = await one.ask("PUT", "/d/f", b"old")
        interrupted.before_write = lambda: one.status("PUT", "/d/f", b"new")
        # On a condition that no longer holds nothing is done, though the sender is the same device.
        assert await other.status("DELETE", "/d/f", If_Match=found["etag"]) == 412
        assert (await one.ask("GET", "/d/f"))[2] == b"new"
        interrupted.before_write = lambda: one.status("PUT", "/d/f", b"newer")
        assert await other.status("MOVE", "/d/f", If_None_Match='"x"', Destination="/dav/g") == 201
        assert (await one.ask("GET", "/g"))[2] == b"newer"

    run(scenario)


def test_a_lock_ends_by_itself_and_makes_room(run: Run) -> None:
    async def scenario(db: Database) -> None:
        one, other, _ = await two(db)
        assert await one.status("PUT", "/f", b"one") == 201
        token = await one.locked("/f")
        await db.write(b"test", lambda conn: conn.execute("UPDATE dav_locks SET expires_at = 1"))
        assert await other.status("PUT", "/f", b"two") == 204
        assert await one.status("PUT", "/f", b"x", If=f"({token})") == 412
        assert await one.status("LOCK", "/f", b"", If=f"({token})") == 412
        await other.locked("/f")
        rows = await db.read(lambda conn: conn.fetch("SELECT COUNT(*) FROM dav_locks"))
        assert rows == [(1,)]

    run(scenario)


def test_an_answer_that_cannot_go_on_is_never_taken_for_whole(run: Run) -> None:
    async def scenario(db: Database) -> None:
        one, _, _ = await two(db)
        await db.write(b"test", lambda conn: conn.execute("UPDATE namespaces SET quota = NULL"))
        assert await one.status("PUT", "/f", random.Random(1).randbytes(12 * MIB)) == 201
        whole = (await one.ask("GET", "/f"))[2]
        [(blocks,)] = await db.read(lambda conn: conn.fetch("SELECT blocks FROM manifests"))
        last = bytes(blocks)[-PACKED_BYTES:-4]
        await db.write(b"test", lambda conn: conn.execute("DELETE FROM namespace_blocks WHERE block_hash = $1", last))
        status, found, body = await one.ask("GET", "/f")
        # What is told in full and sent in part: without its end the server closes the connection.
        assert (status, found["content-length"]) == (200, str(len(whole)))
        assert 0 < len(body) < len(whole)

    run(scenario)


def test_what_is_refreshed_while_another_writes_changes_nothing_for_it(run: Run) -> None:
    async def scenario(db: Database) -> None:
        one, other, interrupted = await two(db)
        token = await one.locked("/f", Timeout="Second-100")
        interrupted.before_write = lambda: one.status("LOCK", "/f", b"", If=f"({token})", Timeout="Second-3000")
        assert await other.status("PUT", "/f", b"two", If=f"({token})") == 204
        _, _, body = await one.ask("PROPFIND", "/f", b"", Depth="0")
        found = re.search(rb"Second-(\d+)", body)
        assert found is not None
        assert int(found[1]) > 2_000

    run(scenario)
