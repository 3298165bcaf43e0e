"""Search against a real server: what the route and the commands say, and what another account finds of it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.cli.exit_codes import NOT_FOUND
from satchel.core.limits import MIB
from tests.support.devices import Device
from tests.support.server import RunningServer, Session, ask, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("search")) as running:
        yield running


@pytest.fixture(scope="module")
def laptop(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A device of an account with a small tree."""
    folder = tmp_path_factory.mktemp("laptop")
    made = Device(folder / "home", folder / "folder", "laptop", server.add_user("ann"))
    made.sign_in()
    return made


@pytest.fixture(scope="module")
def session(laptop: Device) -> Session:
    made = laptop.user.sign_in("program")
    for path in ("/Letters", "/Letters/old"):
        assert made.ask("POST", "/api/v1/folders", {"path": path}).status == 201
    for path, mtime_ms in (
        ("/Letters/To Bob.txt", 1_000),
        ("/Letters/old/to bob 2.pdf", 2_000),
        ("/bobsled.txt", 3_000),
    ):
        query = {"path": path, "mtime_ns": mtime_ms * 1_000_000}
        assert ask(made.url, "PUT", "/api/v1/content", b"x", token=made.token, query=query).status == 200
    return made


def found(session: Session, q: str, **query: object) -> list[str]:
    answer = session.ask("GET", "/api/v1/search", q=q, **query)
    assert answer.status == 200, answer.body
    return [item["path"] for item in answer.json()["items"]]


def test_an_answer_says_where_what_and_how(session: Session) -> None:
    page = session.ask("GET", "/api/v1/search", q="bob").json()
    assert (page["is_all"], page["is_complete"], page["after"]) == (True, True, "")
    assert [item["name"] for item in page["items"]] == ["bobsled.txt", "to bob 2.pdf", "To Bob.txt"]
    item = page["items"][2]
    assert (item["path"], item["kind"], item["size"], item["fits"]) == ("/Letters/To Bob.txt", "file", 1, "word")
    assert item["matches"] == [[3, 6]]
    entry = session.ask("GET", "/api/v1/entry", path=item["path"]).json()
    assert (item["id"], item["rev"], item["namespace"]) == (entry["id"], entry["rev"], session.root_ns.hex())


def test_filters_leave_out_what_they_say(session: Session) -> None:
    old, new, sled = "/Letters/old/to bob 2.pdf", "/Letters/To Bob.txt", "/bobsled.txt"
    assert found(session, "bob", path="/Letters") == [old, new]
    assert found(session, "bob", path="/Letters/old") == found(session, "bob", extension=".PDF") == [old]
    assert found(session, "l", kind="folder") == ["/Letters"]
    assert found(session, "bob", modified_from_ms=2_000) == [sled, old]
    assert found(session, "bob", modified_from_ms=1_000, modified_until_ms=2_000) == [new]
    assert found(session, "bob", kind="symlink") == []


def test_pages_hold_each_once(session: Session) -> None:
    whole, pages, after = found(session, "bob"), [], ""
    while True:
        page = session.ask("GET", "/api/v1/search", q="bob", limit=1, after=after).json()
        pages += [item["path"] for item in page["items"]]
        if not (after := page["after"]):
            break
    assert pages == whole


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"q": ""},
        {"q": "1 2 3 4 5 6 7 8 9"},
        {"q": "a" * 256},
        {"q": "a", "limit": 0},
        {"q": "a", "limit": 201},
        {"q": "a", "kind": "none"},
        {"q": "a", "after": "-1"},
        {"q": "a", "after": "9999999999"},
        {"q": "a", "modified_from_ms": -1},
        {"q": "a", "modified_from_ms": 2**70},
    ],
)
def test_what_cannot_be_asked_is_said(session: Session, query: dict[str, object]) -> None:
    answer = session.ask("GET", "/api/v1/search", **query)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "message_invalid")


def test_odd_questions_find_nothing_and_break_nothing(session: Session) -> None:
    for q in ("\0", "%", "_", "'", '"', "\\", "\U0001f600", ".*", "(", "\x01\x02"):
        assert session.ask("GET", "/api/v1/search", q=f"{q}zz").json()["items"] == []
    assert session.ask("GET", "/api/v1/search", q="bob", path="/nowhere").status == 404


def test_another_account_finds_nothing_and_a_revoked_token_asks_nothing(
    server: RunningServer, session: Session
) -> None:
    other = server.add_user("bob").sign_in("laptop")
    assert found(other, "bob") == []
    unknown = other.ask("GET", "/api/v1/search", q="bob", path="/nowhere").json()["error"]
    theirs = other.ask("GET", "/api/v1/search", q="bob", path="/Letters").json()["error"]
    assert {**unknown, "id": "", "fields": {}} == {**theirs, "id": "", "fields": {}}
    assert other.ask("POST", "/api/v1/logout").status in (200, 204)
    assert other.ask("GET", "/api/v1/search", q="bob").status == 401
    assert ask(session.url, "GET", "/api/v1/search", query={"q": "bob"}).status == 401


def test_a_document_gives_its_text_to_who_may_read_it(server: RunningServer, session: Session) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("word/document.xml", "<d><p><t>Dear Bob</t></p></d>")
    for path, data in (
        ("/Letters/dear.docx", archive.getvalue()),
        ("/broken.docx", b"PK"),
        ("/photo.png", b"PNG"),
        ("/big.txt", b"x" * 17 * MIB),
    ):
        assert ask(session.url, "PUT", "/api/v1/content", data, token=session.token, query={"path": path}).status == 200
    answer = session.ask("GET", "/api/v1/text", path="/Letters/dear.docx")
    assert (answer.status, answer.json()["text"], answer.json()["is_cut"]) == (200, "Dear Bob\n", False)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert session.ask("GET", "/api/v1/text", path="/bobsled.txt", chars=1).json()["text"] == "x"
    for path, reason in (("/broken.docx", "unreadable"), ("/Letters", "kind"), ("/photo.png", "kind")):
        error = session.ask("GET", "/api/v1/text", path=path).json()["error"]
        assert (error["code"], error["fields"]["reason"]) == ("message_invalid", reason)
    assert session.ask("GET", "/api/v1/text", path="/big.txt").json()["error"]["code"] == "limit_exceeded"
    other = server.add_user("eve").sign_in("laptop")
    theirs = other.ask("GET", "/api/v1/text", id=answer.json()["id"])
    unknown = other.ask("GET", "/api/v1/text", id="ab" * 16)
    assert theirs.status == unknown.status == 404
    assert {**theirs.json()["error"], "id": ""} == {**unknown.json()["error"], "id": ""}


def test_documents_are_found_by_their_text_by_who_may_read_them(
    server: RunningServer, session: Session, laptop: Device
) -> None:
    body = b"# Harbour\nThe ferry leaves\nat nine."
    query = {"path": "/Letters/ferry.md"}
    assert ask(session.url, "PUT", "/api/v1/content", body, token=session.token, query=query).status == 200
    before = found(session, "bob")
    rebuilt = laptop.cli("admin", "search", "rebuild", "--data", str(Path(server.data)), "--json")
    told = json.loads(rebuilt.out)
    assert (rebuilt.code, told["names"] >= 5, told["documents"] >= 1) == (0, True, True), rebuilt
    assert found(session, "bob") == before
    page = session.ask("GET", "/api/v1/search/text", q="ferr nine").json()
    assert (page["is_complete"], page["is_all"], page["after"]) == (True, True, "")
    [item] = page["items"]
    assert (item["path"], item["snippet"]) == ("/Letters/ferry.md", "# Harbour The ferry leaves at nine.")
    assert item["matches"] == [[14, 18], [30, 34]]
    entry = session.ask("GET", "/api/v1/entry", path=item["path"]).json()
    assert (item["id"], item["rev"], item["namespace"]) == (entry["id"], entry["rev"], session.root_ns.hex())
    for bad in ({}, {"q": ""}, {"q": "--"}, {"q": "a b c d e f g h i"}, {"q": "a", "after": "x"}):
        assert session.ask("GET", "/api/v1/search/text", **bad).json()["error"]["code"] == "message_invalid"
    other = server.add_user("cid").sign_in("laptop")
    assert other.ask("GET", "/api/v1/search/text", q="ferry").json()["items"] == []
    theirs, unknown = (other.ask("GET", "/api/v1/search/text", q="f", path=path) for path in ("/Letters", "/no"))
    assert (theirs.status, unknown.status) == (404, 404)
    assert ask(session.url, "GET", "/api/v1/search/text", query={"q": "ferry"}).status == 401
    shown = laptop.cli("search", "ferry", "nine")
    assert shown.out.splitlines() == ["/Letters/ferry.md", "    # Harbour The ferry leaves at nine."]
    assert laptop.cli("find", "--server", "to bob", "/Letters/old").out == "/Letters/old/to bob 2.pdf\n"
    assert laptop.cli("find", "--server", "nothing of that name").code == NOT_FOUND
    assert session.ask("POST", "/api/v1/delete", {"path": "/Letters/ferry.md"}).status == 204
    assert session.ask("GET", "/api/v1/search/text", q="ferry").json()["items"] == []
