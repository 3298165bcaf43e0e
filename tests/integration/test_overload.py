"""With too much at work the service says so at once, and when to come again; the next request is answered again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest

from satchel.core.ids import AccountId
from satchel.core.limits import REQUESTS_PER_ACCOUNT_MAX
from satchel.core.messages import ErrorReply, decode_plain
from satchel.server.gateway.app import Gateway
from satchel.server.gateway.raw import WORKING_MAX, Message, Room
from tests.support.memory_service import MemoryService, open_service

# Of the framework's next major version; the service itself runs with it in a process of its own.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")

WAITING = "/sync/longpoll"
ANSWERED_S = 60.0


class Asked:
    """One request through the whole door, and its answer."""

    def __init__(self, service: MemoryService) -> None:
        self._gateway = Gateway(service.services)
        self._token = service.token

    async def ask(self, method: str, path: str, query: bytes = b"") -> tuple[int, dict[bytes, bytes], bytes]:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(dict(message))

        scope: Message = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query,
            "headers": [(b"authorization", b"Bearer " + self._token.encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 1),
            "scheme": "http",
            "http_version": "1.1",
        }
        async with asyncio.timeout(ANSWERED_S):
            await self._gateway(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(each.get("body", b"") for each in sent[1:])


def with_service(work: Callable[[MemoryService, Asked], Awaitable[None]]) -> None:
    async def main() -> None:
        service = await open_service()
        await work(service, Asked(service))

    asyncio.run(main())


def busy(room: Room, account: AccountId, count: int) -> ExitStack:
    """Have so many requests of the account at work until the stack is closed."""
    stack = ExitStack()
    for _ in range(count):
        stack.enter_context(room.working(account))
    return stack


async def account_of(service: MemoryService) -> AccountId:
    return (await service.services.identity.of_token(service.token)).account_id


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/files"), ("GET", "/api/v1/content"), ("POST", "/sync/v1/namespaces")]
)
def test_an_account_with_too_many_requests_is_told_to_wait(method: str, path: str) -> None:
    async def work(service: MemoryService, door: Asked) -> None:
        with busy(service.services.room, await account_of(service), REQUESTS_PER_ACCOUNT_MAX):
            status, headers, body = await door.ask(method, path, b"path=/none")
            assert (status, headers[b"retry-after"]) == (429, b"1")
            assert b"too_many_requests" in body
        status, _, _ = await door.ask(method, path, b"path=/none")
        assert status in (200, 404)

    with_service(work)


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/v1/files"), ("POST", "/sync/v1/namespaces")])
def test_a_server_with_too_much_to_do_says_so(method: str, path: str) -> None:
    async def work(service: MemoryService, door: Asked) -> None:
        with ExitStack() as stack:
            for number in range(WORKING_MAX // REQUESTS_PER_ACCOUNT_MAX):
                account = AccountId(bytes([number]) * 16)
                stack.enter_context(busy(service.services.room, account, REQUESTS_PER_ACCOUNT_MAX))
            status, headers, body = await door.ask(method, path)
            assert status == 503
            assert int(headers[b"retry-after"]) >= 1
            if path.startswith("/sync/v1"):
                assert decode_plain(body, ErrorReply).retry_after_s >= 1
            # Who only asks whether it is well is answered.
            assert (await door.ask("GET", "/health"))[0] == 200
        assert (await door.ask(method, path))[0] == 200

    with_service(work)


def test_who_waits_for_changes_takes_no_place_of_those_that_work() -> None:
    async def work(service: MemoryService, door: Asked) -> None:
        cursor = (await door.ask("GET", "/sync"))[2].partition(b'"cursor":"')[2].partition(b'"')[0]
        with busy(service.services.room, await account_of(service), REQUESTS_PER_ACCOUNT_MAX):
            status, _, _ = await door.ask("GET", WAITING, b"timeout=0&cursor=" + cursor)
            assert status == 200

    with_service(work)
