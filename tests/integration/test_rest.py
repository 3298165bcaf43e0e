"""REST against a real server: every route does what it says, and says what is wrong in the one form."""

from __future__ import annotations

import itertools
import os
import socket
import threading

import pytest

from satchel.core.limits import MIB
from tests.support.server import PASSWORD, RunningServer, Session, User, ask

_numbers = itertools.count()


@pytest.fixture
def user(server: RunningServer) -> User:
    return server.add_user(f"user {next(_numbers)}")


@pytest.fixture
def session(user: User) -> Session:
    return user.sign_in("laptop")


def put(session: Session, path: str, data: bytes, **headers: str) -> dict:  # type: ignore[type-arg]
    answer = ask(
        session.url, "PUT", "/api/v1/content", data, token=session.token, headers=headers, query={"path": path}
    )
    assert answer.status == 200, answer.body
    return answer.json()


def get(session: Session, path: str, **headers: str) -> tuple[int, bytes]:
    answer = ask(session.url, "GET", "/api/v1/content", token=session.token, headers=headers, query={"path": path})
    return answer.status, answer.body


def code_of(session: Session, method: str, route: str, /, body: object = None, **query: object) -> tuple[int, str]:
    answer = session.ask(method, route, body, **query)
    return answer.status, answer.json()["error"]["code"]


@pytest.mark.parametrize("size", [0, 1, 512 * 1024, 512 * 1024 + 1, 20 * MIB + 7])
def test_a_file_of_any_size_comes_back_as_it_went(session: Session, size: int) -> None:
    data = os.urandom(size)
    item = put(session, "/a.bin", data)
    assert (item["kind"], item["size"], item["name"]) == ("file", size, "a.bin")
    assert get(session, "/a.bin") == (200, data)


def test_a_range_is_exactly_its_bytes(session: Session) -> None:
    data = os.urandom(9 * MIB)
    put(session, "/a.bin", data)
    for told, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=5-1000", 5, 1000),
        (f"bytes={4 * MIB - 3}-{6 * MIB}", 4 * MIB - 3, 6 * MIB),
        (f"bytes={9 * MIB - 1}-", 9 * MIB - 1, 9 * MIB - 1),
        ("bytes=-100", 9 * MIB - 100, 9 * MIB - 1),
        ("bytes=10-999999999", 10, 9 * MIB - 1),
    ):
        assert get(session, "/a.bin", Range=told) == (206, data[first : last + 1]), told
    assert get(session, "/a.bin", Range=f"bytes={9 * MIB}-")[0] == 416
    assert get(session, "/a.bin", Range="lines=1-2") == (200, data)


def test_content_is_harmless_in_a_browser_and_known_by_its_tag(session: Session) -> None:
    put(session, "/evil.html", b"<script>alert(1)</script>")
    answer = session.ask("GET", "/api/v1/content", path="/evil.html")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert get(session, "/evil.html", **{"If-None-Match": answer.headers["etag"]}) == (304, b"")


def test_a_write_at_a_stale_rev_is_refused_and_changes_nothing(session: Session) -> None:
    first = put(session, "/a", b"one")
    second = put(session, "/a", b"two", **{"If-Match": str(first["rev"])})
    answer = ask(
        session.url,
        "PUT",
        "/api/v1/content",
        b"three",
        token=session.token,
        headers={"If-Match": str(first["rev"])},
        query={"path": "/a"},
    )
    assert (answer.status, answer.json()["error"]["code"]) == (412, "precondition_failed")
    assert answer.json()["error"]["fields"] == {"expected": str(first["rev"]), "actual": str(second["rev"])}
    assert get(session, "/a") == (200, b"two")


def test_an_upload_that_breaks_off_leaves_the_file_as_it_was(server: RunningServer, session: Session) -> None:
    put(session, "/a", b"whole")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = (
            "PUT /api/v1/content?path=/a HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {session.token}\r\nContent-Length: 1000\r\n\r\n"
        )
        connection.sendall(head.encode() + b"half")
    put(session, "/b", b"something after it")
    assert get(session, "/a") == (200, b"whole")
    assert len(session.ask("GET", "/api/v1/versions", path="/a").json()["versions"]) == 1


def test_folders_are_made_listed_by_page_moved_and_deleted(session: Session) -> None:
    assert session.ask("POST", "/api/v1/folders", {"path": "/docs"}).status == 201
    for name in ("b", "a", "c"):
        put(session, f"/docs/{name}", name.encode())
    first = session.ask("GET", "/api/v1/files", path="/docs", limit=2).json()
    assert [item["name"] for item in first["items"]] == ["a", "b"]
    rest = session.ask("GET", "/api/v1/files", path="/docs", limit=2, after=first["after"]).json()
    assert ([item["name"] for item in rest["items"]], rest["after"]) == (["c"], "")
    assert session.ask("POST", "/api/v1/move", {"from": "/docs", "to": "/papers"}).json()["name"] == "papers"
    assert get(session, "/papers/a") == (200, b"a")
    assert session.ask("POST", "/api/v1/delete", {"path": "/papers"}).status == 204
    assert code_of(session, "GET", "/api/v1/entry", path="/papers/a") == (404, "not_found")


def test_a_deleted_folder_comes_back_whole_from_the_trash(session: Session) -> None:
    session.ask("POST", "/api/v1/folders", {"path": "/docs"})
    put(session, "/docs/a", b"a")
    session.ask("POST", "/api/v1/delete", {"path": "/docs"})
    (item,) = session.ask("GET", "/api/v1/trash").json()["items"]
    assert (item["path"], item["kind"]) == ("/docs", "folder")
    assert session.ask("POST", "/api/v1/trash/restore", {"id": item["id"]}).status == 200
    assert get(session, "/docs/a") == (200, b"a")
    assert session.ask("GET", "/api/v1/trash").json()["items"] == []


def test_every_version_can_be_fetched_and_restored(session: Session) -> None:
    put(session, "/a", b"one")
    put(session, "/a", b"two")
    versions = session.ask("GET", "/api/v1/versions", path="/a").json()["versions"]
    assert [(version["number"], version["size"], version["device"]) for version in versions] == [
        (2, 3, "laptop"),
        (1, 3, "laptop"),
    ]
    old = versions[1]["rev"]
    assert session.ask("GET", "/api/v1/content", path="/a", rev=old).body == b"one"
    assert session.ask("POST", "/api/v1/restore", {"path": "/a", "rev": old}).status == 200
    assert get(session, "/a") == (200, b"one")
    assert len(session.ask("GET", "/api/v1/versions", path="/a").json()["versions"]) == 3


def test_what_cannot_be_done_is_told_in_the_one_form(session: Session) -> None:
    session.ask("POST", "/api/v1/folders", {"path": "/docs"})
    put(session, "/a", b"a")
    for expected, method, path, body in (
        ((400, "message_invalid"), "POST", "/api/v1/move", {"from": "/docs", "to": "/docs/inner"}),
        ((409, "already_exists"), "POST", "/api/v1/move", {"from": "/a", "to": "/docs"}),
        ((409, "already_exists"), "POST", "/api/v1/folders", {"path": "/docs"}),
        ((404, "not_found"), "POST", "/api/v1/folders", {"path": "/no/where"}),
        ((404, "not_found"), "POST", "/api/v1/folders", {"path": "/a/below"}),
        ((400, "name_invalid"), "POST", "/api/v1/folders", {"path": "/" + "n" * 256}),
        ((400, "message_invalid"), "POST", "/api/v1/delete", {"path": "/"}),
        ((400, "message_invalid"), "POST", "/api/v1/delete", {"unknown": 1}),
        ((400, "message_invalid"), "POST", "/api/v1/delete", b"no json"),
        ((404, "not_found"), "POST", "/api/v1/trash/restore", {"id": "00" * 16}),
        ((400, "message_invalid"), "POST", "/api/v1/trash/restore", {"id": "zz"}),
        ((404, "not_found"), "GET", "/api/v1/nothing", None),
        ((404, "not_found"), "DELETE", "/api/v1/files", None),
        ((404, "not_found"), "GET", "/api/v1/admin/counters", None),
    ):
        answer = session.ask(method, path, body)
        error = answer.json()["error"]
        assert (answer.status, error["code"]) == expected, (method, path, body)
        assert set(error) == {"code", "message", "hint", "fields", "id"}


def test_an_account_never_sees_another(server: RunningServer, session: Session) -> None:
    item = put(session, "/secret", b"secret")
    other = server.add_user(f"user {next(_numbers)}").sign_in()
    assert code_of(other, "GET", "/api/v1/content", path="/secret") == (404, "not_found")
    assert code_of(other, "GET", "/api/v1/content", id=item["id"]) == (404, "not_found")
    assert code_of(other, "GET", "/api/v1/versions", id=item["id"]) == (404, "not_found")
    assert code_of(other, "POST", "/api/v1/trash/restore", {"id": item["id"]}) == (404, "not_found")
    theirs = session.ask("GET", "/api/v1/devices").json()[0]["id"]
    assert code_of(other, "DELETE", f"/api/v1/devices/{theirs}") == (404, "not_found")


def test_an_upload_past_the_quota_is_refused(server: RunningServer) -> None:
    session = server.add_user(f"user {next(_numbers)}", quota_bytes=1_000).sign_in()
    put(session, "/a", b"a" * 900)
    assert code_of(session, "PUT", "/api/v1/content", b"b" * 200, path="/b") == (507, "quota_exceeded")
    account = session.ask("GET", "/api/v1/account").json()
    assert (account["used_bytes"], account["quota_bytes"]) == (900, 1_000)


def test_a_revoked_or_signed_out_device_is_out_at_once(user: User) -> None:
    phone, laptop = user.sign_in("phone"), user.sign_in("laptop")
    assert phone.ask("GET", "/api/v1/account").status == 200
    assert laptop.ask("PATCH", f"/api/v1/devices/{phone.device_id.hex()}", {"name": "old phone"}).status == 204
    shown = {device["name"]: device["is_this"] for device in laptop.ask("GET", "/api/v1/devices").json()}
    assert shown == {"old phone": False, "laptop": True}
    assert laptop.ask("DELETE", f"/api/v1/devices/{phone.device_id.hex()}").status == 204
    assert code_of(phone, "GET", "/api/v1/account") == (401, "unauthenticated")
    assert laptop.ask("POST", "/api/v1/logout").status == 204
    assert code_of(laptop, "GET", "/api/v1/account") == (401, "unauthenticated")


def test_a_wrong_password_and_an_unknown_name_answer_alike(user: User) -> None:
    wrong = {"user": user.name, "password": "wrong password", "device_name": "x"}
    told = [
        ask(user.url, "POST", "/api/v1/login", login).json()["error"]
        for login in (wrong, {**wrong, "user": "nobody at all"})
    ]
    assert [{**error, "id": ""} for error in told] == [{**told[0], "id": ""}] * 2
    assert told[0]["code"] == "unauthenticated"
    assert ask(user.url, "POST", "/api/v1/login", {**wrong, "password": PASSWORD}).status == 200


def test_the_feed_lists_the_tree_and_then_each_change_once(session: Session) -> None:
    for name in ("a", "b", "c"):
        put(session, f"/{name}", name.encode())
    seen, cursor, has_more = [], "", True
    while has_more:
        page = session.ask("GET", "/api/v1/sync", cursor=cursor, limit=2).json()
        seen += [entry["path"] for entry in page["entries"]]
        cursor, has_more = page["cursor"], page["has_more"]
    assert sorted(seen) == ["/a", "/b", "/c"]
    session.ask("POST", "/api/v1/delete", {"path": "/b"})
    page = session.ask("GET", "/sync", cursor=cursor).json()
    assert [(entry["path"], entry["action"], entry["type"]) for entry in page["entries"]] == [("/b", "delete", "file")]


def test_the_long_poll_answers_as_soon_as_something_changed(session: Session) -> None:
    cursor = session.ask("GET", "/sync").json()["cursor"]
    answers: list[dict] = []  # type: ignore[type-arg]
    waiting = threading.Thread(
        target=lambda: answers.append(session.ask("GET", "/sync/longpoll", cursor=cursor, timeout=50).json())
    )
    waiting.start()
    put(session, "/new", b"new")
    waiting.join(60)
    assert [entry["path"] for entry in answers[0]["entries"]] == ["/new"]


def test_the_long_poll_ends_with_nothing_and_the_same_cursor(session: Session) -> None:
    cursor = session.ask("GET", "/sync").json()["cursor"]
    page = session.ask("GET", "/api/v1/sync/longpoll", cursor=cursor, timeout=0).json()
    assert (page["entries"], page["cursor"]) == ([], cursor)
    assert code_of(session, "GET", "/sync/longpoll", cursor="nonsense", timeout=0) == (400, "cursor_invalid")
    assert code_of(session, "GET", "/sync/longpoll", cursor=cursor, timeout=481) == (400, "message_invalid")


def test_the_documentation_names_every_route(server: RunningServer) -> None:
    told = ask(server.url, "GET", "/api/v1/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    assert {"/api/v1/login", "/api/v1/content", "/api/v1/sync", "/api/v1/trash/restore"} <= set(told["paths"])


def test_health_is_told_to_anyone_and_nothing_more(server: RunningServer) -> None:
    answer = ask(server.url, "GET", "/health")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})
