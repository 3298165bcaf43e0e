"""Links against a real server: what a link opens, what it does not, and that all it does not open answers alike."""

from __future__ import annotations

import http.client
import io
import os
import re
import threading
import time
import zipfile

import pytest

from satchel.core.limits import MIB
from tests.support.link_makers import (
    PASSWORD,
    UNKNOWN,
    Maker,
    locked,
    maker,
    numbers,
    other,
    own,
    public,
    same,
    server,
    signed_in,
    unlock,
)
from tests.support.server import Answer, RunningServer, ask

__all__ = ["locked", "maker", "other", "own", "server"]


# -- what opens -------------------------------------------------------------------------------------------------------


def test_links_go_on_opening_when_their_folder_is_made_a_shared_one(server: RunningServer) -> None:
    own = signed_in(server).fill()
    to_folder, to_file, to_other = own.link("/docs"), own.link("/docs/inner/b.png"), own.link("/private.txt")
    assert own.session.ask("POST", "/api/v1/shares", {"path": own.base + "/docs"}).status == 200
    assert public(own, to_folder["token"]).json()["name"] == "docs"
    listed = public(own, to_folder["token"], "/list").json()["items"]
    assert [item["name"] for item in listed] == ["a.txt", "inner"]
    assert public(own, to_folder["token"], "/content", id=own.ids["/docs/a.txt"]).body == b"the letter"
    assert public(own, to_file["token"], "/content").body == b"not really an image"
    assert public(own, to_other["token"], "/content").body == b"private"
    assert public(own, own.link("/docs")["token"], "/list").json()["items"] == listed
    mine = own.session.ask("GET", "/api/v1/links").json()["links"]
    moved = [link for link in mine if link["name"] == "b.png"]
    assert own.session.ask("DELETE", f"/api/v1/links/{moved[-1]['id']}").status == 204
    assert public(own, to_file["token"], "/content").status == 404


def test_a_folder_is_shown_listed_and_downloaded_by_its_ids(maker: Maker) -> None:
    link = maker.link("/docs")
    info = public(maker, link["token"]).json()
    assert (info["is_locked"], info["permission"], info["name"], info["item"]["kind"]) == (
        False,
        "view",
        "docs",
        "folder",
    )
    assert ask(maker.session.url, "GET", f"/s/{link['token']}").json() == info
    listed = public(maker, link["token"], "/list").json()["items"]
    assert [item["name"] for item in listed] == ["a.txt", "inner"]
    inner = public(maker, link["token"], "/list", id=listed[1]["id"]).json()["items"]
    assert [(item["name"], item["preview"]) for item in inner] == [("b.png", "image/png")]
    got = public(maker, link["token"], "/content", id=inner[0]["id"])
    assert (got.status, got.body) == (200, b"not really an image")


def test_a_file_is_given_by_ranges_under_a_strong_tag_and_never_runs(maker: Maker) -> None:
    data = os.urandom(5 * MIB)
    maker.put("/docs/big.html", data)
    token = maker.link("/docs/big.html")["token"]
    whole = public(maker, token, "/content")
    assert whole.body == data
    assert whole.headers["content-disposition"].startswith("attachment; filename*=UTF-8''big.html")
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    part = ask(
        maker.session.url,
        "GET",
        f"/api/v1/public/{token}/content",
        headers={"Range": "bytes=4194300-4194310", "If-Range": whole.headers["etag"]},
    )
    assert (part.status, part.body) == (206, data[4194300:4194311])
    known = ask(
        maker.session.url,
        "GET",
        f"/api/v1/public/{token}/content",
        headers={"If-None-Match": whole.headers["etag"]},
    )
    assert (known.status, known.body) == (304, b"")
    assert whole.headers["etag"].startswith('"')


def test_only_safe_types_are_shown_and_only_when_asked(maker: Maker) -> None:
    token = maker.link("/docs")["token"]
    maker.put("/docs/evil.svg", b"<svg onload='alert(1)'/>")
    shown = public(maker, token, "/content", id=maker.ids["/docs/a.txt"], preview=True)
    assert (shown.headers["content-disposition"], shown.headers["content-type"]) == (
        "inline",
        "text/plain; charset=utf-8",
    )
    evil = public(maker, token, "/content", id=maker.ids["/docs/evil.svg"], preview=True)
    assert evil.headers["content-disposition"].startswith("attachment")
    assert evil.headers["content-type"] == "application/octet-stream"


def test_a_link_without_downloads_shows_previews_and_nothing_else(maker: Maker) -> None:
    token = maker.link("/docs", is_no_download=True)["token"]
    shown = public(maker, token, "/content", id=maker.ids["/docs/a.txt"])
    assert (shown.headers["content-disposition"], shown.body) == ("inline", b"the letter")
    maker.put("/docs/c.bin", b"no preview")
    assert public(maker, token, "/content", id=maker.ids["/docs/c.bin"]).status == 404
    assert public(maker, token, "/zip").status == 404


def test_a_password_is_asked_for_by_every_route_and_given_once_an_hour(maker: Maker) -> None:
    link = maker.link("/docs", password=PASSWORD)
    token = link["token"]
    assert public(maker, token).json() == {
        "is_locked": True,
        "permission": "",
        "name": "",
        "item": None,
        "is_no_download": False,
        "downloads_left": None,
        "expires_ms": None,
        "by": "",
    }
    wrong = unlock(maker, token, "not the password")
    assert (wrong.status, wrong.json()["error"]["code"]) == (403, "link_locked")
    right = unlock(maker, token, PASSWORD)
    key = right.json()["key"]
    cookie = right.headers["set-cookie"]
    assert cookie.startswith("__Host-satchel-link-")
    assert all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/"))
    assert public(maker, token, "/list", key=key).status == 200
    by_cookie = ask(
        maker.session.url, "GET", f"/api/v1/public/{token}/list", headers={"Cookie": cookie.partition(";")[0]}
    )
    assert by_cookie.status == 200
    other = maker.link("/docs", password=PASSWORD)["token"]
    assert public(maker, other, "/list", key=key).status == 403
    assert maker.session.ask("PATCH", f"/api/v1/links/{link['id']}", {"password": "another password"}).status == 200
    assert public(maker, token, "/list", key=key).status == 403


def test_what_changes_something_takes_no_cookie(maker: Maker) -> None:
    token = maker.link("/docs", permission="edit", password=PASSWORD)["token"]
    cookie = unlock(maker, token, PASSWORD).headers["set-cookie"].partition(";")[0]
    answer = ask(
        maker.session.url,
        "PUT",
        f"/api/v1/public/{token}/upload?name=forged",
        b"forged",
        headers={"Cookie": cookie},
    )
    assert (answer.status, "forged" in maker.names("/docs")) == (403, False)


# -- archives ---------------------------------------------------------------------------------------------------------


def test_a_folder_comes_as_an_archive_with_safe_names(own: Maker) -> None:
    big = os.urandom(3 * MIB)
    own.put("/docs/inner/größe 🎒.bin", big)
    own.put("/docs/..\\evil\x07.txt", b"evil")
    own.put("/docs/empty", b"")
    own.folder("/docs/nothing")
    answer = public(own, own.link("/docs")["token"], "/zip")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''docs.zip"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist() if "evil" not in name} == {
            "docs/": b"",
            "docs/a.txt": b"the letter",
            "docs/empty": b"",
            "docs/inner/": b"",
            "docs/inner/b.png": b"not really an image",
            "docs/inner/größe 🎒.bin": big,
            "docs/nothing/": b"",
        }
        (evil,) = [name for name in archive.namelist() if "evil" in name]
        assert re.fullmatch(r"docs/\.\._evil_\.txt~[0-9a-f]{8}", evil)
        assert archive.read(evil) == b"evil"


def test_damage_cuts_an_archive_off(server: RunningServer, own: Maker) -> None:
    own.put("/docs/zz.bin", os.urandom(20 * MIB))
    token = own.link("/docs")["token"]
    whole = public(own, token, "/zip").body
    lost = whole[len(whole) - MIB : len(whole) - MIB + 64]
    for path in (server.data / "blocks").rglob("*"):
        if path.is_file() and (at := path.read_bytes().find(lost)) >= 0:
            with path.open("r+b") as pack:
                pack.seek(at)
                pack.write(bytes(64))
    with pytest.raises(http.client.IncompleteRead) as cut:
        public(own, token, "/zip")
    # What came is the archive as far as it is whole: nothing in the place of what is lost, and no end to it.
    assert 4 * MIB < len(cut.value.partial) < len(whole) - MIB
    assert cut.value.partial == whole[: len(cut.value.partial)]


# -- counts -----------------------------------------------------------------------------------------------------------


def test_a_download_limit_is_exact_under_a_hundred_at_once(own: Maker) -> None:
    token = own.link("/docs/a.txt", downloads_max=7)["token"]
    statuses: list[int] = []

    def download() -> None:
        status = 429
        while status in (429, 503):  # too many at once: told to come again, and not counted
            status = public(own, token, "/content").status
        statuses.append(status)

    threads = [threading.Thread(target=download) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 7 + [404] * 93


def test_going_on_with_a_counted_download_does_not_count(own: Maker) -> None:
    data = os.urandom(2 * MIB)
    own.put("/docs/long.bin", data)
    link = own.link("/docs", downloads_max=2)
    content = f"/api/v1/public/{link['token']}/content?id={own.ids['/docs/long.bin']}"

    def get(first: int, **headers: str) -> Answer:
        return ask(own.session.url, "GET", content, headers={"Range": f"bytes={first}-", **headers})

    begun = get(0)
    key = {"Satchel-Download-Key": begun.headers["satchel-download-key"]}
    assert get(MIB, **key).body == data[MIB:]
    assert own.shown(link)["downloads"] == 1
    cookie = {"Cookie": begun.headers["set-cookie"].partition(";")[0]}
    # Without its key, what begins in the middle is a download of its own: else all but a byte would be free.
    assert get(1).status == 206
    assert own.shown(link)["downloads"] == 2
    assert get(MIB, **cookie).body == data[MIB:]
    assert get(0, **key).status == 404
    assert get(MIB).status == 404
    assert own.shown(link)["downloads"] == 2


def test_looks_and_downloads_are_counted_without_a_limit_too(own: Maker) -> None:
    link = own.link("/docs")
    for _ in range(3):
        public(own, link["token"])
    public(own, link["token"], "/content", id=own.ids["/docs/a.txt"])
    public(own, link["token"], "/zip")
    shown = own.shown(link)
    assert (shown["hits"], shown["downloads"], shown["seen_ms"] > 0) == (3, 2, True)


# -- taking files -----------------------------------------------------------------------------------------------------


def test_a_file_request_takes_files_under_names_of_their_own_and_shows_nothing(own: Maker) -> None:
    token = own.link("/docs", permission="upload")["token"]
    info = public(own, token).json()
    assert (info["permission"], info["name"], info["item"]) == ("upload", "docs", None)
    for _ in range(2):
        answer = public(own, token, "/upload", "PUT", b"mine", name="a.txt")
        assert (answer.status, answer.json()) == (201, {"name": "a.txt", "size": 4, "id": ""})
    assert own.names("/docs") == ["a (2).txt", "a (3).txt", "a.txt", "inner"]
    sent = own.session.ask("GET", "/api/v1/entry", path=f"{own.base}/docs/a (2).txt").json()
    assert abs(sent["mtime_ns"] / 1e9 - time.time()) < 300
    assert public(own, token, "/upload", "PUT", b"x", name="n", parent=own.ids["/docs/inner"]).status == 404
    assert public(own, token, "/list").status == 404
    assert public(own, token, "/content", id=own.ids["/docs/a.txt"]).status == 404
    assert public(own, token, "/zip").status == 404


def test_an_edit_link_changes_what_is_beneath_it_as_its_maker(own: Maker) -> None:
    token = own.link("/docs", permission="edit")["token"]
    file = own.ids["/docs/a.txt"]
    (item,) = [item for item in public(own, token, "/list").json()["items"] if item["id"] == file]
    edited = public(own, token, "/content", "PUT", b"edited", id=file)
    assert (edited.status, edited.json()["rev"] > item["rev"]) == (200, True)
    stale = ask(
        own.session.url,
        "PUT",
        f"/api/v1/public/{token}/content?id={file}",
        b"late",
        headers={"If-Match": str(item["rev"])},
    )
    assert stale.status == 412
    folder = public(own, token, "/folders", "POST", {"name": "new"}).json()["id"]
    assert public(own, token, "/upload", "PUT", b"up", name="up.txt", parent=folder).status == 201
    assert public(own, token, "/move", "POST", {"id": file, "name": "b.txt", "parent": folder}).status == 200
    assert own.names("/docs/new") == ["b.txt", "up.txt"]
    assert public(own, token, "/delete", "POST", {"id": own.ids["/docs/inner"]}).status == 204
    assert own.names("/docs") == ["new"]
    # Its own node stays where it is.
    root = own.ids["/docs"]
    assert public(own, token, "/move", "POST", {"id": root, "name": "x"}).status == 404
    assert public(own, token, "/delete", "POST", {"id": root}).status == 404
    version = own.session.ask("GET", "/api/v1/versions", path=f"{own.base}/docs/new/b.txt").json()["versions"][0]
    assert (version["author"], version["device"]) == (own.user.name, "")


def test_no_quota_is_passed_by_a_link_and_none_is_told(server: RunningServer) -> None:
    user = server.add_user(f"small {next(numbers)}", quota_bytes=MIB)
    small = Maker(user, user.sign_in())
    small.folder("/in")
    token = small.link("/in", permission="upload")["token"]
    # What is refused is short: it is sent before the answer, which comes without reading it, ends the connection.
    assert public(small, token, "/upload", "PUT", os.urandom(MIB - 100), name="big").status == 201
    answer = public(small, token, "/upload", "PUT", os.urandom(1_000), name="more")
    assert (answer.status, answer.json()["error"]["fields"]) == (507, {})
    assert small.names("/in") == ["big"]


# -- the maker's side -------------------------------------------------------------------------------------------------


def test_a_token_is_told_once_and_its_hash_alone_is_stored(server: RunningServer, maker: Maker) -> None:
    link = maker.link("/docs")
    assert link["url"].endswith(f"/s/{link['token']}")
    assert len(link["token"]) == 43
    listed = {each["id"]: each for each in maker.session.ask("GET", "/api/v1/links").json()["links"]}
    assert (listed[link["id"]]["token"], listed[link["id"]]["url"], listed[link["id"]]["path"]) == ("", "", "/docs")
    stored = b"".join(path.read_bytes() for path in server.data.rglob("*") if path.is_file())
    assert link["token"].encode() not in stored
    assert link["token"] not in server.log()


def test_a_link_ends_in_thirty_days_unless_its_maker_says_otherwise(maker: Maker) -> None:
    month = 30 * 24 * 60 * 60 * 1000
    link = maker.link("/docs")
    assert 0 <= link["created_ms"] - (link["expires_ms"] - month) < 600_000
    assert maker.link("/docs", expires_ms=None)["expires_ms"] is None
    changed = maker.session.ask("PATCH", f"/api/v1/links/{link['id']}", {"expires_ms": None, "downloads_max": 3}).json()
    assert (changed["expires_ms"], changed["downloads_max"]) == (None, 3)
    past = maker.session.ask("POST", "/api/v1/links", {"path": "/docs", "expires_ms": 1})
    assert past.status == 400


def test_links_are_listed_by_pages(own: Maker) -> None:
    before = own.link("/docs")["id"]
    made = [own.link("/docs")["id"] for _ in range(3)]
    first = own.session.ask("GET", "/api/v1/links", limit=2, after=before).json()
    rest = own.session.ask("GET", "/api/v1/links", limit=2, after=first["after"]).json()
    assert [each["id"] for each in first["links"] + rest["links"]] == made
    assert rest["after"] == ""


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PATCH", {"password": ""}), ("DELETE", None)])
def test_another_account_finds_no_link_of_this_one(own: Maker, maker: Maker, method: str, body: object) -> None:
    link = own.link("/docs")
    nobodys = os.urandom(32).hex()
    theirs = maker.session.ask(method, f"/api/v1/links/{link['id']}", body)
    assert same(theirs) == same(maker.session.ask(method, f"/api/v1/links/{nobodys}", body))
    assert theirs.status == 404
    for id, ns in ((own.ids["/docs"], own.session.root_ns.hex()), (os.urandom(16).hex(), os.urandom(16).hex())):
        assert maker.session.ask("POST", "/api/v1/links", {"id": id, "ns": ns}).status == 404
    assert maker.session.ask("GET", "/api/v1/links", ns=own.session.root_ns.hex()).status == 404
    assert public(own, link["token"]).status == 200


def test_terms_out_of_bounds_are_refused_and_never_break_anything(maker: Maker) -> None:
    for terms in (
        {"expires_ms": 10**30},
        {"expires_ms": -1},
        {"downloads_max": 2**63},
        {"downloads_max": 0},
        {"permission": "own"},
        {"id": "no-id"},
        {"id": maker.ids["/docs"]},
        {"ns": "00"},
        {"unknown": 1},
    ):
        assert maker.session.ask("POST", "/api/v1/links", {"path": "/docs", **terms}).status == 400, terms
    link = maker.link("/docs", permission="edit")
    token = link["token"]
    for name in ("", "..", "a/b", "a\0b", "x" * 256):
        assert public(maker, token, "/upload", "PUT", b"x", name=name).status == 400, name
        assert public(maker, token, "/folders", "POST", {"name": name}).status == 400, name
    assert public(maker, token, "/upload", "PUT", b"x", name="n", mtime_ns=2**70).status == 400
    assert public(maker, token, "/list", limit=0).status == 400
    assert public(maker, token, "/list", after="\0\uffff").json() == {"items": [], "after": ""}
    assert public(maker, "%00%ff/../..", "/list").status == 404
    for method in ("HEAD", "OPTIONS", "DELETE", "PATCH"):
        answers = [same(public(maker, each, "/content", method)) for each in (token, UNKNOWN)]
        assert (answers[0], answers[0][0] in (401, 404)) == (answers[1], True)
