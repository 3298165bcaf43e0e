"""Canary secrets are sent through flows and errors of a real server; none of them is in its logs or metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.server import RunningServer, ask, running_server
from tests.support.wire import Refusal, Wire, raw_block

PASSWORD = "canary-password-1"
WRONG = "canary-wrong-password-2"
TOKEN = "canary-token-3-abcdefghijklmnopqrstuvwxyz"
LINK = "canary-link-4-abcdefghijklmnopqrstuvwxyz"
KEY = "canary-s3-key-5"
CONTENT = b"canary-content-6"
VALKEY = "canary-valkey-7"
NAME = "canary-name-8.txt"
CANARIES = (PASSWORD, WRONG, TOKEN, LINK, KEY, CONTENT.decode(), VALKEY, NAME)


def found_in(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


def test_no_secret_is_in_logs_or_metrics(tmp_path: Path) -> None:
    environment = {
        "SATCHEL_METRICS_LISTEN": "0",
        "SATCHEL_LOG_JSON": "true",
        "AWS_SECRET_ACCESS_KEY": KEY,
        # Nobody answers there: what is told of it holds its address.
        "SATCHEL_STATE_URL": f"redis://:{VALKEY}@127.0.0.1:1/0",
    }
    with running_server(tmp_path, "--log-level", "debug", environment=environment) as server:
        user = server.add_user("ann", password=PASSWORD)
        session = user.sign_in()
        login = {"user": "ann", "password": WRONG, "device_name": "x"}
        assert ask(server.url, "POST", "/api/v1/login", login).status == 401
        assert ask(server.url, "POST", "/api/v1/login", {**login, "more": WRONG}).status == 400
        assert ask(server.url, "GET", "/api/v1/account", token=TOKEN).status == 401
        assert ask(server.url, "GET", "/api/v1/account", headers={"Authorization": f"Basic {TOKEN}"}).status == 401
        assert ask(server.url, "GET", f"/s/{LINK}", query={"token": TOKEN, "X-Amz-Signature": KEY}).status == 404
        assert session.ask("PUT", "/api/v1/content", CONTENT, path=f"/{NAME}").status in (200, 201)
        with Wire(session) as wire:
            with pytest.raises(Refusal):
                wire.commit(wire.create(NAME, b"other"), inline=[CONTENT[:-1], b"", CONTENT])
            with pytest.raises(Refusal):
                wire.call("blocks/put", raw_block(CONTENT), dict)
        answer = broken(server, session.token)
        text = server.log() + "\n".join(server.metrics())
        assert found_in(text) == [] and session.token not in text
        lines = [json.loads(line) for line in server.log().splitlines()]
        failed = [line for line in lines if line["event"] in ("request.failed", "request.broken")]
        # The answer's header, its body and the log name one request.
        assert answer.headers["x-request-id"] == answer.json()["error"]["id"]
        assert answer.headers["x-request-id"] in [line["request"] for line in failed]
    assert found_in(server.log()) == []


def broken(server: RunningServer, token: str):  # type: ignore[no-untyped-def]
    """Return the answer to an upload that the server cannot store."""
    blocks = server.data / "blocks"
    blocks.rename(server.data / "elsewhere")
    blocks.write_text("no folder")
    try:
        for number in range(100):
            told = ask(server.url, "GET", "/api/v1/content", token=token, query={"path": f"/{NAME}"})
            if told.status >= 500:
                return told
            body = (CONTENT + b"%d" % number) * 3_000_000
            told = ask(server.url, "PUT", "/api/v1/content", body, token=token, query={"path": f"/{number}{NAME}"})
            if told.status >= 500:
                return told
        raise AssertionError("the server does not mind that its blocks are gone")
    finally:
        blocks.unlink()
        (server.data / "elsewhere").rename(blocks)


def test_a_store_that_cannot_be_reached_stops_the_start_without_its_password(tmp_path: Path) -> None:
    server = RunningServer(
        tmp_path / "data",
        environment={"SATCHEL_DATABASE_URL": f"postgresql://satchel:{VALKEY}@127.0.0.1:1/x"},
    )
    with pytest.raises(RuntimeError) as failed:
        server.start()
    assert found_in(server.log() + str(failed.value)) == []
