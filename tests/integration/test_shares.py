"""Shared folders over REST against a real server: three accounts, one of which tries what it may not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.support.server import Answer, RunningServer, Session, running_server

_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("service")) as running:
        yield running


class People:
    """ann, who owns; bob, who is invited; eve, who is not. Each test has its own."""

    def __init__(self, server: RunningServer) -> None:
        number = next(_numbers)
        self.server = server
        self.names = {name: f"{name}{number}" for name in ("ann", "bob", "eve")}
        self.ann, self.bob, self.eve = [server.add_user(name).sign_in("laptop") for name in self.names.values()]

    def shared(self, role: str = "editor", path: str = "/Team") -> str:
        """Have ann share a folder of two files with bob, and bob accept; return its id."""
        done(self.ann.ask("POST", "/api/v1/folders", {"path": path}))
        done(self.ann.ask("POST", "/api/v1/folders", {"path": path + "/in"}))
        put(self.ann, path + "/plan.txt", b"first")
        put(self.ann, path + "/in/deep.txt", b"deep")
        asked = {"path": path, "with": [{"user": self.names["bob"], "role": role}]}
        share = str(done(self.ann.ask("POST", "/api/v1/shares", asked))["id"])
        done(self.bob.ask("POST", f"/api/v1/share-invitations/{share}/accept"))
        return share


@pytest.fixture
def people(server: RunningServer) -> People:
    return People(server)


def done(answer: Answer) -> Any:
    assert answer.status in (200, 201, 204), (answer.status, answer.body)
    return answer.json() if answer.body else None


def put(who: Session, path: str, data: bytes) -> Any:
    return done(who.ask("PUT", "/api/v1/content", data, path=path))


def got(who: Session, path: str) -> bytes:
    answer = who.ask("GET", "/api/v1/content", path=path)
    assert answer.status == 200, answer.body
    return answer.body


def names(who: Session, path: str) -> list[str]:
    return [item["name"] for item in done(who.ask("GET", "/api/v1/files", path=path))["items"]]


def code(answer: Answer) -> tuple[int, str, object]:
    error = answer.json()["error"]
    return answer.status, error["code"], error["fields"].get("reason")


def plain(answer: Answer) -> bytes:
    """Return an answer without the id of its request."""
    return re.sub(rb'"id":"[0-9a-f]+"', b"", answer.body)


def test_both_work_in_the_folder_where_each_has_mounted_it(people: People) -> None:
    people.shared()
    ann, bob = people.ann, people.bob
    assert got(bob, "/Team/plan.txt") == b"first"
    assert done(bob.ask("GET", "/api/v1/entry", path="/Team"))["kind"] == "mount"
    put(bob, "/Team/plan.txt", b"second")
    put(bob, "/Team/in/new.txt", b"new")
    done(bob.ask("POST", "/api/v1/folders", {"path": "/Team/more"}))
    done(bob.ask("POST", "/api/v1/move", {"from": "/Team/in/new.txt", "to": "/Team/more/moved.txt"}))
    assert (got(ann, "/Team/plan.txt"), got(ann, "/Team/more/moved.txt")) == (b"second", b"new")
    versions = done(ann.ask("GET", "/api/v1/versions", path="/Team/plan.txt"))["versions"]
    assert [version["author"] for version in versions] == [people.names["bob"], people.names["ann"]]
    done(ann.ask("POST", "/api/v1/restore", {"path": "/Team/plan.txt", "rev": versions[-1]["rev"]}))
    assert got(bob, "/Team/plan.txt") == b"first"
    done(ann.ask("POST", "/api/v1/move", {"from": "/Team", "to": "/Ours"}))
    assert (names(ann, "/Ours"), names(bob, "/Team")) == (["in", "more", "plan.txt"],) * 2
    done(bob.ask("POST", "/api/v1/delete", {"path": "/Team/more"}))
    [gone] = done(ann.ask("GET", "/api/v1/trash", path="/Ours"))["items"]
    assert done(ann.ask("GET", "/api/v1/trash"))["items"] == []
    done(ann.ask("POST", "/api/v1/trash/restore", {"id": gone["id"], "namespace": gone["namespace"]}))
    assert names(bob, "/Team/more") == ["moved.txt"]


def test_a_viewer_reads_and_writes_nothing(people: People) -> None:
    share = people.shared(role="viewer")
    bob = people.bob
    put(bob, "/own.txt", b"own")
    assert got(bob, "/Team/in/deep.txt") == b"deep"
    refused = [
        bob.ask("PUT", "/api/v1/content", b"x", path="/Team/plan.txt"),
        bob.ask("POST", "/api/v1/folders", {"path": "/Team/x"}),
        bob.ask("POST", "/api/v1/delete", {"path": "/Team/plan.txt"}),
        bob.ask("POST", "/api/v1/move", {"from": "/Team/plan.txt", "to": "/Team/x"}),
        bob.ask("POST", "/api/v1/move", {"from": "/Team/plan.txt", "to": "/x"}),
        bob.ask("POST", "/api/v1/move", {"from": "/own.txt", "to": "/Team/own.txt"}),
        bob.ask("POST", f"/api/v1/shares/{share}/members", {"user": people.names["eve"]}),
        bob.ask("DELETE", f"/api/v1/shares/{share}"),
    ]
    assert {answer.status for answer in refused} == {404}
    assert (names(people.ann, "/Team"), got(bob, "/own.txt")) == (["in", "plan.txt"], b"own")
    account = bob.account_id.hex()
    done(people.ann.ask("PATCH", f"/api/v1/shares/{share}/members/{account}", {"role": "editor"}))
    put(bob, "/Team/plan.txt", b"now")


def test_who_is_no_member_is_told_what_is_told_of_nothing(people: People) -> None:
    share = people.shared()
    eve, item = people.eve, done(people.ann.ask("GET", "/api/v1/entry", path="/Team/plan.txt"))
    account = people.bob.account_id.hex()

    def ask(namespace: str) -> list[Answer]:
        at = f"/api/v1/shares/{namespace}"
        return [
            eve.ask("GET", at),
            eve.ask("DELETE", at),
            eve.ask("POST", f"{at}/members", {"user": people.names["eve"]}),
            eve.ask("PATCH", f"{at}/members/{account}", {"role": "viewer"}),
            eve.ask("DELETE", f"{at}/members/{account}"),
            eve.ask("POST", f"{at}/leave"),
            eve.ask("POST", f"{at}/transfer", {"account_id": eve.account_id.hex()}),
            eve.ask("POST", f"/api/v1/share-invitations/{namespace}/accept"),
            eve.ask("POST", f"/api/v1/share-invitations/{namespace}/decline"),
            eve.ask("GET", "/api/v1/content", id=item["id"], namespace=namespace),
            eve.ask("GET", "/api/v1/versions", id=item["id"], namespace=namespace),
            eve.ask("GET", "/api/v1/trash", namespace=namespace),
            eve.ask("POST", "/api/v1/restore", {"id": item["id"], "rev": item["rev"], "namespace": namespace}),
            eve.ask("POST", "/api/v1/trash/restore", {"id": item["id"], "namespace": namespace}),
        ]

    forbidden, unknown = ask(share), ask("ab" * 16)
    assert [answer.status for answer in forbidden] == [404] * len(forbidden)
    assert [plain(answer) for answer in forbidden] == [plain(answer) for answer in unknown]
    assert done(eve.ask("GET", "/api/v1/shares"))["items"] == []
    assert done(eve.ask("GET", "/api/v1/share-invitations"))["items"] == []
    seen = {entry["path"] for entry in done(eve.ask("GET", "/api/v1/sync"))["entries"]}
    assert seen == set()


def test_invitations_are_answered_and_seen(people: People) -> None:
    ann, bob, eve = people.ann, people.bob, people.eve
    done(ann.ask("POST", "/api/v1/folders", {"path": "/Team"}))
    done(bob.ask("POST", "/api/v1/folders", {"path": "/team"}))
    with_both = [{"user": people.names["bob"]}, {"user": people.names["eve"], "role": "viewer"}]
    share = done(ann.ask("POST", "/api/v1/shares", {"path": "/Team", "with": with_both}))
    again = done(ann.ask("POST", "/api/v1/shares", {"path": "/Team"}))
    assert (again["id"], len(again["members"])) == (share["id"], 3)
    [asked] = done(bob.ask("GET", "/api/v1/share-invitations"))["items"]
    assert (asked["name"], asked["role"], asked["invited_by"]) == ("Team", "editor", people.names["ann"])
    assert names(bob, "/") == ["team"]
    assert bob.ask("GET", "/api/v1/trash", namespace=share["id"]).status == 404
    accepted = done(bob.ask("POST", f"/api/v1/share-invitations/{share['id']}/accept"))
    assert (accepted["path"], names(bob, "/")) == ("/Team (2)", ["team", "Team (2)"])
    done(eve.ask("POST", f"/api/v1/share-invitations/{share['id']}/decline"))
    assert eve.ask("POST", f"/api/v1/share-invitations/{share['id']}/accept").status == 404
    shown = done(ann.ask("GET", f"/api/v1/shares/{share['id']}"))
    assert [(one["role"], one["state"]) for one in shown["members"]] == [
        ("owner", "accepted"),
        ("editor", "accepted"),
        ("viewer", "declined"),
    ]
    unknown = ann.ask("POST", f"/api/v1/shares/{share['id']}/members", {"user": "nobody"})
    assert code(unknown) == (404, "not_found", None)
    own = ann.ask("POST", f"/api/v1/shares/{share['id']}/members", {"user": people.names["ann"]})
    assert code(own) == (409, "share_refused", "self")
    [by_me] = done(ann.ask("GET", "/api/v1/shares", by="me"))["items"]
    assert by_me["id"] == share["id"]
    assert done(ann.ask("GET", "/api/v1/shares", by="others"))["items"] == []
    for _ in range(60):
        last = ann.ask("POST", f"/api/v1/shares/{share['id']}/members", {"user": "nobody"})
    assert last.status == 429


def test_a_folder_of_which_one_invitation_cannot_be_is_not_made_a_shared_one(people: People) -> None:
    ann = people.ann
    done(ann.ask("POST", "/api/v1/folders", {"path": "/Alone"}))
    before = done(ann.ask("GET", "/api/v1/entry", path="/Alone"))
    for wrong, said in (("nobody", "not_found"), (people.names["ann"], "share_refused")):
        asked = [{"user": people.names["bob"]}, {"user": wrong}]
        assert code(ann.ask("POST", "/api/v1/shares", {"path": "/Alone", "with": asked}))[1] == said
    assert done(ann.ask("GET", "/api/v1/entry", path="/Alone")) == before
    assert "/Alone" not in [one["path"] for one in done(ann.ask("GET", "/api/v1/shares"))["items"]]


def test_leaving_removing_and_stopping_take_the_mount_away_and_no_file(people: People) -> None:
    share = people.shared()
    ann, bob = people.ann, people.bob
    assert code(ann.ask("POST", f"/api/v1/shares/{share}/leave")) == (409, "share_refused", "owner")
    assert code(ann.ask("POST", "/api/v1/delete", {"path": "/Team"})) == (409, "share_refused", "owner")
    item = done(bob.ask("GET", "/api/v1/entry", path="/Team/plan.txt"))
    done(bob.ask("POST", "/api/v1/delete", {"path": "/Team"}))
    assert (names(bob, "/"), done(bob.ask("GET", "/api/v1/trash"))["items"]) == ([], [])
    assert bob.ask("GET", "/api/v1/content", id=item["id"], namespace=share).status == 404
    assert got(ann, "/Team/plan.txt") == b"first"
    done(ann.ask("POST", f"/api/v1/shares/{share}/members", {"user": people.names["bob"]}))
    done(bob.ask("POST", f"/api/v1/share-invitations/{share}/accept"))
    done(ann.ask("DELETE", f"/api/v1/shares/{share}/members/{bob.account_id.hex()}"))
    assert names(bob, "/") == []
    done(ann.ask("POST", f"/api/v1/shares/{share}/members", {"user": people.names["bob"]}))
    done(bob.ask("POST", f"/api/v1/share-invitations/{share}/accept"))
    done(ann.ask("POST", f"/api/v1/shares/{share}/members", {"user": people.names["eve"]}))
    done(ann.ask("DELETE", f"/api/v1/shares/{share}"))
    assert (names(bob, "/"), done(people.eve.ask("GET", "/api/v1/share-invitations"))["items"]) == ([], [])
    assert len(done(ann.ask("GET", f"/api/v1/shares/{share}"))["members"]) == 1
    assert got(ann, "/Team/plan.txt") == b"first"


def test_a_folder_is_handed_over_and_its_first_owner_may_leave(people: People) -> None:
    share = people.shared()
    ann, bob = people.ann, people.bob
    heir = {"account_id": bob.account_id.hex()}
    assert bob.ask("POST", f"/api/v1/shares/{share}/transfer", heir).status == 404
    done(ann.ask("POST", f"/api/v1/shares/{share}/transfer", heir))
    assert ann.ask("DELETE", f"/api/v1/shares/{share}").status == 404
    done(ann.ask("POST", f"/api/v1/shares/{share}/leave"))
    assert names(ann, "/") == []
    assert got(bob, "/Team/plan.txt") == b"first"
    assert [one["role"] for one in done(bob.ask("GET", f"/api/v1/shares/{share}"))["members"]] == ["owner"]


def test_shared_folders_do_not_stand_in_one_another(people: People) -> None:
    people.shared()
    ann = people.ann
    done(ann.ask("POST", "/api/v1/folders", {"path": "/outer"}))
    done(ann.ask("POST", "/api/v1/move", {"from": "/Team", "to": "/outer/Team"}))
    assert names(ann, "/outer/Team/in") == ["deep.txt"]
    for path, reason in (("/outer", "holds_mount"), ("/outer/Team/in", "inside_share"), ("/outer/Team/x", None)):
        answer = ann.ask("POST", "/api/v1/shares", {"path": path})
        assert code(answer)[2] == reason
    assert ann.ask("POST", "/api/v1/shares", {"path": "/"}).status == 400
    assert code(ann.ask("POST", "/api/v1/delete", {"path": "/outer"})) == (400, "message_invalid", "holds_mount")
    done(ann.ask("POST", "/api/v1/folders", {"path": "/second"}))
    done(ann.ask("POST", "/api/v1/shares", {"path": "/second"}))
    for source in ("/second", "/outer"):
        answer = ann.ask("POST", "/api/v1/move", {"from": source, "to": "/outer/Team/it"})
        assert answer.status in (400, 409), answer.body
    assert names(ann, "/outer/Team") == ["in", "plan.txt"]


def test_a_move_out_leaves_a_copy_in_the_trash_and_brings_the_versions_along(people: People) -> None:
    share = people.shared()
    ann, bob = people.ann, people.bob
    put(ann, "/Team/in/deep.txt", b"deeper")
    put(bob, "/Team/in/other.txt", b"other")
    done(bob.ask("POST", "/api/v1/move", {"from": "/Team/in", "to": "/mine"}))
    assert (names(bob, "/mine"), got(bob, "/mine/deep.txt")) == (["deep.txt", "other.txt"], b"deeper")
    found = done(bob.ask("GET", "/api/v1/versions", path="/mine/deep.txt"))["versions"]
    assert [(one["number"], one["author"]) for one in found] == [(2, people.names["ann"]), (1, people.names["ann"])]
    done(bob.ask("POST", "/api/v1/restore", {"path": "/mine/deep.txt", "rev": found[-1]["rev"]}))
    assert got(bob, "/mine/deep.txt") == b"deep"
    assert names(ann, "/Team") == ["plan.txt"]
    [gone] = done(ann.ask("GET", "/api/v1/trash", namespace=share))["items"]
    assert gone["path"] == "/in"
    done(ann.ask("POST", "/api/v1/trash/restore", {"id": gone["id"], "namespace": share}))
    assert got(ann, "/Team/in/deep.txt") == b"deeper"
    taken = bob.ask("POST", "/api/v1/move", {"from": "/mine/other.txt", "to": "/Team/PLAN.txt"})
    assert code(taken)[:2] == (409, "already_exists")
    done(bob.ask("POST", "/api/v1/move", {"from": "/mine/other.txt", "to": "/Team/back.txt"}))
    assert got(ann, "/Team/back.txt") == b"other"


def test_one_cursor_follows_all_that_is_mounted(people: People) -> None:
    ann, bob = people.ann, people.bob
    first = done(bob.ask("GET", "/api/v1/sync"))
    share = people.shared()

    def more(cursor: str) -> tuple[dict[str, str], str]:
        told: dict[str, str] = {}
        while True:
            page = done(bob.ask("GET", "/api/v1/sync", cursor=cursor, limit=2))
            assert not page["is_reset"]
            told |= {entry["path"]: entry["action"] for entry in page["entries"]}
            if page["cursor"] == cursor or not page["has_more"]:
                return told, page["cursor"]
            cursor = page["cursor"]

    told, cursor = more(first["cursor"])
    assert told == dict.fromkeys(("/Team", "/Team/plan.txt", "/Team/in", "/Team/in/deep.txt"), "update")
    put(ann, "/Team/plan.txt", b"second")
    told, cursor = more(cursor)
    assert told == {"/Team/plan.txt": "update"}
    waited = done(bob.ask("GET", "/api/v1/sync/longpoll", cursor=cursor, timeout=0))
    assert (waited["entries"], waited["cursor"]) == ([], cursor)
    done(ann.ask("DELETE", f"/api/v1/shares/{share}/members/{bob.account_id.hex()}"))
    put(ann, "/Team/plan.txt", b"third")
    told, cursor = more(cursor)
    assert told == {"/Team": "delete"}


def test_a_shared_folder_counts_against_its_owner(server: RunningServer, people: People) -> None:
    people.shared()
    server.admin("user.quota", name=people.names["ann"], quota_bytes=20_000)
    data = bytes(range(256)) * 40
    put(people.bob, "/Team/one", data)
    for who, path in ((people.bob, "/Team/two"), (people.ann, "/two")):
        answer = who.ask("PUT", "/api/v1/content", data[::-1], path=path)
        assert (answer.status, "quota_bytes" in answer.json()["error"]["fields"]) == (507, who is people.ann)
    put(people.bob, "/two", data[::-1])
    moved = people.bob.ask("POST", "/api/v1/move", {"from": "/two", "to": "/Team/two"})
    assert moved.status == 507
    assert got(people.bob, "/two") == data[::-1]


def test_what_an_account_uses_is_its_own_files_and_the_folders_that_it_owns(people: People) -> None:
    people.shared()

    def used(who: Session) -> int:
        return int(done(who.ask("GET", "/api/v1/account"))["used_bytes"])

    before = used(people.ann)
    assert before == len(b"first") + len(b"deep")
    put(people.bob, "/Team/more", b"0123456789")
    put(people.bob, "/own", b"own")
    assert (used(people.ann), used(people.bob), used(people.eve)) == (before + 10, 3, 0)
    told = people.server.admin("user.list")
    assert isinstance(told, list)
    assert {one["used_bytes"] for one in told if one["name"] == people.names["ann"]} == {before + 10}
