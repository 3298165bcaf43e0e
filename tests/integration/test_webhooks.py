"""Webhooks: told at least once and in order, signed, never to a place that is not public."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from satchel.core.errors import MessageInvalid, Unavailable
from satchel.core.limits import WEBHOOK_FAILING_DAYS_MAX
from satchel.server.adapters.machine import MachineClock
from satchel.server.adapters.posts_http import HttpPoster
from satchel.server.db.opening import open_database
from satchel.server.feed.webhooks import BACKOFF_MS_MAX, DAY_MS, LAG_MS, tell_webhooks
from tests.support.clocks import SteppingClock
from tests.support.server import Answer, RunningServer, Session, ask, running_server

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
EVENTS = ["file.changed", "file.deleted"]


class Receiver:
    """Takes requests on loopback. status: what it answers next."""

    def __init__(self) -> None:
        self.status = 200
        self.url = ""
        self.taken: list[tuple[dict[str, str], bytes]] = []

    @property
    def events(self) -> list[dict]:  # type: ignore[type-arg]
        return [event for _, body in self.taken for event in json.loads(body)["events"]]

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head.split("\r\n")[1:])}
        body = await reader.readexactly(int(headers["content-length"]))
        self.taken.append((headers, body))
        location = f"Location: {self.url}/elsewhere\r\n" if self.status == 302 else ""
        writer.write(f"HTTP/1.1 {self.status} x\r\n{location}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def receiving(receiver: Receiver, port: int = 0) -> AsyncIterator[None]:
    server = await asyncio.start_server(receiver.connected, "127.0.0.1", port)
    async with server:
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    # Without upkeep of its own: it would send while a test holds the loop that has to answer.
    environment = {"SATCHEL_WEBHOOK_NETWORKS": str(LOOPBACK), "SATCHEL_ROLES": "gateway,notifier"}
    with running_server(tmp_path, environment=environment) as running:
        yield running


def told(session: Session, **wanted: object) -> Answer:
    return session.ask("POST", "/api/v1/webhooks", wanted)


def at(server: RunningServer, session: Session) -> Session:
    """Return the session at a server that was started again."""
    return replace(session, url=server.url)


async def tell(server: RunningServer, now_ms: int, poster: HttpPoster | None = None) -> int:
    """Do once what the upkeep of a server would do; the server is stopped."""
    db = await open_database(f"sqlite:///{server.data}/metadata.db", MachineClock())
    try:
        return await tell_webhooks(db, SteppingClock(now_ms), poster or HttpPoster((LOOPBACK,)))
    finally:
        await db.close()


def test_everything_is_told_once_it_is_taken_and_not_before(server: RunningServer) -> None:
    ann, ben = server.add_user("ann").sign_in(), server.add_user("ben").sign_in()
    receiver = Receiver()
    ann.ask("PUT", "/api/v1/content", b"old", path="/before")

    async def program() -> None:
        async with receiving(receiver):
            made = told(ann, url=receiver.url).json()
            secret = bytes.fromhex(made["secret"])
            ann.ask("PUT", "/api/v1/content", b"a", path="/a")
            ann.ask("POST", "/api/v1/delete", {"path": "/a"})
            ben.ask("PUT", "/api/v1/content", b"b", path="/b")
            ben.ask("POST", "/api/v1/folders", {"path": "/team"})
            shared = ben.ask("POST", "/api/v1/shares", {"path": "/team", "with": [{"user": "ann"}]})
            assert shared.status == 200, shared.body
            link = ann.ask("POST", "/api/v1/links", {"path": "/before"}).json()
            ask(server.url, "GET", f"/s/{link['token']}")
            assert ann.ask("GET", f"/api/v1/links/{link['id']}").json()["hits"] == 1
            server.stop()
            now = MachineClock().now_ms()
            receiver.status = 500
            assert await tell(server, now) == 0
            receiver.status = 302
            assert await tell(server, now + 1) == 0
            assert len(receiver.taken) == 1
            assert await tell(server, now + BACKOFF_MS_MAX) == 0
            receiver.status = 204
            assert await tell(server, now + 3 * BACKOFF_MS_MAX) == 1
            assert await tell(server, now + 4 * BACKOFF_MS_MAX) == 0
            first, second, third = receiver.taken
            names = [json.loads(body)["id"] for _, body in receiver.taken]
            assert names[0] == names[1] == names[2] == third[0]["satchel-delivery"]
            assert [(each["type"], each.get("path", each.get("name"))) for each in json.loads(third[1])["events"]] == [
                ("file.changed", "/a"),
                ("file.deleted", "/a"),
                ("share.invited", "team"),
                ("link.used", "/before"),
            ]
            for headers, body in (first, second, third):
                signed = headers["satchel-timestamp"].encode() + b"." + body
                proof = "sha256=" + hmac.new(secret, signed, hashlib.sha256).hexdigest()
                assert headers["satchel-signature"] == proof
            assert LAG_MS < BACKOFF_MS_MAX
            server.start()
            again = at(server, ann)
            last = again.ask("GET", f"/api/v1/webhooks/{made['id']}/deliveries").json()["items"]
            assert [each["what"] for each in last] == ["taken", "status 302", "status 500"]

    asyncio.run(program())


def test_an_address_that_takes_nothing_is_given_up_and_begun_again_where_it_stood(server: RunningServer) -> None:
    ann = server.add_user("ann").sign_in()
    receiver = Receiver()
    receiver.status = 500

    async def program() -> None:
        async with receiving(receiver):
            made = told(ann, url=receiver.url, events=EVENTS).json()
            ann.ask("PUT", "/api/v1/content", b"a", path="/a")
            server.stop()
            now = MachineClock().now_ms()
            for day in range(WEBHOOK_FAILING_DAYS_MAX + 3):
                await tell(server, now + day * DAY_MS)
            assert len(receiver.taken) == WEBHOOK_FAILING_DAYS_MAX + 1
            server.start()
            again = at(server, ann)
            (shown,) = again.ask("GET", "/api/v1/webhooks").json()["items"]
            assert shown["ended_ms"] is not None
            assert shown["secret"] == ""
            other = again.ask("POST", f"/api/v1/webhooks/{made['id']}/rotate").json()["secret"]
            assert other != made["secret"]
            server.stop()
            receiver.status = 200
            assert await tell(server, now + 20 * DAY_MS) == 1
            headers, body = receiver.taken[-1]
            signed = headers["satchel-timestamp"].encode() + b"." + body
            proof = hmac.new(bytes.fromhex(other), signed, hashlib.sha256).hexdigest()
            assert headers["satchel-signature"] == f"sha256={proof}"
            # What the setting allowed before is looked at again before each connection.
            server.start()
            at(server, ann).ask("PUT", "/api/v1/content", b"b", path="/b")
            server.stop()
            count = len(receiver.taken)
            assert await tell(server, now + 21 * DAY_MS, HttpPoster()) == 0
            assert len(receiver.taken) == count

    asyncio.run(program())


def test_a_webhook_is_seen_and_changed_by_its_owner_alone_and_they_are_few(server: RunningServer) -> None:
    ann, ben = server.add_user("ann").sign_in(), server.add_user("ben").sign_in()
    made = told(ann, url="https://1.1.1.1/hook").json()
    for method, end in (("DELETE", ""), ("POST", "/rotate"), ("GET", "/deliveries")):
        answers = [ben.ask(method, f"/api/v1/webhooks/{name}{end}") for name in (made["id"], "00" * 16)]
        assert [each.status for each in answers] == [404, 404]
        assert len({each.body.replace(each.json()["error"]["id"].encode(), b"") for each in answers}) == 1
    assert ben.ask("GET", "/api/v1/webhooks").json() == {"items": []}
    for _ in range(19):
        assert told(ann, url="https://1.1.1.1/hook", events=EVENTS).status == 201
    refused = told(ann, url="https://1.1.1.1/hook")
    assert (refused.status, refused.json()["error"]["code"]) == (413, "limit_exceeded")
    assert ann.ask("DELETE", f"/api/v1/webhooks/{made['id']}").status == 204
    assert len(ann.ask("GET", "/api/v1/webhooks").json()["items"]) == 19


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://0.0.0.0/",
        "https://10.1.2.3/",
        "https://192.168.0.1:8443/",
        "https://169.254.169.254/latest",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://127.1/",
        "https://224.0.0.1/",
        "http://1.1.1.1/",
        "https://ann@1.1.1.1/",
        "https://1.1.1.1/#a",
        "https://1.1.1.1\\@127.0.0.1/",
        "https://1.1.1.1:99999/",
        "https://a..b/",
        f"https://{'a' * 64}.example/",
        "ftp://1.1.1.1/",
        "file:///etc/passwd",
        "https://",
        "",
    ],
)
def test_nothing_is_sent_to_a_place_that_is_not_public(url: str) -> None:
    poster = HttpPoster()

    async def ask() -> None:
        with pytest.raises(MessageInvalid):
            await poster.check(url)
        with pytest.raises(Unavailable):
            await poster.post(url, {}, b"{}")

    asyncio.run(ask())


def test_a_network_that_the_administrator_named_is_reached_and_no_other() -> None:
    poster = HttpPoster((LOOPBACK,))

    async def ask() -> None:
        await poster.check("http://127.0.0.1:1/")
        await poster.check("https://1.1.1.1/hook")
        for url in ("http://10.0.0.1/", "https://10.0.0.1/", "http://1.1.1.1/"):
            with pytest.raises(MessageInvalid):
                await poster.check(url)

    asyncio.run(ask())
