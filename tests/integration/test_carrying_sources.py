"""Imports over WebDAV and through rclone, and the commands `export` and `import` as a person types them."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.core.errors import NotFound, SettingInvalid, Unauthenticated, Unavailable
from satchel.device.carrying.importing import Imported
from satchel.device.carrying.rclone import RcloneSource
from satchel.device.carrying.webdav import WebDavSource
from tests.support.carrying import Person, person, shape
from tests.support.devices import Device
from tests.support.server import PASSWORD, RunningServer, User, running_server

SECOND_NS = 1_000_000_000
NAMES = ("plain.txt", "sp ace", "100%25", "#?&;=", "é\u0301😀", "<&>", "null")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("there")) as running:
        yield running


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("elsewhere")) as running:
        yield running


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files with odd names, a folder in it, and an empty one."""
    top = tmp_path_factory.mktemp("own")
    (top / "in" / "deep").mkdir(parents=True)
    (top / "empty").mkdir()
    for number, name in enumerate(NAMES):
        path = top / ("in" if number % 2 else "") / name
        path.write_bytes(name.encode() * (1 + 50_000 * (number == 0)))
        os.utime(path, ns=(1_700_000_000 * SECOND_NS + number, 1_700_000_000 * SECOND_NS + number))
    (top / "in" / "deep" / "none").write_bytes(b"")
    return top


@pytest.fixture(scope="module")
def ann(server: RunningServer) -> Person:
    return person(server, "ann")


@pytest.fixture(scope="module")
def old_home(elsewhere: RunningServer, own: Path) -> Person:
    made = person(elsewhere, "ann")
    made.take_folder(own)
    return made


def taken(ann: Person, source: WebDavSource | RcloneSource, to: str) -> Imported:
    async def run() -> Imported:
        async with source as opened:
            return await ann.importing(opened, to)

    return ann.run(run)


def kinds_and_bytes(top: Path) -> dict[str, tuple[object, ...]]:
    """As `shape`, with times to the second: WebDAV tells no more."""
    return {
        path: (*told[:2], told[2] // SECOND_NS) if told[0] == "file" else told  # type: ignore[operator]
        for path, told in shape(top).items()
    }


def test_files_come_over_webdav_as_they_are_and_once(ann: Person, old_home: Person, own: Path, tmp_path: Path) -> None:
    address = f"{old_home.session.url.replace('://', '://ann@')}/dav"
    first = taken(ann, WebDavSource(address, password=old_home.session.token), "/dav")
    assert (first.files, first.folders, first.not_taken) == (len(NAMES) + 1, 4, [])
    ann.export(tmp_path / "out")
    assert kinds_and_bytes(tmp_path / "out" / "files" / "dav") == kinds_and_bytes(own)
    again = taken(ann, WebDavSource(f"{address}/", password=old_home.session.token), "/dav")
    assert (again.files, again.same, again.sent_bytes) == (0, len(NAMES) + 1, 0)
    with pytest.raises(Unauthenticated):
        taken(ann, WebDavSource(address, password="wrong"), "/dav")
    with pytest.raises(NotFound):
        taken(ann, WebDavSource(f"{address}/nothing", password=old_home.session.token), "/dav")


def test_files_come_through_rclone_with_their_times(
    ann: Person, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The development dependencies bring it.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    first = taken(ann, RcloneSource(str(own)), "/rclone")
    assert (first.files, first.not_taken) == (len(NAMES) + 1, [])
    ann.export(tmp_path / "out")
    assert shape(tmp_path / "out" / "files" / "rclone") == shape(own)
    assert taken(ann, RcloneSource(str(own)), "/rclone").same == len(NAMES) + 1
    with pytest.raises((NotFound, Unavailable)):
        taken(ann, RcloneSource("nosuchremote:"), "/rclone")


def test_without_the_program_rclone_it_is_said_what_is_missing(
    ann: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingInvalid, match="rclone is not installed"):
        taken(ann, RcloneSource("any:"), "/rclone")


def test_the_commands_tell_what_they_did(server: RunningServer, own: Path, tmp_path: Path) -> None:
    laptop = Device(tmp_path / "home", tmp_path / "folder", "laptop", User(server.url, "ann", PASSWORD))
    laptop.sign_in()
    os.mkfifo(tmp_path / "pipe")
    dry = laptop.cli("import", str(own), "--to", "/typed", "--dry-run", "--json")
    assert (dry.code, json.loads(dry.out)["files"]) == (0, len(NAMES) + 1)
    came = laptop.cli("import", str(own), "--to", "/typed")
    assert came.code == 0, came
    assert f"{len(NAMES) + 1} files" in came.out
    wrong = laptop.cli("import", f"{server.url.replace('://', '://ann@')}/dav", "--password-stdin", stdin="no\n")
    assert wrong.code == 20
    assert laptop.cli("import", str(tmp_path / "nothing")).code == 1
    assert laptop.cli("import", str(own), "--existing", "maybe").code == 1
    out = laptop.cli("export", str(tmp_path / "out"), "--versions")
    assert out.code == 0, out
    assert shape(tmp_path / "out" / "files" / "typed") == shape(own)
    # A disk that takes no more of a file: the kernel's own limit stands for it.
    full = subprocess.run(
        [sys.executable, "-m", "satchel.cli.main", "export", str(tmp_path / "full")],
        capture_output=True,
        env=laptop.environment(),
        preexec_fn=_little_room,
        timeout=120,
        check=False,
    )
    assert full.returncode == 24, full
    assert b"disk is full" in full.stderr
    (tmp_path / "own").mkdir()
    (tmp_path / "pipe").rename(tmp_path / "own" / "pipe")
    missing = laptop.cli("import", str(tmp_path / "own"))
    assert missing.code == 11
    assert "/pipe: neither file, folder nor symlink" in missing.out


def _little_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
