"""The typed REST session believes no answer: what does not decode is a fault that says so."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from satchel.core.errors import MessageInvalid, Unavailable
from satchel.device.api import Api
from tests.support.bad_server import bad_server

NO_UTF8 = b'{"code": "\xff", "path": "\xc3("}'
DEEP = b'{"more": ' + b"[" * 20_000


async def account(answer: bytes, status: int) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(body=answer, status=status, content_type="application/json")

    async with bad_server(handle) as url, Api(url, "token") as api:
        await api.account()


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"[]", NO_UTF8, b'{"account": "\xff"}', DEEP])
def test_an_answer_that_does_not_decode_is_told(answer: bytes) -> None:
    with pytest.raises(MessageInvalid):
        asyncio.run(account(answer, 200))


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"error": ' + NO_UTF8 + b"}", DEEP])
def test_an_error_that_does_not_decode_is_none_of_ours(answer: bytes) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(account(answer, 500))
