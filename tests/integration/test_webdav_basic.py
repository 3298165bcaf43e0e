"""WebDAV's first words: what litmus' suites `basic` and `http` ask, and what stays of what was there."""

from __future__ import annotations

import http.client
import os
import socket
from dataclasses import replace

import pytest

from satchel.core.limits import MIB
from tests.support.server import RunningServer
from tests.support.webdav import Dav, asked, basic, client, condition, escaped

HARD_NAMES = (
    "with space",
    " outer ",
    "100%",
    "%41",
    "a#b",
    "a?b=c",
    "a&b;c",
    "<tag>",
    'quo"te',
    "it's",
    "plus+plus",
    "back\\slash",
    "colon:star*pipe|",
    "comma,equals=",
    "brackets[1](2){3}",
    "~tilde^`@$!",
    "...",
    "trailing.",
    "._apple",
    ".DS_Store",
    "desktop.ini",
    "line\nbreak",
    "tab\tbell\x07",
    "ünïcödé",
    "e\u0301 apart",
    "日本語",
    "\U0001f600",
    "\ufffe",
    "\u202eright to left",
    "n" * 255,
    "ä" * 127,
)


def test_options_tell_what_can_be_done_to_anyone(dav: Dav) -> None:
    answer = asked(dav.port, "OPTIONS", "/dav/", b"", {})
    assert answer.status == 200
    assert [part.strip() for part in answer.headers["dav"].split(",")] == ["1", "2", "3"]
    assert {"PROPFIND", "LOCK", "COPY"} <= set(answer.headers["allow"].split(", "))


def test_what_was_put_is_got(dav: Dav) -> None:
    data = os.urandom(100_000)
    first = dav.put("/res", data)
    assert first.status == 201
    answer = dav.ask("GET", "/res")
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, data, first.headers["etag"])
    assert dav.ask("HEAD", "/res").headers["content-length"] == "100000"
    assert dav.ask("HEAD", "/res").body == b""


def test_a_large_file_comes_in_parts_without_a_length(dav: Dav) -> None:
    data = os.urandom(9 * MIB)
    answer = dav.ask(
        "PUT", "/big", (data[at : at + MIB] for at in range(0, len(data), MIB)), X_Expected_Entity_Length="9"
    )
    assert answer.status == 201
    assert dav.get("/big") == data
    part = dav.ask("GET", "/big", Range=f"bytes={4 * MIB - 5}-{5 * MIB}")
    assert (part.status, part.body) == (206, data[4 * MIB - 5 : 5 * MIB + 1])
    assert part.headers["content-range"] == f"bytes {4 * MIB - 5}-{5 * MIB}/{len(data)}"
    assert dav.ask("HEAD", "/big", Range="bytes=0-9").headers["content-length"] == "10"


def test_ranges_that_cannot_be_are_told(dav: Dav) -> None:
    tag = dav.put("/r", b"0123456789").headers["etag"]
    assert dav.ask("GET", "/r", Range="bytes=-3").body == b"789"
    assert dav.ask("GET", "/r", Range="bytes=10-").status == 416
    assert dav.ask("GET", "/r", Range="bytes=" + "9" * 6_000 + "-").status == 200
    assert dav.ask("GET", "/r", Range="bytes=0-1", If_Range=tag).status == 206
    assert dav.ask("GET", "/r", Range="bytes=0-1", If_Range='"other"').body == b"0123456789"


def test_an_overwritten_file_stays_a_version(dav: Dav) -> None:
    assert dav.put("/v", b"one").status == 201
    assert dav.put("/v", b"two").status == 204
    assert dav.get("/v") == b"two"
    assert dav.versions("/v") == 2


@pytest.mark.parametrize("method", ["PUT", "MKCOL"])
def test_nothing_is_made_where_no_folder_is(dav: Dav, method: str) -> None:
    assert dav.status(method, "/none/file", b"" if method == "MKCOL" else b"x") == 409
    dav.put("/plain")
    assert dav.status(method, "/plain/file", b"" if method == "MKCOL" else b"x") == 409


def test_folders_are_made_once_and_without_a_body(dav: Dav) -> None:
    dav.mkcol("/coll/")
    assert dav.status("MKCOL", "/coll") == 405
    assert dav.root.status("MKCOL", "/") == 405
    assert dav.status("MKCOL", "/other", b"afafafaf", Content_Type="xzy-foo/bar-512") == 415
    dav.put("/plain")
    assert dav.status("MKCOL", "/plain") == 405
    assert dav.status("PUT", "/coll", b"x") == 405
    assert dav.root.status("PUT", "/", b"x") == 405


def test_what_is_deleted_is_in_the_trash(dav: Dav) -> None:
    dav.mkcol("/coll")
    dav.put("/coll/a")
    dav.put("/b")
    assert dav.status("DELETE", "/b") == 204
    assert dav.status("DELETE", "/coll") == 204
    assert dav.status("DELETE", "/b") == 404
    assert dav.status("GET", "/coll/a") == 404
    assert sorted(dav.trash()) == ["/b", "/coll"]
    assert dav.root.status("DELETE", "/") == 403
    dav.mkcol("/c")
    assert dav.status("DELETE", "/c", Depth="0") == 400


def test_an_address_with_a_fragment_deletes_nothing(dav: Dav) -> None:
    dav.mkcol("/frag")
    headers = {"Authorization": basic(dav.user, dav.password)}
    connection = http.client.HTTPConnection("127.0.0.1", dav.port, timeout=30)
    # Both on one connection, which goes on as before.
    for method, path, status in (("DELETE", "/frag/#ment", 400), ("MKCOL", "/frag/in", 201)):
        connection.request(method, f"/dav{dav.base}{path}", headers=headers)
        response = connection.getresponse()
        assert (response.status, bool(response.read())) == (status, status == 400)
    connection.close()
    assert dav.names("/frag") == ["/frag/in/"]


def test_a_client_that_waits_for_the_word_to_go_on_gets_it(dav: Dav) -> None:
    head = f"PUT /dav{dav.base}/waits HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(dav.user, dav.password)}\r\n"
    with socket.create_connection(("127.0.0.1", dav.port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Length: 4\r\nExpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"data")
        assert connection.recv(100).startswith(b"HTTP/1.1 201 ")
    assert dav.get("/waits") == b"data"


def test_every_hard_name_is_found_by_the_address_that_is_told(dav: Dav) -> None:
    for name in HARD_NAMES:
        dav.put("/" + escaped(name), name.encode())
    told = dav.names("/")
    assert len(told) == len(HARD_NAMES)
    assert sorted(dav.get(href).decode() for href in told) == sorted(HARD_NAMES)
    listed = dav.session.ask("GET", "/api/v1/files", path=dav.base).json()["items"]
    assert sorted(item["name"] for item in listed) == sorted(HARD_NAMES)


def test_a_name_that_no_file_can_have_is_refused(dav: Dav) -> None:
    for path in ("/%2e%2e", "/..", "/a%2Fb", "/nul%00", "/%ff%fe", "/" + "n" * 256, "/."):
        assert dav.status("PUT", path, b"x") == 400, path
    assert dav.status("PUT", "/x" * 130, b"x") == 413
    assert dav.names("/") == []
    for path in ("/dav%2Fres", "/da%76x/"):
        assert asked(dav.port, "GET", path, b"", {"Authorization": basic(dav.user, dav.password)}).status in (401, 404)


def test_a_change_at_an_address_with_a_query_is_refused(dav: Dav) -> None:
    dav.put("/a", b"mine")
    # What a program meant that forgot to escape the name "a?b".
    assert dav.status("PUT", "/a?b", b"x") == 400
    assert dav.status("DELETE", "/a?b") == 400
    assert dav.status("COPY", "/a", Destination=dav.to("/c?d")) == 400
    assert dav.status("GET", "/a?b") == 200
    assert dav.names("/") == ["/a"]


def test_names_that_differ_in_case_alone_are_one_file(dav: Dav) -> None:
    dav.put("/Foo", b"one")
    assert dav.put("/foo", b"two").status == 204
    assert dav.names("/") == ["/Foo"]
    assert dav.status("MOVE", "/foo", Destination=dav.to("/FOO")) == 201
    assert dav.names("/") == ["/FOO"]


def test_conditions_of_http_hold(dav: Dav) -> None:
    first = dav.put("/c", b"one").headers["etag"]
    assert dav.status("PUT", "/c", b"x", If_None_Match="*") == 412
    assert dav.status("PUT", "/new", b"x", If_Match="*") == 412
    second = dav.put("/c", b"two", If_Match=first).headers["etag"]
    assert dav.status("PUT", "/c", b"x", If_Match=first) == 412
    assert dav.status("DELETE", "/c", If_Match=first) == 412
    assert dav.status("GET", "/c", If_None_Match=f'"other", {second}') == 304
    assert dav.status("GET", "/c", If_Match=first) == 412
    assert dav.get("/c") == b"two"
    assert dav.status("PUT", "/c2", b"x", If_None_Match="*") == 201


def test_a_part_or_a_coded_file_is_not_stored_as_a_whole(dav: Dav) -> None:
    assert dav.status("PUT", "/p", b"x", Content_Range="bytes 0-0/5") == 400
    assert dav.status("PUT", "/p", b"x", Content_Encoding="gzip") == 415
    assert dav.names("/") == []


def test_the_time_that_sync_programs_tell_is_kept(dav: Dav) -> None:
    assert dav.put("/t", b"x", X_OC_Mtime="1000000000").headers["x-oc-mtime"] == "accepted"
    assert dav.ask("HEAD", "/t").headers["last-modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"


def test_content_is_harmless_in_a_browser(dav: Dav) -> None:
    dav.put("/evil.html", b"<script>alert(1)</script>")
    answer = dav.ask("GET", "/evil.html")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    folder = dav.ask("GET", "/")
    assert (folder.status, folder.headers["content-type"]) == (200, "text/plain; charset=utf-8")


def test_past_the_quota_nothing_is_stored(dav_server: RunningServer) -> None:
    dav = client(dav_server, quota_bytes=1_000)
    answer = dav.ask("PUT", "/big", os.urandom(2_000))
    assert (answer.status, condition(answer)) == (507, "quota-not-exceeded")
    answer = dav.ask("PUT", "/big", (os.urandom(2_000),))
    assert (answer.status, condition(answer)) == (507, "quota-not-exceeded")
    assert dav.names("/") == []


def test_unknown_methods_are_refused(dav: Dav) -> None:
    for method in ("POST", "PATCH", "REPORT", "SEARCH", "TRACE"):
        assert dav.status(method, "/") == 405, method


def test_a_name_and_its_token_open_the_account_and_nothing_else_does(dav: Dav, dav_server: RunningServer) -> None:
    dav.put("/mine", b"mine")
    other = client(dav_server)
    refused = [
        {},
        {"Authorization": basic(dav.user, "wrong")},
        {"Authorization": basic(dav.user, "")},
        {"Authorization": basic(other.user, dav.password)},
        {"Authorization": basic(dav.user, other.password)},
        {"Authorization": basic("", dav.password)},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + "QUFB" * 2_000},
        {"Authorization": "Digest x"},
        {"Authorization": "Bearer wrong"},
    ]
    mine = f"/dav{dav.base}/mine"
    answers = [asked(dav.port, "GET", mine, b"", headers) for headers in refused]
    assert {answer.status for answer in answers} == {401}
    assert all(answer.headers["www-authenticate"].startswith("Basic realm=") for answer in answers)
    assert other.status("GET", f"{dav.base}/mine") == 404
    bearer = {"Authorization": f"Bearer {dav.password}"}
    assert asked(dav.port, "GET", mine, b"", bearer).body == b"mine"


def test_a_token_that_was_revoked_opens_nothing(dav_server: RunningServer) -> None:
    dav = client(dav_server)
    dav.put("/mine")
    assert dav.session.ask("POST", "/api/v1/logout").status == 204
    assert dav.status("GET", "/mine") == 401


def test_an_app_password_opens_webdav_and_nothing_else(dav: Dav) -> None:
    made = dav.session.ask("POST", "/api/v1/app-passwords", {"name": "phone"}).json()
    phone = replace(dav, password=made["secret"])
    assert phone.put("/from-phone", b"hello").status == 201
    token = phone.locked("/from-phone")
    assert phone.status("UNLOCK", "/from-phone", Lock_Token=token) == 204
    assert dav.get("/from-phone") == b"hello"
    assert replace(phone, user="somebody else").status("GET", "/from-phone") == 401
    bearer = {"Authorization": f"Bearer {made['secret']}"}
    assert asked(dav.port, "GET", f"/dav{dav.base}/from-phone", b"", bearer).status == 401
    assert dav.session.ask("DELETE", f"/api/v1/app-passwords/{made['app_password']['id']}").status == 204
    assert phone.status("GET", "/from-phone") == 401


def test_an_app_password_that_reads_changes_nothing(dav: Dav) -> None:
    dav.put("/a", b"a")
    asked_for = {"name": "reader", "may_write": False}
    secret = dav.session.ask("POST", "/api/v1/app-passwords", asked_for).json()["secret"]
    reader = replace(dav, password=secret)
    assert reader.get("/a") == b"a"
    assert reader.names("/") == ["/a"]
    patch = b'<propertyupdate xmlns="DAV:"><set><prop><x xmlns="x"/></prop></set></propertyupdate>'
    lock = b'<lockinfo xmlns="DAV:"><lockscope><shared/></lockscope><locktype><write/></locktype></lockinfo>'
    target = dav.to("/b")
    held = dav.locked("/a")
    for method, path, body, headers in (
        ("PUT", "/a", b"x", {}),
        ("PUT", "/b", b"x", {}),
        ("MKCOL", "/b", b"", {}),
        ("DELETE", "/a", b"", {}),
        ("COPY", "/a", b"", {"Destination": target}),
        ("MOVE", "/a", b"", {"Destination": target}),
        ("PROPPATCH", "/a", patch, {}),
        ("LOCK", "/a", lock, {}),
        ("LOCK", "/b", lock, {}),
        ("LOCK", "/a", b"", {"If": f"({held})"}),
        ("UNLOCK", "/a", b"", {"Lock-Token": held}),
    ):
        assert reader.status(method, path, body, **headers) == 403, (method, path)
    assert dav.names("/") == ["/a"]
    assert dav.get("/a") == b"a"


def test_guesses_are_few(dav: Dav) -> None:
    guesses = [asked(dav.port, "GET", "/dav/", b"", {"Authorization": basic("guessed", "x")}).status for _ in range(11)]
    assert guesses == [401] * 10 + [429]
    assert dav.status("GET", "/") == 200
