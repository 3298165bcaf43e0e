"""COPY and MOVE: what litmus' suite `copymove` asks, and that nothing that was replaced is lost."""

from __future__ import annotations

import os

from satchel.core.limits import MIB
from tests.support.webdav import Dav


def test_a_copy_has_the_same_bytes_and_none_travels_or_is_stored_again(dav: Dav) -> None:
    data = os.urandom(2 * MIB)
    dav.put("/src", data)
    used = dav.session.ask("GET", "/api/v1/account").json()["used_bytes"]
    assert dav.status("COPY", "/src", Destination=dav.to("/dest")) == 201
    assert dav.status("COPY", "/src", Destination=dav.to("/dest"), Overwrite="F") == 412
    assert dav.status("COPY", "/src", Destination=dav.to("/dest"), Overwrite="T") == 204
    assert dav.get("/dest") == dav.get("/src") == data
    assert dav.session.ask("GET", "/api/v1/account").json()["used_bytes"] == used


def test_a_copy_over_a_file_is_its_new_version(dav: Dav) -> None:
    dav.put("/src", b"new")
    dav.put("/dest", b"old")
    assert dav.status("COPY", "/src", Destination=dav.to("/dest")) == 204
    assert (dav.get("/dest"), dav.versions("/dest"), dav.trash()) == (b"new", 2, [])


def test_a_copy_needs_the_folder_it_goes_into(dav: Dav) -> None:
    dav.put("/src")
    assert dav.status("COPY", "/src", Destination=dav.to("/none/dest")) == 409
    assert dav.status("MOVE", "/src", Destination=dav.to("/none/dest")) == 409
    assert dav.status("COPY", "/none", Destination=dav.to("/dest")) == 404


def make_tree(dav: Dav, top: str) -> None:
    dav.mkcol(top)
    for number in range(5):
        dav.put(f"{top}/{number}", b"%d" % number)
    dav.mkcol(f"{top}/sub")
    dav.put(f"{top}/sub/deep", b"deep")


def test_a_folder_is_copied_with_all_in_it_or_alone(dav: Dav) -> None:
    make_tree(dav, "/src")
    assert dav.status("COPY", "/src/", Destination=dav.to("/dest/")) == 201
    assert dav.get("/dest/sub/deep") == b"deep"
    assert len(dav.names("/dest")) == 6
    assert dav.status("COPY", "/src/", Destination=dav.to("/dest/"), Overwrite="F") == 412
    assert dav.status("COPY", "/src/", Destination=dav.to("/alone/"), Depth="0") == 201
    assert dav.names("/alone") == []
    assert dav.status("COPY", "/src/", Destination=dav.to("/x/"), Depth="1") == 400


def test_what_a_copied_folder_replaces_is_in_the_trash(dav: Dav) -> None:
    make_tree(dav, "/src")
    dav.mkcol("/dest")
    dav.put("/dest/own", b"own")
    assert dav.status("COPY", "/src", Destination=dav.to("/dest")) == 204
    assert dav.status("GET", "/dest/own") == 404
    assert dav.trash() == ["/dest"]
    dav.put("/plain")
    assert dav.status("COPY", "/src", Destination=dav.to("/plain")) == 204
    assert dav.get("/plain/3") == b"3"
    assert dav.status("COPY", "/src/3", Destination=dav.to("/dest")) == 204
    assert dav.get("/dest") == b"3"


def test_a_copy_that_fails_half_way_leaves_all_as_it_was(dav: Dav) -> None:
    dav.mkcol("/src")
    deep = "/src"
    for _ in range(70):
        deep += "/d"
        dav.mkcol(deep)
    target = ""
    for _ in range(70):
        target += "/t"
        dav.mkcol(target)
    dav.mkcol(f"{target}/dest")
    dav.put(f"{target}/dest/own", b"own")
    assert dav.status("COPY", "/src", Destination=dav.to(f"{target}/dest")) == 400
    assert dav.names(target) == [f"{target}/dest/"]
    assert dav.get(f"{target}/dest/own") == b"own"
    assert dav.status("COPY", "/src", Destination=dav.to(f"{target}/new")) == 400
    assert dav.names(target) == [f"{target}/dest/"]


def test_a_large_folder_is_copied_in_several_commits(dav: Dav) -> None:
    dav.mkcol("/many")
    for at in range(8):
        dav.mkcol(f"/many/{at}")
    for at in range(8):
        dav.put(f"/many/{at}/file", b"%d" % at)
    for at in range(1, 6):
        # Each copy holds the ones before: 17 nodes, then twice as many each time.
        assert dav.status("COPY", "/many", Destination=dav.to(f"/copy{at}")) == 201
        assert dav.status("MOVE", f"/copy{at}", Destination=dav.to(f"/many/copy{at}")) == 201
    assert dav.status("COPY", "/many", Destination=dav.to("/all")) == 201
    assert dav.get("/all/copy5/copy4/copy3/copy2/copy1/7/file") == b"7"


def test_a_moved_file_is_where_it_went(dav: Dav) -> None:
    dav.put("/a", b"a")
    before = dav.versions("/a")
    assert dav.status("MOVE", "/a", Destination=dav.to("/b")) == 201
    assert (dav.status("GET", "/a"), dav.get("/b"), dav.versions("/b")) == (404, b"a", before)
    dav.put("/c", b"c")
    assert dav.status("MOVE", "/b", Destination=dav.to("/c"), Overwrite="F") == 412


def test_a_file_moved_over_another_is_its_new_version(dav: Dav) -> None:
    # How many programs save: a new file beside the old one, then moved over it.
    dav.put("/letter", b"old")
    dav.put("/letter.tmp", b"new")
    assert dav.status("MOVE", "/letter.tmp", Destination=dav.to("/letter")) == 204
    assert (dav.get("/letter"), dav.versions("/letter")) == (b"new", 2)
    assert dav.names("/") == ["/letter"]
    assert dav.trash() == ["/letter.tmp"]


def test_a_moved_folder_takes_all_along(dav: Dav) -> None:
    make_tree(dav, "/src")
    assert dav.status("MOVE", "/src", Destination=dav.to("/dest")) == 201
    assert dav.get("/dest/sub/deep") == b"deep"
    dav.mkcol("/src")
    dav.put("/src/own", b"own")
    assert dav.status("MOVE", "/dest", Destination=dav.to("/src"), Overwrite="F") == 412
    assert dav.status("MOVE", "/dest", Destination=dav.to("/src"), Overwrite="T") == 204
    assert dav.get("/src/sub/deep") == b"deep"
    assert dav.trash() == ["/src"]
    assert dav.status("MOVE", "/src", Destination=dav.to("/x"), Depth="0") == 400


def test_nothing_goes_into_itself_or_over_what_it_is_in(dav: Dav) -> None:
    make_tree(dav, "/a")
    for method in ("COPY", "MOVE"):
        assert dav.status(method, "/a", Destination=dav.to("/a")) == 403
        assert dav.status(method, "/a", Destination=dav.to("/a/sub/a")) == 403
        assert dav.status(method, "/a", Destination=dav.to("/A/SUB/x")) == 403
        assert dav.status(method, "/a/sub/deep", Destination=dav.to("/a")) == 403
        assert dav.status(method, "/a", Destination=dav.root.to("/")) == 403
        assert dav.root.status(method, "/", Destination=dav.to("/b")) == 403
    assert dav.get("/a/sub/deep") == b"deep"


def test_a_target_elsewhere_is_told(dav: Dav) -> None:
    dav.put("/a")
    for method in ("COPY", "MOVE"):
        for target in (
            "http://elsewhere.example/dav/b",
            "/elsewhere/b",
            "/davx/b",
            f"http://127.0.0.1:1{dav.port}/dav/b",
        ):
            assert dav.status(method, "/a", Destination=target) == 502, target
        assert dav.status(method, "/a", Destination="/dav/b#c") == 400
        assert dav.status(method, "/a", Destination="b") == 400
        assert dav.status(method, "/a") == 400
        assert dav.status(method, "/a", Destination=dav.to("/b"), Overwrite="maybe") == 400
    assert dav.status("COPY", "/a", Destination=f"/dav{dav.base}/b%20%23") == 201
    assert dav.names("/") == ["/a", "/b%20%23"]
