"""The commands that need no daemon, as a person types them, against a real server."""

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.api import Client
from satchel.api.uploads import PART_BYTES
from satchel.cli.begun_uploads import BegunUpload, begun_upload
from satchel.device.credentials import load
from tests.support.devices import Device, Ran
from tests.support.server import RunningServer, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("cli")) as running:
        yield running


@pytest.fixture
def laptop(server: RunningServer, tmp_path: Path, request: pytest.FixtureRequest) -> Device:
    user = server.add_user(f"user{abs(hash(request.node.name)) % 10**9}")
    made = Device(tmp_path / "home", tmp_path / "folder", "laptop", user)
    made.sign_in()
    return made


def done(ran: Ran) -> Ran:
    assert ran.code == 0, ran
    return ran


def test_what_was_put_is_what_comes_back(laptop: Device, tmp_path: Path) -> None:
    source = tmp_path / "a file, with ümläut.bin"
    source.write_bytes(os.urandom(3_000_000))
    os.utime(source, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    done(laptop.cli("put", str(source), "/"))
    done(laptop.cli("get", f"/{source.name}", str(tmp_path / "back")))
    back = tmp_path / "back"
    assert back.read_bytes() == source.read_bytes()
    assert back.stat().st_mtime_ns == source.stat().st_mtime_ns


def test_a_folder_goes_up_and_comes_down_with_all_in_it(laptop: Device, tmp_path: Path) -> None:
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    (tmp_path / "tree" / "b.txt").write_text("b")
    done(laptop.cli("put", "-r", str(tmp_path / "tree"), "/"))
    done(laptop.cli("get", "-r", "/tree", str(tmp_path / "back")))
    assert (tmp_path / "back" / "b.txt").read_text() == "b"
    assert (tmp_path / "back" / "empty").is_dir()


def test_a_long_upload_goes_on_where_it_was_broken_off_unless_the_file_changed(
    laptop: Device, server: RunningServer, tmp_path: Path
) -> None:
    source = tmp_path / "film.bin"
    source.write_bytes(os.urandom(PART_BYTES + 1_000))
    note = _broken_off(laptop, source)
    told = done(laptop.cli("put", str(source), "/"))
    assert "going on where it was broken off" in told.err
    assert not note.path.exists()
    back = tmp_path / "back"
    done(laptop.cli("get", "/film.bin", str(back)))
    assert back.read_bytes() == source.read_bytes()
    assert back.stat().st_mtime_ns == source.stat().st_mtime_ns
    # The same length, other bytes, another time: another state, which begins anew.
    _broken_off(laptop, source)
    source.write_bytes(os.urandom(PART_BYTES + 1_000))
    told = done(laptop.cli("put", str(source), "/"))
    assert "going on" not in told.err
    done(laptop.cli("get", "--force", "/film.bin", str(back)))
    assert back.read_bytes() == source.read_bytes()


def test_an_upload_that_the_server_forgot_or_that_cannot_end_begins_anew(laptop: Device, tmp_path: Path) -> None:
    source = tmp_path / "film.bin"
    source.write_bytes(os.urandom(PART_BYTES + 1_000))
    note = _broken_off(laptop, source)
    note.write(os.urandom(16).hex())
    done(laptop.cli("put", str(source), "/"))
    # Bytes that changed without a trace are found by their hash; then it is tried from the first one.
    found = source.stat()
    note = _broken_off(laptop, source)
    source.write_bytes(os.urandom(PART_BYTES + 1_000))
    os.utime(source, ns=(found.st_mtime_ns, found.st_mtime_ns))
    assert laptop.cli("put", str(source), "/").code != 0
    assert not note.path.exists()
    done(laptop.cli("put", str(source), "/"))
    done(laptop.cli("get", "/film.bin", str(tmp_path / "back")))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def _broken_off(laptop: Device, source: Path) -> BegunUpload:
    """Leave behind what a `satchel put` does that is killed after its first part."""
    known, found = load(laptop.home), source.stat()
    target, local = f"/{source.name}", str(source.resolve())
    note = begun_upload(
        laptop.home / "uploads", known.url, known.device_id, target, local, found.st_size, found.st_mtime_ns
    )

    data = source.read_bytes()

    async def begin() -> None:
        async with Client(known.url, known.token) as client:
            sha256 = hashlib.sha256(data).hexdigest()
            made = await client.begin_upload(target, found.st_size, sha256=sha256, mtime_ns=found.st_mtime_ns)
            await client.add_part(made.id, 0, data[:PART_BYTES])
            note.write(made.id)

    asyncio.run(begin())
    return note


def test_get_replaces_nothing_unless_forced(laptop: Device, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("new")
    done(laptop.cli("put", str(tmp_path / "a.txt"), "/"))
    (tmp_path / "mine.txt").write_text("mine")
    refused = laptop.cli("get", "/a.txt", str(tmp_path / "mine.txt"))
    assert (refused.code, (tmp_path / "mine.txt").read_text()) == (22, "mine")
    done(laptop.cli("get", "--force", "/a.txt", str(tmp_path / "mine.txt")))
    assert (tmp_path / "mine.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_an_earlier_version_is_read_and_restored(laptop: Device, tmp_path: Path) -> None:
    for text in ("one", "two"):
        (tmp_path / "a.txt").write_text(text)
        done(laptop.cli("put", str(tmp_path / "a.txt"), "/"))
    newest, first = (version["rev"] for version in json.loads(done(laptop.cli("--json", "versions", "/a.txt")).out))
    assert newest > first
    assert done(laptop.cli("cat", "/a.txt", "--rev", str(first))).out == "one"
    done(laptop.cli("restore", "/a.txt", "--rev", str(first)))
    assert done(laptop.cli("cat", "/a.txt")).out == "one"
    assert len(json.loads(done(laptop.cli("--json", "versions", "/a.txt")).out)) == 3


def test_what_was_removed_is_in_the_trash_and_comes_back(laptop: Device, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("precious")
    done(laptop.cli("mkdir", "-p", "/x/y"))
    done(laptop.cli("put", str(tmp_path / "a.txt"), "/x/y"))
    assert laptop.cli("rm", "/x").code == 1
    done(laptop.cli("rm", "-r", "/x"))
    assert laptop.cli("cat", "/x/y/a.txt").code == 21
    done(laptop.cli("restore", "/x"))
    assert done(laptop.cli("cat", "/x/y/a.txt")).out == "precious"


def test_moving_into_a_folder_keeps_the_name(laptop: Device, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    done(laptop.cli("put", str(tmp_path / "a.txt"), "/"))
    done(laptop.cli("mkdir", "/x"))
    done(laptop.cli("mv", "/a.txt", "/x"))
    assert done(laptop.cli("ls", "/x")).out == "a.txt\n"


def test_a_fault_is_one_line_without_a_traceback_and_has_its_code(laptop: Device) -> None:
    missing = laptop.cli("ls", "/nothing/here")
    assert missing.code == 21
    assert missing.out == ""
    assert missing.err.startswith("satchel: ")
    assert missing.err.count("\n") == 1


def test_with_json_a_fault_is_json(laptop: Device) -> None:
    missing = laptop.cli("ls", "/nothing", "--json")
    assert json.loads(missing.err)["error"]["code"] == "not_found"


def test_a_wrong_password_signs_nobody_in(laptop: Device, server: RunningServer) -> None:
    stranger = Device(laptop.home.with_name("other"), laptop.folder, "other", laptop.user)
    ran = stranger.cli("login", server.url, "--user", laptop.user.name, "--password-stdin", stdin="wrong password\n")
    assert ran.code == 20
    assert not (stranger.home / "credentials.json").exists()


def test_signing_out_ends_the_token_on_the_server(laptop: Device) -> None:
    kept = (laptop.home / "credentials.json").read_bytes()
    done(laptop.cli("logout"))
    assert laptop.cli("whoami").code == 20
    (laptop.home / "credentials.json").write_bytes(kept)
    assert laptop.cli("whoami").code == 20


def test_no_secret_is_shown_by_any_of_it(laptop: Device) -> None:
    token = json.loads((laptop.home / "credentials.json").read_text())["token"]
    shown = [laptop.cli(*words) for words in (("whoami", "--json"), ("doctor", "--json"), ("config", "list"))]
    assert all(token not in ran.out + ran.err for ran in shown)
    assert (laptop.home / "credentials.json").stat().st_mode & 0o077 == 0


def test_status_without_a_daemon_says_so_and_starts_none(laptop: Device) -> None:
    assert laptop.cli("status").code == 14
    assert laptop.cli("status", "--json").json() == {"daemon": None, "links": [], "exit_code": 14}
    assert not laptop.control().is_running()


def test_a_device_is_renamed_and_revoked_by_name(laptop: Device, server: RunningServer) -> None:
    laptop.user.sign_in("old phone")
    done(laptop.cli("devices", "rename", "old phone", "phone"))
    names = {device["name"] for device in json.loads(done(laptop.cli("devices", "--json")).out)}
    assert names == {"laptop", "phone"}
    done(laptop.cli("devices", "revoke", "phone"))
    names = {device["name"] for device in json.loads(done(laptop.cli("devices", "--json")).out)}
    assert names == {"laptop"}


def test_a_dry_run_of_a_link_foresees_and_changes_nothing(laptop: Device, tmp_path: Path) -> None:
    for name, text in (("equal", "same"), ("differs", "remote"), ("only there", "down")):
        (tmp_path / name).write_text(text)
        done(laptop.cli("put", str(tmp_path / name), "/"))
    laptop.folder.mkdir()
    for name, text in (("equal", "same"), ("differs", "locale"), ("only here", "up")):
        (laptop.folder / name).write_text(text)
    told = done(laptop.cli("link", str(laptop.folder), "--dry-run", "--json")).json()
    assert isinstance(told, dict)
    counts = {key: told[key] for key in ("up", "down", "equal", "differing", "conflicts")}
    assert counts == {"up": 1, "down": 1, "equal": 1, "differing": 1, "conflicts": ["differs"]}
    assert sorted(path.name for path in laptop.folder.iterdir()) == ["differs", "equal", "only here"]
    assert not (laptop.home / "links.json").exists()
