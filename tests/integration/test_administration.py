"""What administrators do over REST: groups, accounts, the audit log; and that it is not there for anybody else."""

from __future__ import annotations

import itertools

import pytest

from tests.support.server import PASSWORD, Answer, RunningServer, Session, User, ask

_numbers = itertools.count()


@pytest.fixture(scope="module")
def root(server: RunningServer) -> Session:
    return server.add_user("root", is_admin=True).sign_in()


@pytest.fixture(scope="module")
def ann(server: RunningServer) -> User:
    return server.add_user("ann")


@pytest.fixture(scope="module")
def anns(ann: User) -> Session:
    return ann.sign_in()


def told(answer: Answer) -> tuple[int, dict[str, object]]:
    return answer.status, {**answer.json()["error"], "id": ""}


def group(root: Session, name: str = "") -> str:
    made = root.ask("POST", "/api/v1/groups", {"name": name or f"group {next(_numbers)}"})
    assert made.status == 201, made.body
    return str(made.json()["id"])


def test_a_group_has_members_that_administrators_choose(root: Session, anns: Session) -> None:
    made, member = group(root, "Family"), anns.account_id.hex()
    route = f"/api/v1/groups/{made}"
    assert root.ask("POST", "/api/v1/groups", {"name": "FAMILY"}).status == 409
    assert root.ask("PATCH", route, {"name": "family"}).status == 204
    assert root.ask("PATCH", f"/api/v1/groups/{group(root)}", {"name": "Family"}).status == 409
    for _ in range(2):
        assert root.ask("PUT", f"{route}/members/{member}").status == 204
    assert [one["account"] for one in root.ask("GET", f"{route}/members").json()["items"]] == ["ann"]
    seen = anns.ask("GET", "/api/v1/groups").json()["items"]
    assert [(one["name"], one["members"]) for one in seen] == [("family", 1)]
    assert root.ask("PUT", f"{route}/members/{'00' * 16}").status == 404
    assert root.ask("DELETE", f"{route}/members/{member}").status == 204
    assert root.ask("DELETE", f"{route}/members/{member}").status == 404
    assert anns.ask("GET", "/api/v1/groups").json()["items"] == []
    assert root.ask("PUT", f"{route}/members/{member}").status == 204
    assert root.ask("DELETE", route).status == 204
    assert anns.ask("GET", "/api/v1/groups").json()["items"] == []
    assert root.ask("GET", f"{route}/members").status == root.ask("DELETE", route).status == 404
    assert group(root, "Family") != made


def test_lists_are_paged(server: RunningServer, root: Session) -> None:
    server.add_user("paged")
    groups = {group(root) for _ in range(3)}
    for route, name in (("/api/v1/groups", "id"), ("/api/v1/admin/accounts", "account_id")):
        seen, after = [], ""
        while not seen or after:
            page = root.ask("GET", route, limit=1, after=after).json()
            seen += [one[name] for one in page["items"]]
            after = page["after"] if page["items"] else ""
        assert seen == sorted(set(seen)) and len(seen) >= 2
        assert route.endswith("accounts") or groups <= set(seen)
        assert root.ask("GET", route, after="zz").status == 400


def test_quota_role_and_lock_are_changed_and_logged(server: RunningServer, root: Session) -> None:
    user = server.add_user("carl")
    carl = user.sign_in()
    route = f"/api/v1/admin/accounts/{carl.account_id.hex()}"
    assert root.ask("PATCH", route, {"quota_bytes": 1_000}).status == 204
    assert carl.ask("GET", "/api/v1/account").json()["quota_bytes"] == 1_000
    assert root.ask("PATCH", route, {"quota_bytes": None}).status == 204
    assert root.ask("PATCH", route, {"is_admin": True}).status == 204
    assert carl.ask("GET", "/api/v1/admin/accounts").status == 200
    assert root.ask("PATCH", route, {"is_admin": False}).status == 204
    assert carl.ask("GET", "/api/v1/admin/accounts").status == 404
    assert root.ask("PATCH", route, {"is_disabled": True}).status == 204
    assert carl.ask("GET", "/api/v1/account").status == 401
    assert root.ask("PATCH", route, {"is_disabled": False}).status == 204
    for wrong in ({"quota_bytes": -1}, {"quota_bytes": 1 << 70}, {"is_admin": "yes"}, {"more": 1}):
        assert root.ask("PATCH", route, wrong).status == 400, wrong
    log = root.ask("GET", "/api/v1/admin/audit", account_id=carl.account_id.hex()).json()["items"]
    assert [(row["action"], row["actor"]) for row in log][:6] == [
        ("account_enabled", "root"),
        ("account_disabled", "root"),
        ("role_changed", "root"),
        ("role_changed", "root"),
        ("quota_changed", "root"),
        ("quota_changed", "root"),
    ]
    newest = carl.ask("GET", "/api/v1/audit", limit=2).json()
    assert newest["items"] == log[:2]
    assert carl.ask("GET", "/api/v1/audit", limit=1, before=newest["before"]).json()["items"] == log[2:3]
    verified = server.admin("audit.verify")
    assert isinstance(verified, dict) and verified["problems"] == []


def test_the_last_administrator_stays_one(root: Session) -> None:
    route = f"/api/v1/admin/accounts/{root.account_id.hex()}"
    for change in ({"is_admin": False}, {"is_disabled": True}):
        assert told(root.ask("PATCH", route, change))[0] == 400
    assert root.ask("GET", "/api/v1/admin/accounts").status == 200


def test_the_machine_says_who_administers(server: RunningServer) -> None:
    dora = server.add_user("dora").sign_in()
    for is_admin, status in ((True, 200), (False, 404)):
        server.admin("user.role", name="Dora", is_admin=is_admin)
        assert dora.ask("GET", "/api/v1/admin/accounts").status == status


def test_guesses_are_answered_with_the_time_to_wait(server: RunningServer) -> None:
    emil = server.add_user("emil").sign_in()
    wrong = [emil.ask("POST", "/api/v1/device-codes/approve", {"user_code": "BBBB-BBBB"}) for _ in range(11)]
    assert [answer.status for answer in wrong] == [*[404] * 10, 429]
    assert wrong[-1].json()["error"]["code"] == "too_many_requests"
    assert 1 <= int(wrong[-1].headers["retry-after"]) <= 31


def test_none_of_it_is_there_for_others(server: RunningServer, root: Session, anns: Session) -> None:
    made, member = group(root), root.account_id.hex()
    unknown = told(anns.ask("GET", "/api/v1/nothing"))
    for method, route, body in (
        ("POST", "/api/v1/groups", {"name": "mine"}),
        ("PATCH", f"/api/v1/groups/{made}", {"name": "mine"}),
        ("DELETE", f"/api/v1/groups/{made}", None),
        ("GET", f"/api/v1/groups/{made}/members", None),
        ("PUT", f"/api/v1/groups/{made}/members/{anns.account_id.hex()}", None),
        ("DELETE", f"/api/v1/groups/{made}/members/{member}", None),
        ("GET", "/api/v1/admin/accounts", None),
        ("PATCH", f"/api/v1/admin/accounts/{member}", {"is_admin": True}),
        ("PATCH", f"/api/v1/admin/accounts/{anns.account_id.hex()}", {"is_admin": True}),
        ("GET", "/api/v1/admin/audit", None),
        ("GET", "/api/v1/admin/audit/newest", None),
        ("GET", "/api/v1/admin/counters", None),
    ):
        assert told(anns.ask(method, route, body)) == unknown, route
        assert ask(server.url, method, route, body).status == 401, route
    assert anns.ask("GET", "/api/v1/groups").json()["items"] == []
    assert {row["action"] for row in anns.ask("GET", "/api/v1/audit").json()["items"]} <= {"account_made", "sign_in"}
    assert PASSWORD not in server.log()
