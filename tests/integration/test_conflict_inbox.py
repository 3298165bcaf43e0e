"""REST for conflicted copies: found by their names wherever an account may look, compared with the file that they stand
beside, and taken in its place without a byte lost.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.server import RunningServer, Session, running_server

COPY = "plan (Ben's box (old)'s conflicted copy 2026-11-22 2).txt"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("conflicts")) as running:
        yield running


def put(session: Session, path: str, data: bytes) -> dict:  # type: ignore[type-arg]
    answer = session.ask("PUT", "/api/v1/content", data, path=path)
    assert answer.status == 200, answer.body
    return answer.json()


def conflicts(session: Session, **query: object) -> dict:  # type: ignore[type-arg]
    answer = session.ask("GET", "/api/v1/conflicts", **query)
    assert answer.status == 200, answer.body
    return answer.json()


def test_copies_are_found_with_the_file_that_they_stand_beside(server: RunningServer) -> None:
    ann, ben = [server.add_user(name).sign_in("laptop") for name in ("ann", "ben")]
    for path in ("/docs", "/team"):
        assert ann.ask("POST", "/api/v1/folders", {"path": path}).status == 201
    invited = {"path": "/team", "with": [{"user": "ben", "role": "viewer"}]}
    ns = ann.ask("POST", "/api/v1/shares", invited).json()["id"]
    assert ben.ask("POST", f"/api/v1/share-invitations/{ns}/accept").status == 200
    plan = put(ann, "/docs/plan.txt", b"one\ntwo\n")
    copy = put(ann, f"/docs/{COPY}", b"one\nthree\n")
    put(ann, "/team/lost (laptop's conflicted copy 2026-11-23).md", b"x")
    # Names that only sound like one.
    put(ann, "/docs/my conflicted copy.txt", b"x")
    put(ann, "/docs/conflicted copy of plan.txt", b"x")
    page = conflicts(ann)
    assert (page["count"], page["is_all"], page["is_complete"], page["after"]) == (2, True, True, "")
    lost, found = page["items"]
    assert (lost["original"], lost["device"], lost["path"].startswith("/team/")) == (None, "laptop", True)
    assert (found["device"], found["day"], found["path"]) == ("Ben's box (old)", "2026-11-22", f"/docs/{COPY}")
    assert (found["copy"]["id"], found["original"]["id"]) == (copy["id"], plan["id"])
    assert [one["device"] for one in conflicts(ann, path="/docs")["items"]] == ["Ben's box (old)"]
    first = conflicts(ann, limit=1)
    assert len(first["items"]) == 1
    assert first["count"] == 2
    assert conflicts(ann, limit=1, after=first["after"])["items"] == [found]
    # Who has the shared folder alone sees what is in there alone.
    assert [one["device"] for one in conflicts(ben)["items"]] == ["laptop"]
    told = ann.ask("GET", "/api/v1/diff", id=plan["id"], against=copy["id"]).json()
    assert told["lines"][3:] == [" one", "-three", "+two"]
    theirs = ben.ask("GET", "/api/v1/diff", id=copy["id"], against=plan["id"], namespace=ann.root_ns.hex())
    assert theirs.status == 404


def test_a_copy_takes_the_place_of_the_file_and_both_come_back(server: RunningServer) -> None:
    zoe = server.add_user("zoe").sign_in("laptop")
    file, copy = put(zoe, "/plan.txt", b"mine"), put(zoe, f"/{COPY}", b"theirs")
    asked = {"copy_id": copy["id"], "copy_rev": copy["rev"], "file_id": file["id"], "file_rev": file["rev"]}
    newer = put(zoe, "/plan.txt", b"mine, newer")
    refused = zoe.ask("POST", "/api/v1/conflicts/keep-copy", asked)
    assert (refused.status, refused.json()["error"]["code"]) == (412, "precondition_failed")
    itself = {**asked, "copy_id": file["id"], "copy_rev": newer["rev"], "file_rev": newer["rev"]}
    assert zoe.ask("POST", "/api/v1/conflicts/keep-copy", itself).status == 400
    kept = zoe.ask("POST", "/api/v1/conflicts/keep-copy", {**asked, "file_rev": newer["rev"]}).json()
    assert kept["id"] == file["id"]
    assert zoe.ask("GET", "/api/v1/content", path="/plan.txt").body == b"theirs"
    assert conflicts(zoe)["items"] == []
    assert zoe.ask("POST", "/api/v1/restore", {"id": file["id"], "rev": newer["rev"]}).status == 200
    assert zoe.ask("POST", "/api/v1/trash/restore", {"id": copy["id"]}).status == 200
    assert zoe.ask("GET", "/api/v1/content", path="/plan.txt").body == b"mine, newer"
    assert zoe.ask("GET", "/api/v1/content", path=f"/{COPY}").body == b"theirs"
    assert [one["original"]["id"] for one in conflicts(zoe)["items"]] == [file["id"]]
