"""WebDAV through mounts: members work where they mounted it, by their rights, and nobody else does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from tests.support.server import RunningServer
from tests.support.webdav import D, Dav, client, multistatus

_numbers = itertools.count()
PROPERTY = '<D:set><D:prop><x xmlns="urn:x">{}</x></D:prop></D:set>'


@dataclass(frozen=True, slots=True)
class Shared:
    """ann's folder of one file, shared with bob (editor) and vic (viewer); eve has no part in it."""

    ann: Dav
    bob: Dav
    vic: Dav
    eve: Dav
    path: str


@pytest.fixture(scope="module")
def people(dav_server: RunningServer) -> tuple[Dav, ...]:
    return tuple(client(dav_server) for _ in range(4))


@pytest.fixture
def shared(people: tuple[Dav, ...]) -> Shared:
    ann, bob, vic, eve = people
    path = f"/Team{next(_numbers)}"
    ann.mkcol(path)
    ann.put(f"{path}/plan", b"first")
    ann.proppatch(f"{path}/plan", PROPERTY.format("kept"))
    told = {"path": path, "with": [{"user": bob.user, "role": "editor"}, {"user": vic.user, "role": "viewer"}]}
    share = ann.session.ask("POST", "/api/v1/shares", told).json()["id"]
    for member in (bob, vic):
        assert member.session.ask("POST", f"/api/v1/share-invitations/{share}/accept").status in (200, 201, 204)
    return Shared(ann, bob, vic, eve, path)


def test_an_editor_works_in_it_and_the_owner_sees_that(shared: Shared) -> None:
    ann, bob, top = shared.ann, shared.bob, shared.path
    assert f"{top}/" in bob.names("/")
    assert bob.names(top) == [f"{top}/plan"]
    assert bob.put(f"{top}/plan", b"second").status == 204
    bob.mkcol(f"{top}/in")
    assert bob.status("COPY", f"{top}/plan", Destination=bob.to(f"{top}/in/copy")) == 201
    assert bob.status("MOVE", f"{top}/plan", Destination=bob.to(f"{top}/in/plan")) == 201
    assert ann.get(f"{top}/in/copy") == ann.get(f"{top}/in/plan") == b"second"
    assert bob.status("DELETE", f"{top}/in/copy") == 204
    assert ann.names(f"{top}/in") == [f"{top}/in/plan"]


def test_a_viewer_changes_nothing_and_is_told_as_of_nothing(shared: Shared) -> None:
    vic, top = shared.vic, shared.path
    vic.put("/own")
    assert vic.get(f"{top}/plan") == b"first"
    lock = b'<lockinfo xmlns="DAV:"><lockscope><shared/></lockscope><locktype><write/></locktype></lockinfo>'
    patch = f'<D:propertyupdate xmlns:D="DAV:">{PROPERTY.format("x")}</D:propertyupdate>'.encode()
    for method, path, body, target in (
        ("PUT", f"{top}/plan", b"x", ""),
        ("PUT", f"{top}/new", b"x", ""),
        ("MKCOL", f"{top}/new", b"", ""),
        ("DELETE", f"{top}/plan", b"", ""),
        ("COPY", f"{top}/plan", b"", f"{top}/new"),
        ("MOVE", f"{top}/plan", b"", f"{top}/new"),
        ("MOVE", f"{top}/plan", b"", "/taken"),
        ("MOVE", "/own", b"", f"{top}/new"),
        ("PROPPATCH", f"{top}/plan", patch, ""),
        ("LOCK", f"{top}/plan", lock, ""),
        ("LOCK", f"{top}/new", lock, ""),
        ("LOCK", top, lock, ""),
    ):
        headers = {"Destination": vic.to(target)} if target else {}
        assert vic.status(method, path, body, **headers) == 404, (method, path, target)
    assert shared.ann.names(top) == [f"{top}/plan"]
    assert shared.ann.get(f"{top}/plan") == b"first"


def test_a_stranger_finds_nothing(shared: Shared) -> None:
    for method in ("GET", "PROPFIND", "DELETE"):
        assert shared.eve.status(method, shared.path, b"", Depth="0" if method == "PROPFIND" else "infinity") == 404


def test_a_lock_of_one_member_holds_against_the_other(shared: Shared) -> None:
    ann, bob, top = shared.ann, shared.bob, shared.path
    token = bob.locked(f"{top}/plan")
    assert ann.status("PUT", f"{top}/plan", b"x") == 423
    # Knowing the token of another is no use: it is told to all who may read.
    assert ann.status("PUT", f"{top}/plan", b"x", If=f"({token})") == 423
    assert ann.status("UNLOCK", f"{top}/plan", Lock_Token=token) == 403
    assert bob.put(f"{top}/plan", b"mine", If=f"({token})").status == 204
    assert bob.status("UNLOCK", f"{top}/plan", Lock_Token=token) == 204
    whole = ann.locked(top)
    assert bob.status("PUT", f"{top}/new", b"x") == 423
    assert ann.status("UNLOCK", top, Lock_Token=whole) == 204


def test_properties_and_locks_go_along_when_a_folder_becomes_shared(shared: Shared) -> None:
    [found] = multistatus(shared.bob.ask("PROPFIND", f"{shared.path}/plan", b"", Depth="0"))
    assert found.properties["{urn:x}x"].text == "kept"
    assert D + "getetag" in found.properties


def test_what_is_moved_between_is_there_and_in_the_trash_of_where_it_was(shared: Shared) -> None:
    bob, top = shared.bob, shared.path
    name = f"/out{next(_numbers)}"
    assert bob.status("MOVE", f"{top}/plan", Destination=bob.to(name)) == 201
    assert bob.get(name) == b"first"
    assert shared.ann.names(top) == []
    assert bob.status("MOVE", name, Destination=bob.to(f"{top}/back")) == 201
    assert shared.ann.get(f"{top}/back") == b"first"
    [found] = multistatus(bob.ask("PROPFIND", f"{top}/back", b"", Depth="0"))
    assert found.properties["{urn:x}x"].text == "kept"


def test_a_file_that_replaces_one_of_another_tree_is_its_new_version(shared: Shared) -> None:
    ann, bob, top = shared.ann, shared.bob, shared.path
    name = f"/new{next(_numbers)}"
    bob.put(name, b"second")
    bob.proppatch(name, PROPERTY.format("theirs"))
    for method in ("COPY", "MOVE"):
        assert bob.status(method, name, Destination=bob.to(f"{top}/plan"), Overwrite="F") == 412
    assert (ann.get(f"{top}/plan"), ann.versions(f"{top}/plan")) == (b"first", 1)
    assert bob.status("COPY", name, Destination=bob.to(f"{top}/plan")) == 204
    assert (ann.get(f"{top}/plan"), ann.versions(f"{top}/plan"), bob.get(name)) == (b"second", 2, b"second")
    [found] = multistatus(ann.ask("PROPFIND", f"{top}/plan", b"", Depth="0"))
    assert found.properties["{urn:x}x"].text == "theirs"
    # The same once more is nothing new.
    assert bob.status("COPY", name, Destination=bob.to(f"{top}/plan")) == 204
    assert ann.versions(f"{top}/plan") == 2
    bob.put(name, b"third")
    assert bob.status("MOVE", name, Destination=bob.to(f"{top}/plan"), Overwrite="T") == 204
    assert (ann.get(f"{top}/plan"), ann.versions(f"{top}/plan")) == (b"third", 3)
    assert (bob.status("GET", name), bob.trash().count(name)) == (404, 1)
    # Out of the shared folder just as well.
    bob.put(name, b"own")
    assert bob.status("MOVE", f"{top}/plan", Destination=bob.to(name)) == 204
    assert (bob.get(name), bob.versions(name), ann.names(top)) == (b"third", 2, [])


def test_what_else_is_replaced_in_another_tree_is_in_its_trash(shared: Shared) -> None:
    ann, bob, top = shared.ann, shared.bob, shared.path
    for method in ("COPY", "MOVE"):
        name = f"/tree{next(_numbers)}"
        bob.mkcol(name)
        bob.put(f"{name}/deep", b"deep")
        ann.mkcol(f"{top}/{method}")
        ann.put(f"{top}/{method}/own", b"own")
        target = bob.to(f"{top}/{method}")
        assert bob.status(method, name, Destination=target, Overwrite="F") == 412
        assert ann.get(f"{top}/{method}/own") == b"own"
        assert bob.status(method, name, Destination=target) == 204
        assert (ann.names(f"{top}/{method}"), ann.get(f"{top}/{method}/deep")) == ([f"{top}/{method}/deep"], b"deep")
        assert bob.status("GET", name) == (404 if method == "MOVE" else 200)
        # A file takes a folder's place, and the other way round.
        bob.put(f"{name}-file", b"file")
        assert bob.status(method, f"{name}-file", Destination=target) == 204
        assert ann.get(f"{top}/{method}") == b"file"
    trash = ann.session.ask("GET", "/api/v1/trash", path=top).json()["items"]
    assert sorted(item["path"] for item in trash) == ["/COPY", "/COPY", "/MOVE", "/MOVE"]


def test_nobody_replaces_what_is_locked_or_not_theirs_to_change(shared: Shared) -> None:
    ann, bob, vic, top = shared.ann, shared.bob, shared.vic, shared.path
    name = f"/lock{next(_numbers)}"
    for who in (bob, vic):
        who.put(name, b"x")
    token = ann.locked(f"{top}/plan")
    for method in ("COPY", "MOVE"):
        assert bob.status(method, name, Destination=bob.to(f"{top}/plan")) == 423
        assert vic.status(method, name, Destination=vic.to(f"{top}/plan")) == 404
    assert ann.status("UNLOCK", f"{top}/plan", Lock_Token=token) == 204
    assert (ann.get(f"{top}/plan"), ann.versions(f"{top}/plan")) == (b"first", 1)


def test_a_folder_that_holds_a_shared_one_is_not_replaced(shared: Shared) -> None:
    bob, top = shared.bob, shared.path
    name = f"/holder{next(_numbers)}"
    bob.mkcol(name)
    assert bob.status("MOVE", top, Destination=bob.to(f"{name}/team")) == 201
    other = f"/Other{next(_numbers)}"
    bob.mkcol(other)
    bob.put(f"{other}/file", b"file")
    assert bob.session.ask("POST", "/api/v1/shares", {"path": other, "with": []}).status == 200
    assert bob.status("COPY", f"{other}/file", Destination=bob.to(name)) == 409
    assert bob.status("MOVE", f"{other}/file", Destination=bob.to(name)) == 409
    assert (bob.get(f"{other}/file"), bob.get(f"{name}/team/plan")) == (b"file", b"first")
    assert bob.status("COPY", f"{name}/team/plan", Destination=bob.to(name)) == 403


def test_a_copy_between_has_the_newest_contents_and_properties_alone(shared: Shared) -> None:
    ann, bob, vic, top = shared.ann, shared.bob, shared.vic, shared.path
    ann.put(f"{top}/plan", b"second")
    ann.mkcol(f"{top}/in")
    ann.put(f"{top}/in/deep", b"deep")
    name = f"/copy{next(_numbers)}"
    for who in (bob, vic):
        assert who.status("COPY", f"{top}/plan", Destination=who.to(f"{name}-plan")) == 201
        assert who.get(f"{name}-plan") == b"second"
        assert who.versions(f"{name}-plan") == 1
        [found] = multistatus(who.ask("PROPFIND", f"{name}-plan", b"", Depth="0"))
        assert found.properties["{urn:x}x"].text == "kept"
        assert who.status("COPY", f"{top}/in", Destination=who.to(name)) == 201
        assert who.get(f"{name}/deep") == b"deep"
        assert who.status("COPY", f"{top}/in", Destination=who.to(f"{name}-alone"), Depth="0") == 201
        assert who.names(f"{name}-alone") == []
    assert ann.get(f"{top}/plan") == b"second"
    assert bob.status("COPY", name, Destination=bob.to(f"{top}/back")) == 201
    assert ann.get(f"{top}/back/deep") == b"deep"
    assert vic.status("COPY", name, Destination=vic.to(f"{top}/other")) == 404
    assert bob.status("COPY", f"{top}/plan", Destination=bob.to("/no/such/folder")) == 409
    assert shared.eve.status("COPY", f"{top}/plan", Destination=shared.eve.to("/mine")) == 404
    token = ann.locked(f"{top}/in")
    assert bob.status("COPY", name, Destination=bob.to(f"{top}/in/new")) == 423
    assert ann.status("UNLOCK", f"{top}/in", Lock_Token=token) == 204


def test_the_mount_is_renamed_left_and_never_replaced(shared: Shared) -> None:
    bob, top = shared.bob, shared.path
    bob.put("/file")
    assert bob.status("MOVE", "/file", Destination=bob.to(top)) == 403
    assert bob.get(f"{top}/plan") == b"first"
    assert bob.status("COPY", top, Destination=bob.to("/other")) == 403
    assert bob.status("MOVE", top, Destination=bob.to(f"{top}-mine")) == 201
    assert bob.get(f"{top}-mine/plan") == b"first"
    assert bob.status("DELETE", f"{top}-mine") == 204
    assert bob.status("GET", f"{top}-mine/plan") == 404
    assert shared.ann.get(f"{top}/plan") == b"first"
