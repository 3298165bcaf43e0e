"""Pictures of what is shared: with people, by links, and as whoever holds a link sees it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.server import PASSWORD, RunningServer, Session, User, ask

if TYPE_CHECKING:
    from playwright.sync_api import Page

WORD = "a word for friends"
PEOPLE = ("carla", "dieter")
DAY_MS = 86_400_000


def share(session: Session, server: RunningServer) -> dict[str, str]:
    """Share with people and by links, once for all pictures; return the addresses of links by what they are."""
    others = []
    for name in PEOPLE:
        token = session.ask("POST", "/api/v1/invitations", {}).json()["token"]
        taken = {"token": token, "user": name, "password": PASSWORD}
        assert ask(server.url, "POST", "/api/v1/invitations/accept", taken).status == 201
        others.append(User(server.url, name, PASSWORD).sign_in())
    carla, dieter = others
    for owner, path, role in (
        (carla, "/Choir", "viewer"),
        (dieter, "/Garden plans", "editor"),
        (dieter, "/Recipes", "editor"),
    ):
        assert owner.ask("POST", "/api/v1/folders", {"path": path}).status == 201
        assert owner.ask("PUT", "/api/v1/content", b"la la", path=f"{path}/first.txt").status == 200
        made = owner.ask("POST", "/api/v1/shares", {"path": path, "with": [{"user": "bob", "role": role}]}).json()
        if path != "/Recipes":
            assert session.ask("POST", f"/api/v1/share-invitations/{made['id']}/accept").status == 200
    made = session.ask(
        "POST", "/api/v1/shares", {"path": "/Pictures", "with": [{"user": name} for name in PEOPLE]}
    ).json()
    assert carla.ask("POST", f"/api/v1/share-invitations/{made['id']}/accept").status == 200
    for path in ("/Trip", "/Trip/Photos of the second day"):
        assert session.ask("POST", "/api/v1/folders", {"path": path}).status == 201
    for name in ("Packing list.txt", "Timetable.csv", "Video.mkv"):
        put = session.ask(
            "PUT", "/api/v1/content", name.encode() * 900, path=f"/Trip/{name}", mtime_ns=1_790_000_000_000_000_000
        )
        assert put.status == 200
    wanted: dict[str, dict[str, object]] = {
        "folder": {"path": "/Trip"},
        "edit": {"path": "/Trip", "permission": "edit", "expires_ms": None},
        "file": {"path": "/Budget 2026.csv", "downloads_max": 3},
        "look": {"path": "/plan.md", "is_no_download": True},
        "locked": {"path": "/Trip", "password": WORD},
        "request": {"path": "/Documents", "permission": "upload"},
    }
    links = {}
    for name, terms in wanted.items():
        made = session.ask("POST", "/api/v1/links", terms)
        assert made.status == 201
        links[name] = f"/s/{made.json()['token']}"
    return links


def sharing(page: Page, folder: Path, mark: str) -> None:
    """Take pictures of what a person who is signed in sees of it."""
    page.goto("/files")
    page.get_by_role("grid").wait_for()
    page.get_by_text("1 invitation").wait_for(state="attached")
    page.screenshot(path=folder / f"sharing-files-{mark}.png")
    page.goto("/files/Choir")
    page.get_by_text("You can look, not change").wait_for()
    page.screenshot(path=folder / f"sharing-view-only-{mark}.png")
    page.goto("/shared")
    page.get_by_role("button", name="Accept Recipes").wait_for()
    page.screenshot(path=folder / f"sharing-page-{mark}.png")
    page.get_by_role("heading", name="File requests").scroll_into_view_if_needed()
    page.screenshot(path=folder / f"sharing-page-end-{mark}.png")
    page.get_by_role("button", name="Manage Pictures").click()
    page.get_by_text("Invited, has not answered yet").wait_for()
    page.screenshot(path=folder / f"sharing-dialog-{mark}.png")
    page.get_by_role("button", name="Make a link").click()
    page.get_by_label("Ask for a password").check()
    page.screenshot(path=folder / f"sharing-link-{mark}.png")
    page.get_by_label("Ask for a password").uncheck()
    page.get_by_role("button", name="Make it").click()
    page.get_by_label("Your new link").wait_for()
    page.screenshot(path=folder / f"sharing-made-{mark}.png")
    page.get_by_role("button", name="Revoke the link: Look and download").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).last.click()
    page.get_by_text("The link is revoked.").wait_for()
    page.keyboard.press("Escape")
    page.goto("/files")
    page.get_by_role("button", name="More for plan.md").click()
    page.get_by_role("menuitem", name="Share").click()
    page.get_by_role("button", name="New address: Look only").click()
    page.get_by_text("only a fingerprint of it").wait_for()
    page.screenshot(path=folder / f"sharing-again-{mark}.png")


def opened(page: Page, folder: Path, mark: str, links: dict[str, str]) -> None:
    """Take pictures of what whoever holds a link sees."""
    for name in ("folder", "file", "look", "locked", "edit", "request"):
        page.goto(links[name])
        page.get_by_role("heading").first.wait_for()
        if name in ("folder", "edit"):
            page.get_by_role("button", name="Packing list.txt", exact=True).wait_for()
        page.screenshot(path=folder / f"link-{name}-{mark}.png")
    note = {"mimeType": "text/plain", "buffer": b"x" * 1000}
    page.get_by_label("Upload files").set_input_files(
        [{"name": name, **note} for name in ("offer.txt", "a letter with a rather long name that is cut.txt")]  # type: ignore[list-item]
    )
    page.get_by_role("heading", name="Thank you").wait_for()
    page.screenshot(path=folder / f"link-thanks-{mark}.png")
    page.goto("/s/nothing")
    page.get_by_role("heading").first.wait_for()
    page.screenshot(path=folder / f"link-gone-{mark}.png")
    page.goto(links["folder"])
    page.get_by_role("button", name="Packing list.txt", exact=True).click()
    page.get_by_role("dialog").get_by_text("Packing list.txtPacking").first.wait_for()
    page.screenshot(path=folder / f"link-preview-{mark}.png")
