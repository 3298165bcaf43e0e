"""Requests with an Idempotency-Key against a real server: asked again, they are answered again and not done again."""

from __future__ import annotations

import itertools
import json
import threading

import pytest

from tests.support.server import Answer, RunningServer, Session, ask

_numbers = itertools.count()


def asked(session: Session, method: str, route: str, body: object, key: str, **query: object) -> Answer:
    headers = {"Idempotency-Key": key}
    return ask(session.url, method, route, body, token=session.token, headers=headers, query=query)


def test_a_repeated_request_gets_the_first_answer_and_does_nothing(session: Session) -> None:
    first = asked(session, "POST", "/api/v1/folders", {"path": "/docs"}, "k1")
    again = asked(session, "POST", "/api/v1/folders", {"path": "/docs"}, "k1")
    assert (first.status, again.status) == (201, 201)
    assert first.json() == again.json()
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert asked(session, "POST", "/api/v1/folders", {"path": "/docs"}, "k2").status == 409


def test_a_repeated_upload_makes_no_second_version(session: Session) -> None:
    told = [asked(session, "PUT", "/api/v1/content", b"x" * 700_000, "k", path="/a") for _ in range(3)]
    assert {answer.status for answer in told} == {200}
    assert len({answer.body for answer in told}) == 1
    assert len(session.ask("GET", "/api/v1/versions", path="/a").json()["versions"]) == 1


def test_what_was_refused_is_refused_again_in_the_same_words(session: Session) -> None:
    told = [asked(session, "POST", "/api/v1/delete", {"path": "/nothing"}, "k") for _ in range(2)]
    assert [answer.status for answer in told] == [404, 404]
    assert told[0].body == told[1].body
    session.ask("PUT", "/api/v1/content", b"a", path="/nothing")
    assert asked(session, "POST", "/api/v1/delete", {"path": "/nothing"}, "k").status == 404
    assert session.ask("GET", "/api/v1/entry", path="/nothing").status == 200


@pytest.mark.parametrize(
    ("method", "route", "body", "query"),
    [
        ("POST", "/api/v1/folders", {"path": "/other"}, {}),
        ("POST", "/api/v1/delete", {"path": "/docs"}, {}),
        ("PUT", "/api/v1/content", b"bytes", {"path": "/docs"}),
    ],
)
def test_a_key_is_good_for_one_request(
    session: Session, method: str, route: str, body: object, query: dict[str, object]
) -> None:
    assert asked(session, "POST", "/api/v1/folders", {"path": "/docs"}, "k").status == 201
    refused = asked(session, method, route, body, "k", **query)
    assert (refused.status, refused.json()["error"]["code"]) == (422, "key_reused")
    assert session.ask("GET", "/api/v1/entry", path="/docs").status == 200
    assert session.ask("GET", "/api/v1/entry", path="/other").status == 404


def test_a_key_belongs_to_one_account(server: RunningServer, session: Session) -> None:
    other = server.add_user(f"other {next(_numbers)}").sign_in()
    mine = asked(session, "POST", "/api/v1/folders", {"path": "/docs"}, "k")
    theirs = asked(other, "POST", "/api/v1/folders", {"path": "/docs"}, "k")
    assert (mine.status, theirs.status) == (201, 201)
    assert mine.json()["namespace"] != theirs.json()["namespace"]
    stranger = ask(session.url, "POST", "/api/v1/folders", {"path": "/docs"}, headers={"Idempotency-Key": "k"})
    assert stranger.status == 401


def test_of_requests_at_the_same_time_one_is_worked_on(session: Session) -> None:
    told: list[Answer] = []

    def one() -> None:
        told.append(asked(session, "POST", "/api/v1/folders", {"path": "/docs"}, "k"))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    codes = {(answer.status, answer.json().get("error", {}).get("code", "")) for answer in told}
    assert codes <= {(201, ""), (409, "request_in_progress")}
    assert all("retry-after" in answer.headers for answer in told if answer.status == 409)
    assert asked(session, "POST", "/api/v1/folders", {"path": "/docs"}, "k").status == 201
    assert len(session.ask("GET", "/api/v1/files").json()["items"]) == 1


def test_a_secret_is_told_once_also_to_a_repeated_request(server: RunningServer, session: Session) -> None:
    session.ask("PUT", "/api/v1/content", b"a", path="/a")
    first = asked(session, "POST", "/api/v1/links", {"path": "/a"}, "k").json()
    again = asked(session, "POST", "/api/v1/links", {"path": "/a"}, "k").json()
    assert first["token"] and first["token"] in first["url"]
    assert (again["token"], again["url"], again["id"]) == ("", "", first["id"])
    assert len(session.ask("GET", "/api/v1/links").json()["links"]) == 1
    kept = b"".join(path.read_bytes() for path in server.data.glob("*.db*"))
    assert kept
    assert first["token"].encode() not in kept


def test_a_key_that_cannot_be_one_is_refused(session: Session) -> None:
    for key in ("k" * 256, "two words"):
        refused = asked(session, "POST", "/api/v1/folders", {"path": "/docs"}, key)
        assert (refused.status, refused.json()["error"]["code"]) == (400, "message_invalid")
        assert json.loads(refused.body)["error"]["fields"] == {"reason": "idempotency-key"}
    assert session.ask("GET", "/api/v1/files").json()["items"] == []
