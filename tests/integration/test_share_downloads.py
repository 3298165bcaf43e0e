"""A download that goes on when its reader's part in the folder ends is cut off."""

from __future__ import annotations

import asyncio
import random

import pytest

from satchel.server.accounts.service import set_quota
from satchel.server.gateway import content
from satchel.server.gateway.app import Gateway
from satchel.server.sharing.people import remove
from tests.integration.test_share_streams import Scene, scene

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")

DATA = random.Random(1).randbytes(5_000_000)


async def asked(play: Scene, token: str, method: str, body: bytes, *, is_ending: bool) -> tuple[int, int]:
    """Ask for `/Team/large`; return the status and how many bytes came. is_ending: bob's part ends meanwhile."""
    gateway, sent = Gateway(play.services), []
    unread, done = [body], asyncio.Event()

    async def receive() -> dict[str, object]:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        if is_ending and not sent:
            await remove(play.services.db, play.services.clock, play.ann, play.ns, play.bob.account_id)
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            done.set()

    scope = {
        "type": "http",
        "method": method,
        "path": "/api/v1/content",
        "raw_path": b"/api/v1/content",
        "root_path": "",
        "query_string": b"path=/Team/large",
        "headers": [(b"authorization", b"Bearer " + token.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
        "scheme": "http",
        "http_version": "1.1",
    }
    try:
        await gateway(scope, receive, send)  # type: ignore[arg-type]
    except Exception:
        # What the server under it closes the connection for.
        assert is_ending
    return int(sent[0]["status"]), sum(len(message.get("body", b"")) for message in sent[1:])


@pytest.mark.parametrize("is_ending", [False, True])
def test_a_download_is_cut_off_when_the_part_ends(monkeypatch: pytest.MonkeyPatch, is_ending: bool) -> None:
    monkeypatch.setattr(content, "RECHECK_MS", 0)
    monkeypatch.setattr(content, "READ_BYTES_MAX", 1)

    async def main() -> None:
        async with scene() as play:
            await set_quota(play.services.db, play.services.clock, "ann", None)
            assert (await asked(play, play.token, "PUT", DATA, is_ending=False))[0] == 200
            status, size = await asked(play, play.token, "GET", b"", is_ending=is_ending)
            assert status == 200
            assert (size == len(DATA)) is not is_ending

    asyncio.run(main())
