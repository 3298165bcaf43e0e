"""What a link's holder changes stands beneath the link at the moment of the change: somebody comes in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from satchel.server.adapters.machine import MachineClock
from satchel.server.db.engine import Work
from satchel.server.db.schema import migrate
from satchel.server.db.sqlite import InlineSqliteDatabase
from satchel.server.gateway.app import Gateway
from tests.integration.test_link_streams import Door
from tests.support.clocks import SteppingClock
from tests.support.memory_service import open_service

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")
T = TypeVar("T")


class Interposed(InlineSqliteDatabase):
    """Lets somebody act right before the next commit."""

    def __init__(self) -> None:
        super().__init__()
        self.act: Callable[[], Awaitable[None]] | None = None

    async def write(self, key: bytes, work: Work[T]) -> T:
        act = self.act
        if act is not None and work.__qualname__.startswith("commit."):
            self.act = None
            await act()
        return await super().write(key, work)


@pytest.mark.parametrize("end", ["moved out", "revoked"])
@pytest.mark.parametrize("route", ["upload", "content", "folders", "move", "delete"])
def test_no_change_through_a_link_reaches_what_has_just_left_it(route: str, end: str) -> None:
    async def work() -> None:
        store = Interposed()
        await migrate(store, MachineClock())
        service = await open_service(store)
        door = Door(service, SteppingClock(), Gateway(service.services))
        token = service.token

        async def told(method: str, path: str, body: object = None, query: str = "") -> dict[str, object]:
            raw = json.dumps(body).encode() if body is not None else b""
            other = Door(service, door.clock, door.gateway)
            assert await other.ask(method, path, raw, query=query, token=token) in (200, 201, 204), other.body
            return json.loads(other.body) if other.body else {}

        for path in ("/docs", "/docs/in", "/docs/in/deep", "/out"):
            folder = await told("POST", "/api/v1/folders", {"path": path})
        inner = await told("GET", "/api/v1/entry", query="path=/docs/in")
        file = await told("PUT", "/api/v1/content", query="path=/docs/in/a")
        link = await told("POST", "/api/v1/links", {"path": "/docs", "permission": "edit"})
        public = f"/api/v1/public/{link['token']}"
        asked: dict[str, tuple[str, bytes, str]] = {
            "upload": ("PUT", b"new", f"name=new&parent={inner['id']}"),
            "content": ("PUT", b"other", f"id={file['id']}"),
            "folders": ("POST", json.dumps({"name": "new", "parent": inner["id"]}).encode(), ""),
            "move": ("POST", json.dumps({"id": file["id"], "name": "b", "parent": inner["id"]}).encode(), ""),
            "delete": ("POST", json.dumps({"id": file["id"]}).encode(), ""),
        }
        heads = [0]

        async def head() -> int:
            rows = await store.read(lambda conn: conn.fetch("SELECT head_seq FROM namespaces"))
            return int(rows[0][0])

        async def between() -> None:
            if end == "moved out":
                await told("POST", "/api/v1/move", {"from": "/docs/in", "to": "/out/in"})
            else:
                await told("DELETE", f"/api/v1/links/{link['id']}")
            heads[0] = await head()

        method, body, query = asked[route]
        store.act = between
        assert folder["name"] == "out"
        status = await door.ask(method, f"{public}/{route}", body, query=query)
        assert store.act is None, "nobody came in between"
        assert (status, await head()) == (404, heads[0])

    asyncio.run(work())
