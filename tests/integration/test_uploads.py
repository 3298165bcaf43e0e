"""Uploads in parts against a real server: interrupted at any byte, by either side, they end with equal bytes."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import socket
from pathlib import Path

import pytest

from satchel.core.limits import KIB, MIB
from tests.support.server import Answer, RunningServer, Session, ask, running_server

_numbers = itertools.count()


def begin(session: Session, size: int, **more: object) -> str:
    told = session.ask("POST", "/api/v1/uploads", {"path": "/film.mp4", "size": size, **more})
    assert told.status == 201, told.body
    assert told.headers["location"] == f"/api/v1/uploads/{told.json()['id']}"
    return str(told.json()["id"])


def add(session: Session, upload: str, offset: int, data: bytes) -> Answer:
    headers = {"Upload-Offset": str(offset)}
    return ask(session.url, "PATCH", f"/api/v1/uploads/{upload}", data, token=session.token, headers=headers)


def stands(session: Session, upload: str) -> int:
    told = ask(session.url, "HEAD", f"/api/v1/uploads/{upload}", token=session.token)
    assert (told.status, told.body) == (200, b"")
    return int(told.headers["upload-offset"])


def finish(session: Session, upload: str) -> Answer:
    return session.ask("POST", f"/api/v1/uploads/{upload}/finish")


def content(session: Session, path: str = "/film.mp4") -> bytes:
    told = session.ask("GET", "/api/v1/content", path=path)
    assert told.status == 200
    return told.body


def broken_off(session: Session, server: RunningServer, upload: str, offset: int, data: bytes, declared: int) -> None:
    """Send the beginning of a part and break the connection."""
    head = (
        f"PATCH /api/v1/uploads/{upload} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {session.token}\r\n"
        f"Upload-Offset: {offset}\r\nContent-Length: {declared}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head.encode() + data)


@pytest.mark.parametrize("size", [0, 1, 300 * KIB, 9 * MIB + 5])
def test_a_file_that_came_in_parts_is_cut_as_one_that_came_at_once(session: Session, size: int) -> None:
    data, choice = os.urandom(size), random.Random(size)
    upload = begin(session, size, sha256=hashlib.sha256(data).hexdigest())
    at = 0
    while at < size:
        length = choice.choice([1, 100, 70 * KIB, 600 * KIB, 3 * MIB])
        assert add(session, upload, at, data[at : at + length]).status == 204
        at = min(size, at + length)
        assert stands(session, upload) == at
    done = finish(session, upload)
    assert (done.status, done.json()["size"]) == (200, size), done.body
    assert content(session) == data
    whole = session.ask("PUT", "/api/v1/content", data, path="/at once").json()
    assert done.json()["content_hash"] == whole["content_hash"]
    assert finish(session, upload).json() == done.json()


def test_parts_that_break_off_at_any_byte_lose_nothing_that_was_told(server: RunningServer, session: Session) -> None:
    data, choice = os.urandom(12 * MIB), random.Random(7)
    upload = begin(session, len(data), sha256=hashlib.sha256(data).hexdigest())
    at = told = 0
    while at < len(data):
        length = choice.randrange(1, 5 * MIB)
        if choice.random() < 0.7:
            broken_off(session, server, upload, at, data[at : at + choice.randrange(length)], len(data) - at)
        else:
            # Refused while it is sent, it is a broken connection for whoever sends.
            with contextlib.suppress(OSError):
                answer = add(session, upload, at, data[at : at + length])
                if answer.status == 204:
                    told = int(answer.headers["upload-offset"])
        # The broken request may still be at work: whoever comes with another offset is told so, and asks again.
        at = stands(session, upload)
        assert at >= told
    while (done := finish(session, upload)).status == 409:
        pass
    assert done.status == 200, done.body
    assert content(session) == data


def test_an_upload_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    data = os.urandom(10 * MIB)
    with running_server(tmp_path) as server:
        session = server.add_user("ann").sign_in()
        upload = begin(session, len(data), sha256=hashlib.sha256(data).hexdigest())
        assert add(session, upload, 0, data[: 7 * MIB]).status == 204
        server.kill()
        server.start()
        again = Session(server.url, session.token, session.account_id, session.device_id, session.root_ns)
        assert stands(again, upload) == 7 * MIB
        assert add(again, upload, 7 * MIB, data[7 * MIB :]).status == 204
        server.kill()
        server.start()
        again = Session(server.url, session.token, session.account_id, session.device_id, session.root_ns)
        assert finish(again, upload).status == 200
        assert content(again) == data


def test_a_part_that_begins_elsewhere_is_refused_and_told_where(session: Session) -> None:
    upload = begin(session, 10)
    assert add(session, upload, 0, b"01234").status == 204
    shown = session.ask("GET", f"/api/v1/uploads/{upload}")
    assert (shown.json()["offset"], shown.headers["upload-offset"]) == (5, "5")
    refused = add(session, upload, 3, b"34567")
    assert (refused.status, refused.json()["error"]["code"]) == (409, "offset_mismatch")
    assert refused.json()["error"]["fields"] == {"expected": 3, "actual": 5}
    early = finish(session, upload)
    assert (early.status, early.json()["error"]["code"]) == (409, "offset_mismatch")
    without = session.ask("PATCH", f"/api/v1/uploads/{upload}", b"5")
    assert (without.status, without.json()["error"]["code"]) == (400, "message_invalid")
    more = add(session, upload, 5, b"56789 and more")
    assert (more.status, stands(session, upload)) == (400, 10)
    assert finish(session, upload).status == 200
    assert content(session) == b"0123456789"


def test_bytes_that_are_not_those_that_were_said_make_no_file(session: Session) -> None:
    upload = begin(session, 4, sha256=hashlib.sha256(b"good").hexdigest())
    assert add(session, upload, 0, b"evil").status == 204
    refused = finish(session, upload)
    assert (refused.status, refused.json()["error"]["code"]) == (422, "block_mismatch")
    assert session.ask("GET", "/api/v1/entry", path="/film.mp4").status == 404
    assert stands(session, upload) == 0
    assert add(session, upload, 0, b"good").status == 204
    assert finish(session, upload).status == 200
    assert content(session) == b"good"


def test_the_rev_that_was_named_must_still_be_there(session: Session) -> None:
    first = session.ask("PUT", "/api/v1/content", b"one", path="/film.mp4").json()
    replacing = begin(session, 3, base_rev=first["rev"])
    only_new = begin(session, 3, base_rev=0)
    whatever = begin(session, 3)
    for upload in (replacing, only_new, whatever):
        assert add(session, upload, 0, b"two").status == 204
    assert finish(session, only_new).json()["error"]["code"] == "precondition_failed"
    assert finish(session, replacing).status == 200
    session.ask("PUT", "/api/v1/content", b"other", path="/film.mp4")
    late = begin(session, 5, base_rev=first["rev"])
    assert add(session, late, 0, b"three").status == 204
    assert finish(session, late).json()["error"]["code"] == "precondition_failed"
    assert content(session) == b"other"
    assert finish(session, whatever).status == 200
    assert content(session) == b"two"
    assert len(session.ask("GET", "/api/v1/versions", path="/film.mp4").json()["versions"]) == 4


def test_an_upload_stands_where_its_folder_went_meanwhile(session: Session) -> None:
    folder = session.ask("POST", "/api/v1/folders", {"path": "/docs"}).json()
    told = session.ask("POST", "/api/v1/uploads", {"parent": folder["id"], "name": "a.txt", "size": 1}).json()
    assert add(session, told["id"], 0, b"a").status == 204
    session.ask("POST", "/api/v1/move", {"from": "/docs", "to": "/papers"})
    assert finish(session, told["id"]).status == 200
    assert content(session, "/papers/a.txt") == b"a"


def test_nobody_else_sees_or_changes_an_upload(server: RunningServer, session: Session) -> None:
    upload = begin(session, 3)
    add(session, upload, 0, b"a")
    other = server.add_user(f"other {next(_numbers)}").sign_in()
    unknown = "00" * 16
    for method, end in (("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/finish")):
        told = [
            ask(
                other.url,
                method,
                f"/api/v1/uploads/{name}{end}",
                b"x" if method == "PATCH" else None,
                token=other.token,
                headers={"Upload-Offset": "1"},
            )
            for name in (upload, unknown)
        ]
        errors = [{**each.json()["error"], "id": ""} for each in told]
        assert (told[0].status, errors[0]) == (404, errors[1]), method
    assert other.ask("GET", "/api/v1/uploads").json()["items"] == []
    assert stands(session, upload) == 1


def test_uploads_are_bounded_in_number_and_by_the_quota(server: RunningServer) -> None:
    session = server.add_user(f"other {next(_numbers)}", quota_bytes=1_000).sign_in()
    first = begin(session, 600)
    refused = session.ask("POST", "/api/v1/uploads", {"path": "/b", "size": 600})
    assert (refused.status, refused.json()["error"]["code"]) == (507, "quota_exceeded")
    assert session.ask("DELETE", f"/api/v1/uploads/{first}").status == 204
    assert session.ask("GET", f"/api/v1/uploads/{first}").status == 404
    ids = [begin(session, 0, path=f"/{number}") for number in range(100)]
    refused = session.ask("POST", "/api/v1/uploads", {"path": "/b", "size": 0})
    assert (refused.status, refused.json()["error"]["fields"]["limit"]) == (413, "UPLOADS_PER_ACCOUNT_MAX")
    page = session.ask("GET", "/api/v1/uploads", limit=60).json()
    rest = session.ask("GET", "/api/v1/uploads", limit=60, after=page["after"]).json()
    assert [one["id"] for one in [*page["items"], *rest["items"]]] == ids
