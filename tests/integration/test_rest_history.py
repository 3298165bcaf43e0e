"""REST for what was: rewinds, activity, copies of versions, diffs and the trash, against a real server, with a second
account that tries everything.
"""

from __future__ import annotations

import itertools

import pytest

from satchel.core.limits import DIFF_BYTES_MAX, LIST_PAGE_MAX
from satchel.core.retention import DAY_MS, TRASH_DAYS
from tests.support.server import RunningServer, Session, ask

_numbers = itertools.count()


@pytest.fixture(scope="module")
def shared(server: RunningServer) -> Session:
    """One account for tests that do not get in each other's way."""
    return server.add_user("shared").sign_in("laptop")


def put(session: Session, path: str, data: bytes) -> dict:  # type: ignore[type-arg]
    answer = ask(session.url, "PUT", "/api/v1/content", data, token=session.token, query={"path": path})
    assert answer.status == 200, answer.body
    return answer.json()


def got(session: Session, path: str) -> bytes | None:
    answer = session.ask("GET", "/api/v1/content", path=path)
    return answer.body if answer.status == 200 else None


def done(session: Session, method: str, route: str, /, body: object = None, **query: object) -> dict:  # type: ignore[type-arg]
    answer = session.ask(method, route, body, **query)
    assert answer.status in (200, 201, 204), (route, answer.body)
    return answer.json() if answer.body else {}


def refused(session: Session, method: str, route: str, /, body: object = None, **query: object) -> tuple[int, str]:
    answer = session.ask(method, route, body, **query)
    return answer.status, answer.json()["error"]["code"]


def head(session: Session) -> int:
    return int(done(session, "GET", "/api/v1/activity/days")["head_seq"])


def test_a_rewind_is_shown_made_listed_and_undone(session: Session) -> None:
    for path in ("/docs", "/docs/inner"):
        done(session, "POST", "/api/v1/folders", {"path": path})
    put(session, "/docs/a", b"one")
    put(session, "/docs/inner/b", b"b")
    before = head(session)
    put(session, "/docs/a", b"two")
    put(session, "/docs/new", b"new")
    done(session, "POST", "/api/v1/move", {"from": "/docs/inner/b", "to": "/b"})
    done(session, "POST", "/api/v1/delete", {"path": "/docs/inner"})
    asked = {"path": "/docs", "to_seq": before}
    shown = done(session, "POST", "/api/v1/rewind/preview", {**asked, "limit": 2})
    assert shown["counts"] == {"back": 1, "moved": 1, "content": 1, "trash": 1}
    rest = done(session, "POST", "/api/v1/rewind/preview", {**asked, "at": shown["next_at"]})
    lines = {line["path_then"] or line["path_now"]: line for line in (*shown["lines"], *rest["lines"])}
    assert {path: line["does"] for path, line in lines.items()} == {
        "/docs/inner": "back",
        "/docs/inner/b": "moved",
        "/docs/a": "content",
        "/docs/new": "trash",
    }
    assert (lines["/docs/inner/b"]["path_now"], rest["next_at"]) == ("/b", None)
    told = done(session, "POST", "/api/v1/rewind", {**asked, "seen_seq": shown["head_seq"]})
    assert (told["is_finished"], told["counts"]) == (True, shown["counts"])
    paths = ("/docs/a", "/docs/inner/b", "/docs/new", "/b")
    assert [got(session, path) for path in paths] == [b"one", b"b", None, None]
    (made,) = done(session, "GET", "/api/v1/rewinds")["rewinds"]
    assert (made["id"], made["path"], made["device"], made["is_undoable"]) == (told["id"], "/docs", "laptop", True)
    row = done(session, "GET", "/api/v1/activity")["rows"][0]
    assert (row["rewind"], row["account"]) == (told["id"], made["account"])
    done(session, "POST", "/api/v1/rewind", {"undo": told["id"]})
    assert [got(session, path) for path in paths] == [b"two", None, b"new", b"b"]
    assert [one["undoes"] for one in done(session, "GET", "/api/v1/rewinds")["rewinds"]] == [told["id"], ""]


def test_what_a_rewind_asks_for_is_looked_at(session: Session) -> None:
    put(session, "/a", b"a")
    route = "/api/v1/rewind"
    for expected, body in (
        ((400, "message_invalid"), {}),
        ((400, "message_invalid"), {"to_seq": 1, "to_ms": 1}),
        ((400, "message_invalid"), {"to_seq": 1, "path": "/", "id": "00" * 16}),
        ((400, "message_invalid"), {"undo": "00" * 16, "path": "/"}),
        ((404, "not_found"), {"undo": "00" * 16}),
        ((404, "not_found"), {"to_seq": 1, "path": "/none"}),
        ((404, "not_found"), {"to_seq": 1, "path": "/a"}),
        ((410, "history_ended"), {"to_seq": 99}),
        ((410, "history_ended"), {"to_seq": -5}),
        ((410, "history_ended"), {"to_seq": 2**63 - 1}),
        ((410, "history_ended"), {"to_ms": 1}),
        ((412, "precondition_failed"), {"to_seq": 0, "seen_seq": 0}),
        ((410, "history_ended"), {"to_seq": 2**70}),
        ((400, "message_invalid"), {"to_seq": 1, "more": 1}),
    ):
        assert refused(session, "POST", route, body) == expected, body
        if "seen_seq" not in body:
            assert refused(session, "POST", f"{route}/preview", body) == expected, body
    for page in ({"at": -1}, {"limit": 0}, {"limit": 1_001}):
        assert refused(session, "POST", f"{route}/preview", {"to_seq": 0, **page}) == (400, "message_invalid")
    for query in ({"days": 0}, {"days": 401}, {"offset_min": 9_999}):
        assert refused(session, "GET", "/api/v1/activity/days", **query) == (400, "message_invalid")
    assert refused(session, "GET", "/api/v1/activity", path="/", id="00" * 16) == (400, "message_invalid")
    assert got(session, "/a") == b"a"


def test_activity_is_paged_and_opened(session: Session) -> None:
    done(session, "POST", "/api/v1/folders", {"path": "/docs"})
    for number in range(5):
        put(session, f"/docs/{number}", b"%d" % number)
    done(session, "POST", "/api/v1/move", {"from": "/docs/4", "to": "/four"})
    page = done(session, "GET", "/api/v1/activity", limit=1)
    (row,) = page["rows"]
    assert (row["does"], row["path_before"], row["path"], row["device"]) == ("move", "/docs/4", "/four", "laptop")
    rows = done(session, "GET", "/api/v1/activity", before=page["before"])["rows"]
    created = [one for row in rows for one in opened(session, row)]
    assert [one["path"] for one in created] == [*[f"/docs/{n}" for n in (4, 3, 2, 1, 0)], "/docs"]
    assert sum(row["entries"] for row in rows) == len(created)
    within = done(session, "GET", "/api/v1/activity", path="/docs", grouped="false")["rows"]
    assert len(within) == 7
    days = done(session, "GET", "/api/v1/activity/days", days=3)
    assert sum(day["changes"] for day in days["days"]) == days["head_seq"] == 7


def test_activity_tells_of_one_person_and_of_one_kind(shared: Session, server: RunningServer) -> None:
    friend = server.add_user(f"friend {next(_numbers)}")
    theirs = friend.sign_in()
    team = f"/team {next(_numbers)}"
    done(shared, "POST", "/api/v1/folders", {"path": team})
    made = done(shared, "POST", "/api/v1/shares", {"path": team, "with": [{"user": friend.name}]})["id"]
    done(theirs, "POST", f"/api/v1/share-invitations/{made}/accept")
    done(theirs, "POST", "/api/v1/folders", {"path": f"{team}/theirs"})
    done(shared, "POST", "/api/v1/folders", {"path": f"{team}/ours"})
    done(theirs, "POST", "/api/v1/delete", {"path": f"{team}/ours"})

    def rows(**query: object) -> list[tuple[str, str]]:
        told = done(shared, "GET", "/api/v1/activity", namespace=made, grouped="false", **query)["rows"]
        return [(row["does"], row["path"]) for row in told]

    assert rows(person=friend.name) == [("delete", f"{team}/ours"), ("create", f"{team}/theirs")]
    assert rows(person=friend.name, does="delete") == [("delete", f"{team}/ours")]
    assert rows(does="delete") == [("delete", f"{team}/ours")]
    assert rows(person=friend.name, limit=1) == [("delete", f"{team}/ours")]
    # Who is nobody is told as somebody who did nothing here.
    stranger = server.add_user(f"stranger {next(_numbers)}")
    answers = [
        shared.ask("GET", "/api/v1/activity", namespace=made, person=name).body for name in (stranger.name, "no one")
    ]
    assert answers[0] == answers[1]
    mounts = [row["does"] for row in done(theirs, "GET", "/api/v1/activity", does="mount")["rows"]]
    assert mounts == ["mount"]
    assert refused(shared, "GET", "/api/v1/activity", does="dance") == (400, "message_invalid")


def opened(session: Session, row: dict) -> list[dict]:  # type: ignore[type-arg]
    found: list[dict] = done(  # type: ignore[type-arg]
        session,
        "GET",
        "/api/v1/activity",
        first_seq=row["first_seq"],
        last_seq=row["last_seq"],
        grouped="false",
    )["rows"]
    return found


def test_a_version_is_copied_beside_the_file_or_elsewhere(shared: Session) -> None:
    put(shared, "/a.txt", b"one")
    put(shared, "/a.txt", b"two")
    old = done(shared, "GET", "/api/v1/versions", path="/a.txt")["versions"][1]
    asked = {"path": "/a.txt", "rev": old["rev"]}
    beside = done(shared, "POST", "/api/v1/restore", {**asked, "as_copy": True})
    assert beside["name"].startswith("a (version 2") and beside["name"].endswith(").txt")
    again = done(shared, "POST", "/api/v1/restore", {**asked, "as_copy": True})
    assert again["name"] != beside["name"]
    elsewhere = done(shared, "POST", "/api/v1/restore", {**asked, "to": "/b.txt"})
    assert elsewhere["id"] not in (beside["id"], again["id"])
    assert [got(shared, path) for path in ("/a.txt", f"/{beside['name']}", "/b.txt")] == [b"two", b"one", b"one"]
    assert refused(shared, "POST", "/api/v1/restore", {**asked, "to": "/a.txt"}) == (412, "precondition_failed")
    assert refused(shared, "POST", "/api/v1/restore", {**asked, "to": "/none/b"}) == (404, "not_found")
    assert refused(shared, "POST", "/api/v1/restore", {**asked, "rev": 99, "to": "/c"}) == (404, "not_found")


def test_the_trash_tells_who_until_when_and_brings_back_elsewhere(shared: Session) -> None:
    done(shared, "POST", "/api/v1/folders", {"path": "/docs"})
    put(shared, "/docs/a", b"a")
    done(shared, "POST", "/api/v1/delete", {"path": "/docs/a"})
    (item,) = done(shared, "GET", "/api/v1/trash")["items"]
    account = done(shared, "GET", "/api/v1/account")["account"]
    assert (item["path"], item["deleted_by"], item["device"]) == ("/docs/a", account, "laptop")
    assert (item["has_home"], item["purge_ms"] - item["deleted_ms"]) == (True, TRASH_DAYS * DAY_MS)
    done(shared, "POST", "/api/v1/delete", {"path": "/docs"})
    items = {item["path"]: item for item in done(shared, "GET", "/api/v1/trash")["items"]}
    assert {path: item["has_home"] for path, item in items.items()} == {"/docs": True, "/docs/a": False}
    put(shared, "/taken", b"taken")
    route = "/api/v1/trash/restore"
    assert refused(shared, "POST", route, {"id": item["id"], "to": "/taken"}) == (412, "precondition_failed")
    assert refused(shared, "POST", route, {"id": item["id"], "to": "/docs/b"}) == (404, "not_found")
    assert done(shared, "POST", route, {"id": item["id"], "to": "/b"})["name"] == "b"
    assert got(shared, "/b") == b"a"


def test_what_was_deleted_goes_for_good_one_by_one_or_all_of_it(session: Session) -> None:
    for name in ("a", "b", "c", "kept"):
        put(session, f"/{name}", name.encode())
    for name in ("a", "b", "c"):
        done(session, "POST", "/api/v1/delete", {"path": f"/{name}"})
    ids = {item["path"]: item["id"] for item in done(session, "GET", "/api/v1/trash")["items"]}
    route = "/api/v1/trash/empty"
    for asked in ({}, {"ids": []}, {"ids": [ids["/a"]], "all": True}, {"ids": ["no id"]}):
        assert refused(session, "POST", route, asked) == (400, "message_invalid")
    assert refused(session, "POST", route, {"ids": [ids["/a"]] * (LIST_PAGE_MAX + 1)}) == (413, "limit_exceeded")
    assert refused(session, "POST", route, {"all": True, "namespace": "ab" * 16}) == (404, "not_found")
    live = done(session, "GET", "/api/v1/files", path="/")["items"][0]["id"]
    told = done(session, "POST", route, {"ids": [ids["/a"], ids["/a"], live, "cd" * 16]})
    assert told == {"removed": 1, "has_more": False}
    assert done(session, "POST", route, {"ids": [ids["/a"]]})["removed"] == 0
    assert {item["path"] for item in done(session, "GET", "/api/v1/trash")["items"]} == {"/b", "/c"}
    assert refused(session, "POST", "/api/v1/trash/restore", {"id": ids["/a"]}) == (404, "not_found")
    assert refused(session, "GET", "/api/v1/versions", id=ids["/a"]) == (404, "not_found")
    assert done(session, "POST", route, {"all": True, "before_ms": 1})["removed"] == 0
    assert done(session, "POST", route, {"all": True}) == {"removed": 2, "has_more": False}
    assert done(session, "GET", "/api/v1/trash")["items"] == [] and got(session, "/kept") == b"kept"


def test_two_versions_are_compared_line_by_line(shared: Session) -> None:
    lines = [b"line %d\n" % number for number in range(100)]
    put(shared, "/lines.txt", b"".join(lines))
    put(shared, "/lines.txt", b"".join([*lines[:50], b"changed\n", *lines[51:]]))
    put(shared, "/lines.txt", b"".join(lines))
    revs = [one["rev"] for one in done(shared, "GET", "/api/v1/versions", path="/lines.txt")["versions"]]
    told = done(shared, "GET", "/api/v1/diff", path="/lines.txt")
    assert (told["older"], told["newer"], told["is_whole"]) == (revs[1], revs[0], True)
    assert [line for line in told["lines"] if line[0] in "+-"][2:] == ["-changed", "+line 50"]
    assert done(shared, "GET", "/api/v1/diff", path="/lines.txt", **{"from": revs[2], "to": revs[0]})["is_equal"]
    put(shared, "/lines.txt", b"\0binary")
    assert done(shared, "GET", "/api/v1/diff", path="/lines.txt")["is_binary"]
    put(shared, "/lines.txt", b"x" * (DIFF_BYTES_MAX + 1))
    assert refused(shared, "GET", "/api/v1/diff", path="/lines.txt") == (413, "limit_exceeded")
    put(shared, "/once", b"")
    assert refused(shared, "GET", "/api/v1/diff", path="/once") == (404, "not_found")
    assert refused(shared, "GET", "/api/v1/diff", path="/lines.txt", **{"from": 99}) == (404, "not_found")


def test_another_account_finds_and_does_nothing(server: RunningServer, session: Session) -> None:
    done(session, "POST", "/api/v1/folders", {"path": "/docs"})
    item = put(session, "/docs/a", b"a")
    put(session, "/docs/a", b"b")
    folder = done(session, "GET", "/api/v1/entry", path="/docs")["id"]
    made = done(session, "POST", "/api/v1/rewind", {"to_seq": 2})["id"]
    eve = server.add_user(f"other {next(_numbers)}").sign_in()
    put(eve, "/own", b"own")
    for real, unknown in ((folder, "ab" * 16), (item["id"], "cd" * 16)):
        for method, route, body, query in (
            ("POST", "/api/v1/rewind", {"to_seq": 0, "id": "ID"}, {}),
            ("POST", "/api/v1/rewind/preview", {"to_seq": 0, "id": "ID"}, {}),
            ("POST", "/api/v1/restore", {"id": "ID", "rev": 2, "as_copy": True}, {}),
            ("POST", "/api/v1/restore", {"id": "ID", "rev": 2, "to": "/mine"}, {}),
            ("POST", "/api/v1/trash/restore", {"id": "ID", "to": "/mine"}, {}),
            ("GET", "/api/v1/diff", None, {"id": "ID"}),
        ):
            answers = [
                eve.ask(method, route, body and {**body, "id": name}, **dict.fromkeys(query, name))
                for name in (real, unknown)
            ]
            assert answers[0].status == 404, route
            told = [{**answer.json()["error"], "id": ""} for answer in answers]
            assert told[0] == told[1], route
    assert refused(eve, "POST", "/api/v1/rewind", {"undo": made}) == (404, "not_found")
    assert refused(eve, "POST", "/api/v1/rewind/preview", {"undo": made}) == (404, "not_found")
    assert done(eve, "GET", "/api/v1/rewinds")["rewinds"] == []
    assert done(eve, "GET", "/api/v1/activity", id=folder)["rows"] == []
    assert [row["path"] for row in done(eve, "GET", "/api/v1/activity")["rows"]] == ["/own"]
    assert got(session, "/docs/a") == b"a"
    for method, route in (
        ("POST", "/api/v1/rewind"),
        ("POST", "/api/v1/rewind/preview"),
        ("GET", "/api/v1/rewinds"),
        ("GET", "/api/v1/activity"),
        ("GET", "/api/v1/activity/days"),
        ("GET", "/api/v1/diff"),
    ):
        assert ask(server.url, method, route, {} if method == "POST" else None).status == 401
