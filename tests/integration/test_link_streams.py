"""What a link began ends with it: the service in this process, so that a test comes between two parts of an answer."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from satchel.core.errors import TooManyRequests
from satchel.core.limits import MIB
from satchel.server.gateway.app import Gateway
from satchel.server.gateway.link_access import RECHECK_MS
from satchel.server.gateway.raw import Message
from satchel.server.sharing.link_keys import spend_guess
from satchel.server.sharing.links import open_link
from tests.support.clocks import SteppingClock
from tests.support.memory_service import MemoryService, open_service

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")


@dataclass
class Door:
    """The whole door of a service in memory, over a clock that a test moves."""

    service: MemoryService
    clock: SteppingClock
    gateway: Gateway
    begun: int = 0
    between: Callable[[int], Awaitable[None]] | None = None
    """Called after each part of an answer's body with how many came so far."""
    sent: list[Message] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: bytes = b"", *, query: str = "", token: str = "") -> int:
        """Ask once; return the status. `sent` holds the answer, which may be cut off."""
        self.sent, unread, answered = [], [body], asyncio.Event()

        async def receive() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self.sent.append(dict(message))
            if message["type"] == "http.response.body":
                if not message.get("more_body", False):
                    answered.set()
                elif self.between is not None:
                    await self.between(len(self.sent) - 1)

        headers = [(b"authorization", b"Bearer " + token.encode())] if token else []
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": headers,
            "client": ("203.0.113.9", 1),
            "server": ("127.0.0.1", 1),
            "scheme": "http",
            "http_version": "1.1",
        }
        await self.gateway(scope, receive, send)
        status: int = self.sent[0]["status"]
        return status

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def is_whole(self) -> bool:
        return not self.sent[-1].get("more_body", False)

    async def made(self, **terms: object) -> dict[str, str]:
        """Make a link to a folder with one file of 3 MiB."""
        token = self.service.token
        await self.ask("POST", "/api/v1/folders", b'{"path": "/docs"}', token=token)
        await self.ask("PUT", "/api/v1/content", bytes(3 * MIB), query="path=/docs/a.bin", token=token)
        file = json.loads(self.body)["id"]
        assert (
            await self.ask("POST", "/api/v1/links", json.dumps({"path": "/docs", **terms}).encode(), token=token) == 201
        )
        link: dict[str, str] = json.loads(self.body)
        return link | {"file": file, "public": f"/api/v1/public/{link['token']}"}


async def opened() -> Door:
    service, clock = await open_service(), SteppingClock()
    service.services = replace(service.services, clock=clock)
    await service.services.db.write(b"quota", lambda conn: conn.execute("UPDATE namespaces SET quota = NULL"))
    return Door(service, clock, Gateway(service.services))


@pytest.mark.parametrize(
    ("route", "end"), [("content", "revoked"), ("zip", "revoked"), ("content", "disabled"), ("content", "moved out")]
)
def test_an_answer_on_its_way_is_cut_soon_after_its_link_ended(route: str, end: str) -> None:
    async def work() -> None:
        door = await opened()
        link = await door.made()
        query = f"id={link['file']}" if route == "content" else ""
        assert await door.ask("GET", f"{link['public']}/{route}", query=query) == 200
        whole = door.body
        assert door.is_whole

        async def ended(parts: int) -> None:
            if parts == 2:
                if end == "revoked":
                    other = Door(door.service, door.clock, door.gateway)
                    assert await other.ask("DELETE", f"/api/v1/links/{link['id']}", token=door.service.token) == 204
                elif end == "moved out":
                    other = Door(door.service, door.clock, door.gateway)
                    body = b'{"from": "/docs/a.bin", "to": "/a.bin"}'
                    assert await other.ask("POST", "/api/v1/move", body, token=door.service.token) == 200
                else:
                    await door.service.services.db.write(
                        b"", lambda conn: conn.execute("UPDATE accounts SET is_disabled = 1")
                    )
                door.clock.now += RECHECK_MS

        door.between = ended
        # The framework wraps what ends an answer that has begun; the server then closes the connection.
        with pytest.raises(Exception, match="after response started"):
            await door.ask("GET", f"{link['public']}/{route}", query=query)
        assert not door.is_whole
        assert len(door.body) < len(whole) / 2
        assert whole.startswith(door.body)

    asyncio.run(work())


def test_a_link_that_still_opens_goes_on_however_long_it_takes() -> None:
    async def work() -> None:
        door = await opened()
        link = await door.made(downloads_max=1)

        async def waited(parts: int) -> None:
            door.clock.now += RECHECK_MS

        door.between = waited
        assert await door.ask("GET", f"{link['public']}/zip") == 200
        assert (door.is_whole, len(door.body) > 3 * MIB) == (True, True)
        assert await door.ask("GET", f"{link['public']}/zip") == 404

    asyncio.run(work())


def test_an_archive_holds_many_small_files_equal_ones_and_folders_among_them() -> None:
    async def work() -> None:
        door = await opened()
        link, token = await door.made(), door.service.token
        wanted = {"docs/": b"", "docs/a.bin": bytes(3 * MIB)}
        for at in range(230):
            name, data = f"docs/{at:03}", b"same" if at % 7 == 0 else b"%d" % at * (at * 50)
            if at % 50 == 49:
                await door.ask("POST", "/api/v1/folders", json.dumps({"path": f"/{name}"}).encode(), token=token)
                wanted[f"{name}/"], name = b"", f"{name}/inner"
            await door.ask("PUT", "/api/v1/content", data, query=f"path=/{name}", token=token)
            wanted[name] = data
        assert await door.ask("GET", f"{link['public']}/zip") == 200
        with zipfile.ZipFile(io.BytesIO(door.body)) as archive:
            assert archive.testzip() is None
            assert {name: archive.read(name) for name in archive.namelist()} == wanted

    asyncio.run(work())


def test_a_password_is_not_looked_at_once_the_guesses_are_used_up() -> None:
    async def work() -> None:
        door = await opened()
        link = await door.made(password="the right password")
        services = door.service.services
        share = (await open_link(services.db, services.clock, link["token"])).share
        with pytest.raises(TooManyRequests):
            while True:
                await spend_guess(services.state, share, "203.0.113.9")
        assert await door.ask("POST", f"{link['public']}/unlock", b'{"password": "the right password"}') == 429
        assert b"key" not in door.body

    asyncio.run(work())


def test_a_file_request_that_ends_while_a_file_comes_takes_it_no_more() -> None:
    async def work() -> None:
        door = await opened()
        link = await door.made(permission="upload", expires_ms=door.clock.now + 5_000)
        assert await door.ask("PUT", f"{link['public']}/upload", b"in time", query="name=a.txt") == 201
        real = door.gateway._services.blocks.put_bytes

        async def late(*args: object) -> object:
            door.clock.now += 10_000
            return await real(*args)  # type: ignore[arg-type]

        door.gateway._services.blocks.put_bytes = late  # type: ignore[method-assign, assignment]
        assert await door.ask("PUT", f"{link['public']}/upload", b"too late", query="name=b.txt") == 404
        await door.ask("GET", "/api/v1/files", query="path=/docs", token=door.service.token)
        assert [item["name"] for item in json.loads(door.body)["items"]] == ["a.bin", "a.txt"]

    asyncio.run(work())
