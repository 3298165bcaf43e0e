"""All that an account has goes out to a folder and comes back elsewhere; and what a second run finds already there."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from satchel.core.errors import FileUnreadable, NotFound, QuotaExceeded, SettingInvalid
from satchel.core.ids import LinkId, NamespaceId, NodeId, OpId
from satchel.core.messages import AttrOp, CommitRequest, Stored
from satchel.core.xattrs import pack_xattrs
from satchel.device.clock import MachineClock
from satchel.device.remote import HttpRemote
from tests.support.carrying import Person, person, shape, share
from tests.support.server import RunningServer, running_server

_numbers = itertools.count()
OLD_NS = 1_234_567_890_123_456_789
LARGE_BYTES = 3 * 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("carrying")) as running:
        yield running


@pytest.fixture
def ann(server: RunningServer) -> Person:
    return person(server, f"ann {next(_numbers)}")


@pytest.fixture
def bob(server: RunningServer) -> Person:
    return person(server, f"bob {next(_numbers)}")


def grown(top: Path) -> Path:
    """Make a folder of everything that a tree may hold."""
    (top / "deep" / "er").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "a.txt").write_bytes(b"one")
    (top / "none").write_bytes(b"")
    (top / "run.sh").write_bytes(b"#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / "deep" / "large").write_bytes(random.Random(7).randbytes(LARGE_BYTES))
    for name in ("tab\there", "new\nline", "'\"`$; rm", "-rf", " lead", "trail. ", "e\u0301", "😀" * 60, "%41", "a:b?"):
        (top / "deep" / "er" / name).write_bytes(name.encode())
    (top / "link").symlink_to("deep/er")
    (top / "dangling").symlink_to("/no/such/place")
    for path in [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]:
        os.utime(path, ns=(OLD_NS, OLD_NS))
    return top


def lines(top: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (top / "manifest.jsonl").read_text().splitlines()]


def test_an_account_leaves_with_all_it_has_and_comes_back_elsewhere(
    server: RunningServer, ann: Person, bob: Person, tmp_path: Path
) -> None:
    made = ann.take_folder(grown(tmp_path / "own"))
    assert (made.not_taken, made.copied, made.skipped) == ([], [], [])
    for content in (b"two", b"three", b"one"):
        ann.put("/a.txt", content)
    ann.put("/deep/large", b"short now")
    dora = person(server, f"dora {next(_numbers)}")
    dora.session.ask("POST", "/api/v1/folders", {"path": "/Team"})
    dora.put("/Team/plan", b"the plan")
    share(dora, "/Team", ann)
    out = ann.export(tmp_path / "out", with_versions=True)
    assert (out.not_taken, out.renamed, out.set_aside) == ([], [], 0)
    told = {line.get("path"): line for line in lines(tmp_path / "out")}
    assert told["/Team"]["is_shared"] is True
    plan = told["/Team/plan"]["versions"][0]  # type: ignore[index]
    assert (plan["author"], plan["number"]) == (dora.name, 1)

    back = bob.take_export(tmp_path / "out")
    assert (back.not_taken, back.copied, back.skipped) == ([], [], [])
    again = bob.export(tmp_path / "again", with_versions=True)
    assert again.versions == out.versions
    assert shape(tmp_path / "again" / "files") == shape(tmp_path / "out" / "files")
    own = shape(tmp_path / "own")
    assert {path: what for path, what in shape(tmp_path / "again" / "files").items() if path in own} == own | {
        "a.txt": shape(tmp_path / "out" / "files")["a.txt"],
        "deep/large": shape(tmp_path / "out" / "files")["deep/large"],
    }
    assert bob.contents("/a.txt") == [b"one", b"two", b"three", b"one"]
    assert bob.contents("/deep/large") == [random.Random(7).randbytes(LARGE_BYTES), b"short now"]
    assert bob.get("/Team/plan") == b"the plan"


def attributed(person: Person, path: str, wanted: dict[bytes, bytes]) -> None:
    """Give a file or folder of somebody extended attributes, as a device does."""
    item = person.entry(path)
    op = AttrOp(OpId(os.urandom(16)), NodeId(bytes.fromhex(str(item["id"]))), int(str(item["rev"])), False)
    request = CommitRequest(
        NamespaceId(bytes.fromhex(str(item["namespace"]))), LinkId(b""), (replace(op, xattrs=pack_xattrs(wanted)),)
    )

    async def commit() -> object:
        remote = HttpRemote(person.session.url, person.session.token, clock=MachineClock())
        try:
            return (await remote.commit(request, ())).outcomes
        finally:
            await remote.close()

    [outcome] = person.run(commit)  # type: ignore[misc]  # a tuple
    assert isinstance(outcome, Stored)


def xattrs_of(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")}


def test_extended_attributes_and_the_terms_of_links_leave_too(ann: Person, bob: Person, tmp_path: Path) -> None:
    odd = {b"tags": b"red", b"\xff odd=%": bytes(range(256))}
    ann.session.ask("POST", "/api/v1/folders", {"path": "/box"})
    ann.put("/box/a.txt", b"one")
    ann.put("/plain", b"two")
    for path, wanted in (("/box", {b"of": b"the folder"}), ("/box/a.txt", odd)):
        attributed(ann, path, wanted)
    terms = {"path": "/box", "password": "for friends only", "downloads_max": 3}
    token = ann.session.ask("POST", "/api/v1/links", terms).json()["token"]
    out = ann.export(tmp_path / "out")
    assert (out.attributes, out.attributes_refused, out.links, out.not_taken) == (2, 0, 1, [])
    files = tmp_path / "out" / "files"
    assert xattrs_of(files / "box" / "a.txt") == {os.fsdecode(b"user." + name): value for name, value in odd.items()}
    assert (xattrs_of(files / "box"), xattrs_of(files / "plain")) == ({"user.of": b"the folder"}, {})
    raw = (tmp_path / "out" / "links.jsonl").read_text()
    [link] = [json.loads(line) for line in raw.splitlines()]
    assert (link["path"], link["has_password"], link["downloads_max"]) == ("/box", True, 3)
    assert token not in raw and "for friends only" not in raw

    back = bob.take_export(tmp_path / "out")
    assert (back.not_taken, back.copied) == ([], [])
    shutil.rmtree(files)
    again = bob.export(tmp_path / "again")
    assert (again.attributes, again.links) == (2, 0)
    returned = tmp_path / "again" / "files" / "box"
    assert xattrs_of(returned / "a.txt") == {os.fsdecode(b"user." + name): value for name, value in odd.items()}
    assert xattrs_of(returned) == {"user.of": b"the folder"}
    assert not (tmp_path / "again" / "links.jsonl").exists()


def test_a_disk_that_takes_no_attributes_loses_none(
    ann: Person, bob: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    ann.put("/a", b"a")
    attributed(ann, "/a", {b"tags": b"red"})
    with monkeypatch.context() as patched:
        patched.setattr(os, "setxattr", refused)
        out = ann.export(tmp_path / "out")
    assert (out.attributes, out.attributes_refused, out.files) == (1, 1, 1)
    assert xattrs_of(tmp_path / "out" / "files" / "a") == {}
    bob.take_export(tmp_path / "out")
    bob.export(tmp_path / "again")
    assert xattrs_of(tmp_path / "again" / "files" / "a") == {"user.tags": b"red"}


def test_attributes_that_a_manifest_tells_wrongly_are_told_and_the_rest_comes(
    ann: Person, bob: Person, tmp_path: Path
) -> None:
    for path in ("/a", "/b", "/c"):
        ann.put(path, path.encode())
    ann.export(tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.jsonl"
    found = lines(tmp_path / "out")
    for line in found:
        if line.get("path") == "/a":
            line["xattrs"] = {"tags": "no base64!"}
        if line.get("path") == "/b":
            line["xattrs"] = {"satchel.own": "eA=="}
    manifest.write_text("".join(json.dumps(line) + "\n" for line in found))
    back = bob.take_export(tmp_path / "out")
    assert ([path for path, _ in back.not_taken], bob.names()) == (["/a", "/b"], ["c"])


def test_a_second_run_takes_only_what_is_missing(ann: Person, bob: Person, tmp_path: Path) -> None:
    top = grown(tmp_path / "own")
    first = ann.take_folder(top)
    second = ann.take_folder(top)
    assert (second.files, second.folders, second.symlinks, second.sent_bytes) == (0, 0, 0, 0)
    assert second.same == first.files + first.symlinks
    out = ann.export(tmp_path / "out")
    assert (out.kept, out.files) == (0, first.files)
    (tmp_path / "out" / "files" / "a.txt").unlink()
    (tmp_path / "out" / "files" / "none").write_bytes(b"not ours")
    more = ann.export(tmp_path / "out")
    assert (more.kept, more.fetched_bytes, more.set_aside) == (first.files - 2, 3, 1)
    assert [path.read_bytes() for path in (tmp_path / "out" / "replaced").iterdir()] == [b"not ours"]
    # What another folder of the account holds already is not sent again, though it is another file there.
    assert ann.take_folder(top, "/twice/over").sent_bytes == 0
    assert ann.contents("/twice/over/a.txt") == [b"one"]
    assert bob.take_folder(top).sent_bytes > LARGE_BYTES


def test_a_download_that_was_cut_goes_on_and_a_foreign_beginning_is_dropped(ann: Person, tmp_path: Path) -> None:
    ann.take_folder(grown(tmp_path / "own"))
    item = ann.entry("/deep/large")
    parts = tmp_path / "out" / ".satchel-export"
    parts.mkdir(parents=True)
    (tmp_path / "out" / "manifest.jsonl.unfinished").touch()
    part = parts / f"{item['id']}-{str(item['content_hash'])[:32]}"
    whole = (tmp_path / "own" / "deep" / "large").read_bytes()
    part.write_bytes(whole[:2_000_000])
    ann.export(tmp_path / "out")
    assert shape(tmp_path / "out" / "files") == shape(tmp_path / "own")
    (tmp_path / "out" / "files" / "deep" / "large").unlink()
    parts.mkdir()
    part.write_bytes(b"x" * 2_000_000)
    ann.export(tmp_path / "out")
    assert shape(tmp_path / "out" / "files") == shape(tmp_path / "own")
    assert not parts.exists()


def test_an_export_that_was_cut_is_no_source_and_is_told(ann: Person, tmp_path: Path) -> None:
    ann.put("/a", b"a")
    ann.export(tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.jsonl"
    manifest.rename(tmp_path / "out" / "manifest.jsonl.unfinished")
    with pytest.raises(NotFound, match="was cut"):
        ann.take_export(tmp_path / "out")


def test_a_changed_file_of_an_export_is_not_taken(ann: Person, bob: Person, tmp_path: Path) -> None:
    ann.put("/a", b"what was written")
    ann.put("/b", b"other")
    ann.export(tmp_path / "out")
    (tmp_path / "out" / "files" / "a").write_bytes(b"what was changed")
    told = bob.take_export(tmp_path / "out")
    assert [path for path, _ in told.not_taken] == ["/a"]
    assert bob.names() == ["b"]


def test_an_export_goes_into_no_folder_of_other_things(ann: Person, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(SettingInvalid, match="holds other things"):
        ann.export(tmp_path)
    assert os.listdir(tmp_path) == ["mine"]


def test_what_stands_there_and_differs_is_never_lost(ann: Person, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_bytes(b"new")
    (source / "A.txt").write_bytes(b"twin")
    (source / "sub").write_bytes(b"a file")
    (source / "top").mkdir()
    (source / "top" / "in").write_bytes(b"in")
    ann.put("/a.txt", b"old")
    ann.session.ask("POST", "/api/v1/folders", {"path": "/sub"})
    ann.put("/top", b"no folder")

    skipped = ann.take_folder(source, existing="skip")
    assert sorted(skipped.skipped) == ["/A.txt", "/a.txt", "/sub", "/top"]
    assert (skipped.files, ann.get("/a.txt"), ann.get("/top")) == (0, b"old", b"no folder")

    copied = dict(ann.take_folder(source).copied)
    assert sorted(copied) == ["/A.txt", "/a.txt", "/sub", "/top"]
    assert ann.get("/a.txt") == b"old"
    assert {ann.get(f"/{copied['/A.txt']}"), ann.get(f"/{copied['/a.txt']}")} == {b"twin", b"new"}
    assert ann.get(f"/{copied['/sub']}") == b"a file"
    assert ann.get(f"/{copied['/top']}/in") == b"in"
    assert ann.take_folder(source / "top", f"/{copied['/top']}").same == 1
    before = ann.names()
    assert ann.take_folder(source).files == 1, "only below the folder that has another name each time"
    assert len(ann.names()) == len(before) + 1

    replaced = ann.take_folder(source, existing="replace")
    assert replaced.replaced == 1
    assert ann.contents("/a.txt")[0] == b"old"
    assert ann.contents("/a.txt")[-1] in (b"new", b"twin")


def test_a_cut_import_of_versions_goes_on_from_the_one_that_is_there(ann: Person, bob: Person, tmp_path: Path) -> None:
    for content in (b"one", b"two", b"three"):
        ann.put("/a", content)
    ann.export(tmp_path / "out", with_versions=True)
    whole = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    cut = [json.loads(line) for line in whole]
    [file] = [line for line in cut if line["type"] == "file"]
    # An import that stored two of the three.
    second = file["versions"][1]
    file |= {"size": 3, "content_hash": second["content_hash"], "at": second["at"], "mtime_ns": second["mtime_ns"]}
    file["versions"] = file["versions"][:2]
    (tmp_path / "out" / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in cut))
    bob.take_export(tmp_path / "out")
    assert bob.contents("/a") == [b"one", b"two"]
    (tmp_path / "out" / "manifest.jsonl").write_text("".join(line + "\n" for line in whole))
    told = bob.take_export(tmp_path / "out", existing="skip")
    assert (told.files, told.versions, told.skipped) == (1, 0, [])
    assert bob.contents("/a") == [b"one", b"two", b"three"]


def test_a_dry_run_changes_nothing_and_foresees_all(ann: Person, tmp_path: Path) -> None:
    top = grown(tmp_path / "own")
    ann.put("/a.txt", b"other")
    dry = ann.take_folder(top, is_dry=True)
    assert ann.names() == ["a.txt"]
    real = ann.take_folder(top)
    assert (dry.files, dry.folders, dry.symlinks, dry.bytes) == (real.files, real.folders, real.symlinks, real.bytes)
    assert dry.copied == real.copied


def test_what_cannot_be_taken_is_told_and_the_rest_comes(ann: Person, tmp_path: Path) -> None:
    top = tmp_path / "own"
    top.mkdir()
    (top / "good").write_bytes(b"good")
    os.mkfifo(top / "pipe")
    (top / os.fsdecode(b"no\xffname")).write_bytes(b"x")
    deep = top
    for _ in range(130):
        deep = deep / "d"
    deep.mkdir(parents=True)
    told = ann.take_folder(top)
    assert (told.files, told.not_taken_count) == (1, 3)
    assert ann.get("/good") == b"good"
    with pytest.raises(FileUnreadable):
        ann.take_folder(tmp_path / "nothing")


def test_a_full_account_ends_the_run_with_what_came_kept(server: RunningServer, tmp_path: Path) -> None:
    poor = person(server, f"poor {next(_numbers)}", quota_bytes=100_000)
    (tmp_path / "own").mkdir()
    for number in range(3):
        (tmp_path / "own" / f"{number}").write_bytes(random.Random(number).randbytes(60_000))
    with pytest.raises(QuotaExceeded):
        poor.take_folder(tmp_path / "own")
    assert poor.names() == ["0"]


def test_a_folder_that_is_shared_to_be_read_takes_nothing_and_the_rest_comes(
    server: RunningServer, ann: Person, tmp_path: Path
) -> None:
    dora = person(server, f"dora {next(_numbers)}")
    dora.session.ask("POST", "/api/v1/folders", {"path": "/Team"})
    share(dora, "/Team", ann)
    (tmp_path / "own" / "Team").mkdir(parents=True)
    for name in ("a", "Team/b", "z"):
        (tmp_path / "own" / name).write_bytes(name.encode())
    told = ann.take_folder(tmp_path / "own")
    assert ([path for path, _ in told.not_taken], told.files) == (["/Team/b"], 2)
    assert (dora.names("/Team"), ann.names()) == ([], ["a", "Team", "z"])


def test_names_that_a_disk_cannot_hold_are_escaped_and_told(ann: Person, bob: Person, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    for name in ("a:b", "a%3Ab", "con.txt", "dot.", "fine"):
        (tmp_path / "own" / name).write_bytes(name.encode())
    (tmp_path / "own" / "q?").mkdir()
    (tmp_path / "own" / "q?" / "in").write_bytes(b"in")
    ann.take_folder(tmp_path / "own")
    told = ann.export(tmp_path / "out", is_portable=True)
    assert {path for path, _ in told.renamed} == {"/a:b", "/con.txt", "/dot.", "/q?"}
    stored = {path.name for path in (tmp_path / "out" / "files").iterdir()}
    assert not any(char in name for name in stored for char in ':?"')
    assert len(stored) == 6
    bob.take_export(tmp_path / "out")
    assert sorted(bob.names()) == sorted(ann.names())
    assert bob.get("/a:b") == b"a:b"
    assert bob.get("/q?/in") == b"in"


def test_no_link_on_the_disk_leads_an_export_out_of_its_folder(ann: Person, tmp_path: Path) -> None:
    ann.session.ask("POST", "/api/v1/folders", {"path": "/sub"})
    ann.put("/sub/file", b"bytes")
    ann.export(tmp_path / "out")
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = tmp_path / "out" / "files" / "sub"
    (inside / "file").unlink()
    inside.rmdir()
    inside.symlink_to(outside)
    told = ann.export(tmp_path / "out")
    assert (told.set_aside, list(outside.iterdir())) == (1, [])
    assert (inside / "file").read_bytes() == b"bytes"
