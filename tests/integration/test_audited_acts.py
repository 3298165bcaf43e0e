"""What is done about rights stands in the audit log of those whom it is about: who, by which device, from where."""

from __future__ import annotations

import itertools

import pytest

from satchel.core.ids import NodeId
from satchel.core.messages import DeleteOp
from satchel.server.accounts.audit import Recorded, read_chain
from satchel.server.db.engine import Database
from satchel.server.upkeep.trash import purge_trash
from tests.support.clocks import SteppingClock
from tests.support.databases import Run
from tests.support.server import RunningServer, Session
from tests.support.writers import Writer, op_id

_numbers = itertools.count()
LOCALHOST = "127.0.0.1"


@pytest.fixture
def people(server: RunningServer) -> tuple[Session, Session]:
    """The owner of `/Team`, and whoever is invited to it, by a name of its own."""
    owner, guest = (server.add_user(f"user {next(_numbers)}").sign_in() for _ in range(2))
    owner.ask("POST", "/api/v1/folders", {"path": "/Team"})
    return owner, guest


def rows_of(session: Session) -> list[dict[str, str]]:
    """Return the account's own log, the oldest first, without the making of the account and its device."""
    found = session.ask("GET", "/api/v1/audit").json()["items"][::-1]
    return [row for row in found if row["action"] not in ("account_made", "sign_in", "token_made")]


def name_of(session: Session) -> str:
    told: str = session.ask("GET", "/api/v1/account").json()["account"]
    return told


def test_each_act_about_a_shared_folder_stands_with_its_owner_and_with_whom_it_is_about(
    people: tuple[Session, Session],
) -> None:
    owner, guest = people
    asked = {"path": "/Team", "with": [{"user": name_of(guest), "role": "viewer"}]}
    share = owner.ask("POST", "/api/v1/shares", asked).json()["id"]
    route, member = f"/api/v1/shares/{share}", f"/api/v1/shares/{share}/members/{guest.account_id.hex()}"
    invitation = f"/api/v1/share-invitations/{share}"

    def invited() -> None:
        again = {"user": name_of(guest), "role": "editor"}
        assert owner.ask("POST", f"{route}/members", again).status == 200

    assert guest.ask("POST", f"{invitation}/decline").status == 204
    invited()
    assert guest.ask("POST", f"{invitation}/accept").status == 200
    assert owner.ask("PATCH", member, {"role": "viewer"}).status == 204
    assert guest.ask("POST", f"{route}/leave").status == 204
    invited()
    assert guest.ask("POST", f"{invitation}/accept").status == 200
    assert owner.ask("DELETE", member).status == 204
    invited()
    assert guest.ask("POST", f"{invitation}/accept").status == 200
    assert owner.ask("POST", f"{route}/transfer", {"account_id": guest.account_id.hex()}).status == 204
    assert guest.ask("DELETE", route).status == 204

    once = ["share_offered", "share_accepted"]
    assert [row["action"] for row in rows_of(owner)] == [
        *("share_made", "share_offered", "share_declined", *once, "share_changed", "share_left"),
        *(*once, "share_removed", *once, "share_handed_over", "share_ended"),
    ]
    assert [row["action"] for row in rows_of(guest)] == [
        *("share_declined", "share_accepted", "share_changed", "share_left", "share_accepted", "share_removed"),
        *("share_accepted", "share_handed_over", "share_ended"),
    ]
    by_owner = {"share_made", "share_offered", "share_changed", "share_removed", "share_handed_over"}
    for row in rows_of(owner):
        who = owner if row["action"] in by_owner else guest
        told = (row["actor"], row["device"], row["address"], row["subject"])
        assert told == (name_of(who), who.device_id.hex(), LOCALHOST, share), row


def test_what_is_refused_stands_nowhere(people: tuple[Session, Session], server: RunningServer) -> None:
    owner, guest = people
    share = owner.ask("POST", "/api/v1/shares", {"path": "/Team"}).json()["id"]
    before = rows_of(owner)
    for method, route, body in (
        ("DELETE", f"/api/v1/shares/{share}", None),
        ("POST", f"/api/v1/shares/{share}/leave", None),
        ("POST", f"/api/v1/share-invitations/{share}/accept", None),
        ("POST", f"/api/v1/shares/{share}/members", {"user": name_of(guest), "role": "editor"}),
        ("POST", f"/api/v1/shares/{share}/transfer", {"account_id": guest.account_id.hex()}),
    ):
        assert guest.ask(method, route, body).status == 404, route
    assert (rows_of(owner), rows_of(guest)) == (before, [])
    verified = server.admin("audit.verify")
    assert isinstance(verified, dict) and verified["problems"] == []


def test_links_devices_and_rewinds_stand_with_device_and_address(people: tuple[Session, Session]) -> None:
    owner, _ = people
    owner.ask("PUT", "/api/v1/content", b"one", path="/Team/a")
    head = owner.ask("GET", "/api/v1/activity/days").json()["head_seq"]
    owner.ask("PUT", "/api/v1/content", b"two", path="/Team/a")
    link = owner.ask("POST", "/api/v1/links", {"path": "/Team"}).json()["id"]
    assert owner.ask("PATCH", f"/api/v1/links/{link}", {"downloads_max": 3}).status == 200
    assert owner.ask("DELETE", f"/api/v1/links/{link}").status == 204
    done = owner.ask("POST", "/api/v1/rewind", {"to_seq": head}).json()
    assert done["is_finished"]
    assert owner.ask("POST", "/api/v1/rewind", {"undo": done["id"]}).json()["is_finished"]
    made = owner.ask("POST", "/api/v1/app-passwords", {"name": "phone"}).json()["app_password"]["id"]
    owner.ask("DELETE", f"/api/v1/app-passwords/{made}")
    rows = rows_of(owner)
    rewind = ["rewind_begun", "rewound"]
    assert [row["action"] for row in rows] == [
        *("link_made", "link_changed", "link_revoked", *rewind, *rewind, "app_password_made", "app_password_revoked"),
    ]
    assert {(row["device"], row["address"]) for row in rows} == {(owner.device_id.hex(), LOCALHOST)}
    assert f'"undoes":"{done["id"]}"' in rows[-3]["detail"]


def test_what_is_purged_stands_in_the_log_with_it_or_not_at_all(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        clock, account = SteppingClock(), ada.principal.account_id
        for name in ("a", "b"):
            node = await ada.file(name, name.encode())
            await ada.commit(DeleteOp(op_id(), NodeId(node), 1 << 40))

        async def purged(now_ms: int) -> list[Recorded]:
            await purge_trash(db, clock, keep_days=30, now_ms=now_ms)
            return [row for row in await read_chain(db, account) if row.action == "purged"]

        day = 24 * 3_600_000
        assert await purged(clock.now_ms()) == []
        [row] = await purged(clock.now_ms() + 31 * day)
        assert (row.actor, row.device, '"deleted":2' in row.detail) == (b"", b"", True)
        assert await purged(clock.now_ms() + 32 * day) == [row]

    run(scenario)
