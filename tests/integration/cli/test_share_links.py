"""`satchel share link|request|links`, as a person types them, against a real server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.cli.share_links import parse_end_ms
from satchel.core.errors import Fault
from tests.support.devices import Device
from tests.support.server import running_server


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    folder = tmp_path_factory.mktemp("share")
    with running_server(folder) as server:
        made = Device(folder / "home", folder / "folder", "laptop", server.add_user("ann"))
        made.sign_in()
        (folder / "a.txt").write_text("the letter")
        assert made.cli("mkdir", "/docs").code == 0
        assert made.cli("put", str(folder / "a.txt"), "/docs").code == 0
        yield made


def fetched(address: str, *, data: bytes | None = None, method: str = "GET") -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data=data, method=method), timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def public(address: str, route: str) -> str:
    return address.replace("/s/", "/api/v1/public/") + route


def test_a_link_is_made_used_listed_and_revoked(laptop: Device) -> None:
    made = laptop.cli("share", "link", "/docs/a.txt", "--expires", "7d", "--max-downloads", "1")
    assert made.code == 0, made
    address = made.out.strip()
    assert address.startswith(f"{laptop.user.url}/s/")
    assert "not shown again" in made.err
    assert fetched(public(address, "/content")) == (200, b"the letter")
    assert fetched(public(address, "/content"))[0] == 404
    (listed,) = json.loads(laptop.cli("share", "links", "list", "--json").out)
    assert (listed["path"], listed["downloads"], listed["downloads_max"], listed["url"]) == ("/docs/a.txt", 1, 1, "")
    shown = laptop.cli("share", "links").out
    assert "1 of 1" in shown
    assert address.rpartition("/")[2] not in shown
    assert laptop.cli("share", "links", "revoke", listed["id"][-10:]).code == 0
    assert laptop.cli("share", "links").out.strip() == "You have no links."
    assert laptop.cli("share", "links", "revoke", listed["id"]).code == 21


def test_a_password_comes_from_stdin_and_locks(laptop: Device) -> None:
    made = laptop.cli("share", "link", "/docs", "--password-stdin", "--json", stdin="a good password\n")
    link = json.loads(made.out)
    assert (link["has_password"], link["expires_ms"] > link["created_ms"]) == (True, True)
    assert json.loads(fetched(link["url"])[1])["is_locked"]
    assert fetched(public(link["url"], "/list"))[0] == 403
    assert laptop.cli("share", "link", "/docs", "--password-stdin", stdin="\n").code == 1
    assert laptop.cli("share", "link", "/docs", "--password-stdin", stdin="short\n").code == 26


def test_a_file_request_takes_files(laptop: Device, tmp_path: Path) -> None:
    address = laptop.cli("share", "request", "/docs", "--until", "1h").out.strip()
    assert fetched(public(address, "/upload?name=sent.txt"), data=b"sent", method="PUT")[0] == 201
    assert laptop.cli("cat", "/docs/sent.txt").out == "sent"
    assert fetched(public(address, "/list"))[0] == 404


def test_what_cannot_be_shared_is_said_clearly(laptop: Device) -> None:
    assert laptop.cli("share", "link", "/nothing").code == 21
    assert laptop.cli("share", "link", "/").code == 26
    assert laptop.cli("share", "request", "/docs/a.txt").code == 26
    assert laptop.cli("share", "link", "/docs", "--permission", "all").code == 1
    assert "no time" in laptop.cli("share", "link", "/docs", "--expires", "soon").err


def test_an_end_is_a_while_a_time_or_never() -> None:
    assert parse_end_ms("7d", 1_000.0) == 1_000_000 + 7 * 86_400_000
    assert parse_end_ms(" 30 m", 0.0) == 1_800_000
    assert parse_end_ms("never") is None
    assert parse_end_ms("2026-12-24T18:00:00+00:00") == 1_798_135_200_000
    for wrong in ("", "7", "d", "7y", "-1d", "tomorrow"):
        with pytest.raises(Fault):
            parse_end_ms(wrong)
