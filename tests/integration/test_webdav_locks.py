"""LOCK and UNLOCK: what litmus' suite `locks` asks, and what keeps two programs from each other's files."""

from __future__ import annotations

import pytest

from satchel.core.limits import DAV_LOCK_OWNER_BYTES_MAX, DAV_LOCK_S_MAX
from tests.support.server import RunningServer
from tests.support.webdav import D, Dav, client, condition, multistatus

MISSING = "(<urn:uuid:00000000-0000-4000-8000-000000000000>)"


def test_a_lock_keeps_everyone_out_who_does_not_name_it(dav: Dav) -> None:
    dav.put("/f", b"one")
    dav.put("/other")
    token = dav.locked("/f")
    refused = [
        dav.ask("PUT", "/f", b"x"),
        dav.ask("DELETE", "/f"),
        dav.ask("MOVE", "/f", Destination=dav.to("/g")),
        dav.ask("COPY", "/other", Destination=dav.to("/f")),
        dav.ask("MOVE", "/other", Destination=dav.to("/f")),
        dav.proppatch("/f", '<D:set><D:prop><x xmlns="urn:x"/></D:prop></D:set>'),
    ]
    assert [answer.status for answer in refused] == [423] * len(refused)
    assert {condition(answer) for answer in refused} == {"lock-token-submitted"}
    assert dav.get("/f") == b"one"
    assert dav.status("COPY", "/f", Destination=dav.to("/copy")) == 201
    assert dav.status("PUT", "/copy", b"not locked") == 204
    assert dav.put("/f", b"two", If=f"({token})").status == 204
    assert dav.status("UNLOCK", "/f", Lock_Token=token) == 204
    assert dav.put("/f", b"three").status == 204


def test_a_lock_tells_itself(dav: Dav) -> None:
    dav.put("/f")
    answer = dav.lock("/f", owner="<D:href>mailto:me</D:href>", Timeout="Second-500, Infinite")
    assert answer.status == 200
    [found] = dav.propfind("/f", "lockdiscovery")
    active = found.properties[D + "lockdiscovery"][0]
    told = {child.tag.removeprefix(D): "".join(child.itertext()) for child in active}
    assert told["owner"] == "mailto:me"
    assert f"<{told['locktoken']}>" == answer.headers["lock-token"]
    assert told["lockroot"] == f"/dav{dav.base}/f"
    assert told["depth"] == "infinity"
    assert 400 < int(told["timeout"].removeprefix("Second-")) <= 500


@pytest.mark.parametrize(
    ("told", "least", "most"),
    [
        ("Infinite", DAV_LOCK_S_MAX - 60, DAV_LOCK_S_MAX),
        ("Second-4100000000", DAV_LOCK_S_MAX - 60, DAV_LOCK_S_MAX),
        ("Second-1", 1, 60),
        ("nonsense", 500, 600),
        ("Second-" + "9" * 5_000, 500, 600),
    ],
)
def test_a_lock_lasts_within_bounds(dav: Dav, told: str, least: int, most: int) -> None:
    dav.put("/f")
    dav.locked("/f", Timeout=told)
    seconds = int(
        dav.propfind("/f", "lockdiscovery")[0].properties[D + "lockdiscovery"].findtext(f".//{D}timeout", "")[7:]
    )
    assert least <= seconds <= most


def test_locks_that_exclude_each_other_are_not_given(dav: Dav) -> None:
    dav.mkcol("/d")
    dav.put("/d/f")
    token = dav.locked("/d/f")
    for scope in ("exclusive", "shared"):
        answer = dav.lock("/d/f", scope)
        assert (answer.status, condition(answer)) == (423, "no-conflicting-lock")
        # A deep lock would cover what is locked already; one of the folder alone does not.
        assert dav.lock("/d", scope).status == 423
    alone = dav.locked("/d", Depth="0")
    assert dav.status("UNLOCK", "/d", Lock_Token=alone) == 204
    assert dav.status("UNLOCK", "/d/f", Lock_Token=token) == 204
    first, second = dav.locked("/d", "shared"), dav.locked("/d/f", "shared")
    assert dav.lock("/d/f").status == 423
    assert dav.status("PUT", "/d/f", b"x") == 423
    assert dav.put("/d/f", b"x", If=f"({second})").status == 204
    assert dav.put("/d/f", b"y", If=f"({first})").status == 204


def test_a_deep_lock_covers_what_comes_and_goes_in_it(dav: Dav) -> None:
    dav.mkcol("/d")
    dav.mkcol("/d/sub")
    dav.put("/d/sub/f")
    dav.put("/out")
    token = dav.locked("/d")
    for method, path, headers in (
        ("PUT", "/d/sub/new", {}),
        ("MKCOL", "/d/sub/dir", {}),
        ("DELETE", "/d/sub/f", {}),
        ("DELETE", "/d", {}),
        ("MOVE", "/d/sub/f", {"Destination": dav.to("/gone")}),
        ("MOVE", "/out", {"Destination": dav.to("/d/in")}),
        ("COPY", "/out", {"Destination": dav.to("/d/in")}),
        ("LOCK", "/d/sub/unmapped", {}),
    ):
        body = (
            b""
            if method != "LOCK"
            else b'<lockinfo xmlns="DAV:"><lockscope><shared/></lockscope><locktype><write/></locktype></lockinfo>'
        )
        assert dav.status(method, path, body, **headers) == 423, (method, path)
    assert dav.status("PUT", "/d/sub/new", b"x", If=f"({token})") == 201
    assert dav.status("MOVE", "/out", If=f"<{dav.to('/d')}> ({token})", Destination=dav.to("/d/in")) == 201
    # A lock that is inherited is refreshed through what inherits it.
    refreshed = dav.ask("LOCK", "/d/sub/f", b"", If=f"({token})", Timeout="Second-900")
    assert refreshed.status == 200
    assert b"Second-900" in refreshed.body or b"Second-899" in refreshed.body
    assert dav.status("DELETE", "/d", If=f"({token})") == 204
    dav.mkcol("/d")


def test_a_lock_of_a_folder_alone_keeps_its_names(dav: Dav) -> None:
    dav.mkcol("/d")
    dav.put("/d/f")
    token = dav.locked("/d", Depth="0")
    assert dav.status("PUT", "/d/f", b"a member may change") == 204
    assert dav.status("PUT", "/d/new", b"x") == 423
    assert dav.status("DELETE", "/d/f") == 423
    assert dav.status("MOVE", "/d/f", Destination=dav.to("/f")) == 423
    assert dav.status("PUT", "/d/new", b"x", If=f"<{dav.to('/d')}> ({token})") == 201
    assert dav.lock("/d", Depth="1").status == 400


def test_a_folder_with_a_locked_file_is_not_deleted_or_replaced(dav: Dav) -> None:
    dav.mkcol("/d")
    dav.put("/d/f", b"mine")
    dav.mkcol("/e")
    token = dav.locked("/d/f")
    for method, path, target in (
        ("DELETE", "/d", ""),
        ("MOVE", "/d", "/x"),
        ("MOVE", "/e", "/d"),
        ("COPY", "/e", "/d"),
    ):
        headers = {"Destination": dav.to(target)} if target else {}
        answer = dav.ask(method, path, **headers)
        assert answer.status == 423, (method, path)
        assert f"{dav.base}/d/f" in answer.body.decode()
    assert dav.get("/d/f") == b"mine"
    assert dav.status("DELETE", "/d", If=f"<{dav.to('/d/f')}> ({token})") == 204


def test_a_lock_does_not_go_with_a_move_or_a_deletion(dav: Dav) -> None:
    dav.put("/f", b"one")
    token = dav.locked("/f")
    assert dav.status("MOVE", "/f", If=f"({token})", Destination=dav.to("/g")) == 201
    assert dav.put("/g", b"free").status == 204
    token = dav.locked("/g")
    assert dav.status("DELETE", "/g", If=f"({token})") == 204
    assert dav.put("/g", b"anew").status == 201
    assert dav.status("UNLOCK", "/g", Lock_Token=token) == 409


def test_a_locked_target_stays_locked_when_it_is_overwritten(dav: Dav) -> None:
    dav.put("/src", b"new")
    dav.put("/f", b"old")
    token = dav.locked("/f")
    assert dav.status("COPY", "/src", If=f"<{dav.to('/f')}> ({token})", Destination=dav.to("/f")) == 204
    assert dav.status("PUT", "/f", b"x") == 423
    assert (dav.get("/f"), dav.versions("/f")) == (b"new", 2)


def test_a_name_that_is_free_is_locked_as_an_empty_file(dav: Dav) -> None:
    answer = dav.lock("/new")
    assert answer.status == 201
    token = answer.headers["lock-token"]
    assert dav.get("/new") == b""
    assert dav.status("PUT", "/new", b"x") == 423
    assert dav.put("/new", b"x", If=f"({token})").status == 204
    assert dav.status("UNLOCK", "/new", Lock_Token=token) == 204
    assert dav.lock("/none/new").status == 409


def test_conditions_hold_or_nothing_is_done(dav: Dav) -> None:
    tag = dav.put("/f", b"one").headers["etag"]
    token = dav.locked("/f")
    wrong = token.replace("urn:uuid:", "urn:uuid:x")
    for told, status in (
        (f"({token})", 204),
        (f'({token} ["wrong"])', 412),
        (f"({wrong})", 412),
        (f"({wrong}) (Not <DAV:no-lock>)", 423),
        (f"({token}) (Not <DAV:no-lock>)", 204),
        (f"(Not {token})", 412),
        ("(<DAV:no-lock>)", 412),
        (f"<{dav.to('/f')}> ({token})", 204),
        (f"<{dav.to('/else')}> ({token})", 412),
        (f"<{dav.to('/else')}> (Not {token})", 204),
        (MISSING, 412),
        ("", 423),
        ("(", 400),
        ("()", 400),
        ("<x>", 400),
        ("nonsense", 400),
        (f"({token}) <{dav.to('/f')}> ({token})", 400),
        ("(" + f"{token} " * 101 + ")", 400),
    ):
        assert dav.status("PUT", "/f", b"one", If=told) == status, told
    assert dav.status("PUT", "/f", b"two", If=f"({token} [{tag}]) (Not <DAV:no-lock> [{tag}])") == 204
    assert dav.status("PUT", "/f", b"x", If=f"({token} [{tag}]) (Not <DAV:no-lock> [{tag}])") == 412
    assert dav.status("DELETE", "/none", If=f"({token})") == 412


def test_only_its_own_account_uses_and_ends_a_lock(dav: Dav, dav_server: RunningServer) -> None:
    dav.put("/f")
    token = dav.locked("/f")
    other = client(dav_server)
    other.put("/f", b"mine")
    assert other.status("PUT", "/f", b"x", If=f"({token})") == 412
    assert other.status("UNLOCK", "/f", Lock_Token=token) == 409
    assert other.status("UNLOCK", f"{dav.base}/f", Lock_Token=token) == 404
    assert other.put("/f", b"free").status == 204
    assert dav.status("PUT", "/f", b"x") == 423


def test_words_of_locks_that_are_wrong_are_refused(dav: Dav) -> None:
    dav.put("/f")
    start, end = '<lockinfo xmlns="DAV:">', "</lockinfo>"
    for inner in (
        "",
        "<lockscope><exclusive/></lockscope>",
        "<lockscope/><locktype><write/></locktype>",
        "<lockscope><exclusive/><shared/></lockscope><locktype><write/></locktype>",
        "<lockscope><exclusive/></lockscope><locktype><read/></locktype>",
    ):
        assert dav.status("LOCK", "/f", (start + inner + end).encode()) == 400, inner
    assert dav.status("LOCK", "/f", b"") == 412
    assert dav.status("LOCK", "/f", b"", If=MISSING) == 412
    assert dav.status("UNLOCK", "/f") == 400
    assert dav.status("UNLOCK", "/f", Lock_Token="urn:uuid:x") == 400
    assert dav.status("UNLOCK", "/f", Lock_Token="<urn:uuid:x>") == 409
    assert dav.lock("/f", owner="x" * (DAV_LOCK_OWNER_BYTES_MAX + 1)).status == 413
    assert dav.put("/f").status == 204


def test_how_windows_and_office_save(dav: Dav) -> None:
    token = dav.lock("/letter.docx", Timeout="Second-3600").headers["lock-token"]
    assert dav.status("HEAD", "/letter.docx") == 200
    assert dav.put("/letter.docx", b"text", If=f"({token})").status == 204
    times = '<D:set><D:prop><t xmlns="urn:schemas-microsoft-com:">x</t></D:prop></D:set>'
    assert multistatus(dav.proppatch("/letter.docx", times, If=f"({token})"))[0].failed == {}
    assert dav.status("LOCK", "/letter.docx", b"", If=f"({token})", Timeout="Second-3600") == 200
    assert dav.status("UNLOCK", "/letter.docx", Lock_Token=token) == 204
    assert dav.get("/letter.docx") == b"text"
