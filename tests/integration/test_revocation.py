"""What somebody obtained while they had a right opens nothing a minute after it went: the service in this process, over
a clock that a test moves. Streams: tests/integration/test_share_streams.py; links: test_link_streams.py.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import pytest

from satchel.core.access import Role
from satchel.core.ids import NamespaceId
from satchel.core.limits import MIB
from satchel.server.accounts.app_passwords import add_app_password, revoke_app_password
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.proving import Proved
from satchel.server.accounts.service import authenticate, disable_user, register_account, register_device, revoke_device
from satchel.server.accounts.sessions import begin_session, revoke_session
from satchel.server.gateway.app import Gateway
from satchel.server.gateway.identity import Identity
from satchel.server.gateway.raw import Message
from satchel.server.gateway.services import Services
from satchel.server.sharing.people import accept, invite, remove
from tests.support.clocks import SteppingClock
from tests.support.memory_service import open_service

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")

MINUTE_MS = 60_000
SIZE = 3 * MIB
WAIT_S = 60.0
FILE = "/Team/large"
GONE = (401, 403, 404)


@dataclass
class Asked:
    """One request and what came back, which may be cut off."""

    sent: list[Message] = field(default_factory=list)
    is_cut: bool = False

    @property
    def status(self) -> int:
        told: int = self.sent[0]["status"]
        return told

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    def json(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told


@dataclass
class World:
    """ann's folder `/Team` with a file of 3 MiB; bob takes part, with a device, a browser and an app password."""

    services: Services
    clock: SteppingClock
    gateway: Gateway
    owner: tuple[bytes, bytes]
    bob: Principal
    ways: dict[str, tuple[bytes, bytes]]
    ends: dict[str, Callable[[], Awaitable[object]]]
    ns: NamespaceId = field(init=False)
    tag: bytes = field(init=False)

    async def ask(
        self,
        method: str,
        path: str,
        /,
        *headers: tuple[bytes, bytes],
        body: tuple[bytes, ...] = (b"",),
        meanwhile: Callable[[int], Awaitable[object]] | None = None,
        **query: object,
    ) -> Asked:
        """Ask once. body: in parts; meanwhile: called before each part of it, and after each of the answer, with how
        many there were."""
        asked, unread, answered = Asked(), list(body), asyncio.Event()

        async def receive() -> Message:
            if unread:
                if meanwhile is not None:
                    await meanwhile(len(body) - len(unread))
                return {"type": "http.request", "body": unread.pop(0), "more_body": bool(unread)}
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            asked.sent.append(dict(message))
            if message["type"] == "http.response.body":
                if not message.get("more_body", False):
                    answered.set()
                elif meanwhile is not None:
                    await meanwhile(len(asked.sent) - 1)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": urlencode(query).encode(),
            "headers": list(headers),
            "client": ("203.0.113.9", 1),
            "server": ("127.0.0.1", 1),
            "scheme": "http",
            "http_version": "1.1",
        }
        with contextlib.suppress(Exception):  # what ends an answer that has begun; the server closes the connection
            await self.gateway(scope, receive, send)
        asked.is_cut = bool(asked.sent[-1].get("more_body", len(asked.sent) == 1))
        return asked

    async def end(self, what: str) -> None:
        """Take a right away as another process would, and let a minute pass."""
        await self.ends[what]()
        self.clock.now += MINUTE_MS


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    made, clock = await open_service(), SteppingClock()
    services = replace(made.services, clock=clock, identity=Identity(made.services.db, clock))
    db = services.db
    await db.write(b"quota", lambda conn: conn.execute("UPDATE namespaces SET quota = NULL"))
    ann = await authenticate(db, made.token)
    account = await register_account(db, clock, name="bob", password_hash="none")
    token, device_id = await register_device(db, clock, account_id=account.account_id, name="laptop")
    bob = await authenticate(db, token)
    cookie, session = await begin_session(db, clock, Proved(bob.account_id, "bob", bob.root_ns, "none"), name="Fox")
    secret, app = await add_app_password(db, clock, bob, name="phone", may_write=True)
    play = World(
        services,
        clock,
        Gateway(services),
        (b"authorization", b"Bearer " + made.token.encode()),
        bob,
        {
            "device": (b"authorization", b"Bearer " + token.encode()),
            "browser": (b"cookie", f"{services.identity.cookies.name}={cookie}".encode()),
            "app": (b"authorization", b"Basic " + base64.b64encode(f"bob:{secret}".encode())),
        },
        {
            "part": lambda: remove(db, clock, ann, play.ns, bob.account_id),
            "device": lambda: revoke_device(db, clock, bob, device_id),
            "browser": lambda: revoke_session(db, clock, bob, session.session_id),
            "app": lambda: revoke_app_password(db, clock, bob, app.password_id),
            "account": lambda: disable_user(db, clock, "bob"),
        },
    )
    folder = (json.dumps({"path": "/Team"}).encode(),)
    assert (await play.ask("POST", "/api/v1/folders", play.owner, body=folder)).status == 201
    data = bytes(range(256)) * (SIZE // 256)
    assert (await play.ask("PUT", "/api/v1/content", play.owner, body=(data,), path=FILE)).status == 200
    share = await play.ask("POST", "/api/v1/shares", play.owner, body=folder)
    play.ns = NamespaceId(bytes.fromhex(share.json()["id"]))
    await invite(db, clock, ann, play.ns, [("bob", Role.EDITOR)])
    await accept(db, clock, bob, play.ns)
    found = await play.ask("GET", "/api/v1/content", play.ways["device"], path=FILE)
    assert (found.status, found.body == data, found.is_cut) == (200, True, False)
    play.tag = dict(found.sent[0]["headers"])[b"etag"]
    yield play


ENDED = {
    # what ends: the ways in that open nothing any more
    "part": ("device", "browser", "app"),
    "device": ("device",),
    "browser": ("browser",),
    "app": ("app",),
    "account": ("device", "browser", "app"),
}


@pytest.mark.parametrize("end", ENDED)
def test_what_was_obtained_before_opens_nothing_a_minute_later(end: str) -> None:
    async def main() -> None:
        async with world() as play:
            wanted = [
                *(("GET", "/api/v1/content", way, (), {"path": FILE}) for way in ("device", "browser")),
                *(
                    ("GET", "/api/v1/content", way, ((b"if-none-match", play.tag),), {"path": FILE})
                    for way in ("device", "browser")
                ),
                ("GET", "/api/v1/content", "device", ((b"range", b"bytes=5-9"),), {"path": FILE}),
                ("GET", "/api/v1/entry", "browser", (), {"path": FILE}),
                ("GET", f"/dav{FILE}", "app", (), {}),
                ("GET", f"/dav{FILE}", "app", ((b"if-none-match", play.tag),), {}),
                ("PROPFIND", "/dav/Team", "app", ((b"depth", b"1"),), {}),
                ("GET", f"/dav{FILE}", "device", (), {}),
            ]
            for method, path, way, headers, query in wanted:
                before = await play.ask(method, path, play.ways[way], *headers, **query)
                assert before.status in (200, 206, 207, 304), (path, way, before.sent)
            await play.end(end)
            for method, path, way, headers, query in wanted:
                after = await play.ask(method, path, play.ways[way], *headers, **query)
                refused = (404,) if end == "part" else (401,)
                expected = refused if way in ENDED[end] else (200, 206, 207, 304)
                assert after.status in expected, (path, way, after.status)
                assert after.status in (200, 206, 207, 304) or play.tag.strip(b'"') not in after.body

    asyncio.run(main())


@pytest.mark.parametrize("end", ENDED)
def test_a_cursor_of_before_tells_nothing_of_what_happened_after(end: str) -> None:
    async def main() -> None:
        async with world() as play:
            device = play.ways["device"]
            cursor = (await play.ask("GET", "/api/v1/sync", device)).json()["cursor"]
            await play.end(end)
            assert (
                await play.ask("PUT", "/api/v1/content", play.owner, body=(b"x",), path="/Team/later")
            ).status == 200
            told = await play.ask("GET", "/api/v1/sync", device, cursor=cursor)
            if end in ("device", "account"):
                assert told.status == 401
            assert (b"later" in told.body) == (end in ("browser", "app"))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("way", "end", "path"),
    [
        *(("device", end, "/api/v1/content") for end in ("part", "device", "account")),
        *(("browser", end, "/api/v1/content") for end in ("part", "browser", "account")),
        *(("app", end, f"/dav{FILE}") for end in ("part", "app", "account")),
        ("device", "device", f"/dav{FILE}"),
    ],
)
def test_a_download_on_its_way_is_cut_within_a_minute(way: str, end: str, path: str) -> None:
    async def main() -> None:
        async with world() as play:

            async def meanwhile(parts: int) -> None:
                if parts == 2:
                    await play.end(end)

            query = {} if path.startswith("/dav") else {"path": FILE}
            asked = await play.ask("GET", path, play.ways[way], meanwhile=meanwhile, **query)
            assert (asked.status, asked.is_cut) == (200, True)
            assert len(asked.body) < SIZE / 2

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/api/v1/content", "/dav/own"])
def test_a_download_that_may_go_on_does_however_long_it_takes(path: str) -> None:
    async def main() -> None:
        async with world() as play:
            device = play.ways["device"]
            assert (await play.ask("PUT", "/dav/own", device, body=(bytes(SIZE),))).status == 201

            async def waited(parts: int) -> None:
                play.clock.now += MINUTE_MS

            query = {} if path.startswith("/dav") else {"path": "/own"}
            asked = await play.ask("GET", path, device, meanwhile=waited, **query)
            assert (asked.is_cut, len(asked.body)) == (False, SIZE)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("way", "end", "path"),
    [
        *(("device", end, "/api/v1/content") for end in ("part", "device", "account")),
        *(("app", end, "/dav/Team/new") for end in ("part", "app", "account")),
    ],
)
def test_an_upload_that_comes_too_late_is_nowhere(way: str, end: str, path: str) -> None:
    async def main() -> None:
        async with world() as play:

            async def meanwhile(parts: int) -> None:
                if parts == 1:
                    await play.end(end)

            query = {} if path.startswith("/dav") else {"path": "/Team/new"}
            parts = (b"some", b"more")
            asked = await play.ask("PUT", path, play.ways[way], body=parts, meanwhile=meanwhile, **query)
            assert asked.status in GONE, asked.sent
            assert (await play.ask("GET", "/api/v1/entry", play.owner, path="/Team/new")).status == 404

    asyncio.run(main())


@pytest.mark.parametrize("end", ["part", "device", "account"])
def test_a_long_poll_that_waits_is_ended_and_tells_nothing(end: str) -> None:
    async def main() -> None:
        async with world() as play:
            device, services = play.ways["device"], play.services
            cursor = (await play.ask("GET", "/api/v1/sync", device)).json()["cursor"]

            async def waited() -> Asked:
                return await play.ask("GET", "/api/v1/sync/longpoll", device, cursor=cursor, timeout=60)

            joined, real = asyncio.Event(), services.state.add_member

            async def noted(*args: Any, **more: Any) -> bool:
                joined.set()
                return await real(*args, **more)

            services.state.add_member = noted  # type: ignore[method-assign]
            async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
                poll = group.create_task(waited())
                await joined.wait()
                await play.end(end)
                services.waiters.doubt(play.bob.account_id)
            told = poll.result()
            assert told.status == (200 if end == "part" else 401)
            assert play.tag.strip(b'"') not in told.body

    asyncio.run(main())


def test_a_link_that_a_member_made_opens_nothing_after_its_maker_is_none() -> None:
    async def main() -> None:
        async with world() as play:
            made = await play.ask(
                "POST", "/api/v1/links", play.ways["device"], body=(json.dumps({"path": "/Team"}).encode(),)
            )
            public = f"/api/v1/public/{made.json()['token']}"
            ways = [(public, {}), (f"{public}/list", {}), (f"{public}/zip", {})]
            assert [(await play.ask("GET", path, **query)).status for path, query in ways] == [200, 200, 200]
            await play.end("part")
            assert [(await play.ask("GET", path, **query)).status for path, query in ways] == [404, 404, 404]

    asyncio.run(main())
