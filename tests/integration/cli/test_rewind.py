"""`satchel rewind`, `rewinds`, `activity --server` and `admin rewind` against a real server.

The commands run in this process: each start of the program would take longer than what it does.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from satchel.cli.main import main
from satchel.device.credentials import Credentials, save
from tests.support.devices import Ran
from tests.support.server import PASSWORD, RunningServer, User, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("rewind")) as running:
        yield running


class Shell:
    """One device's command line."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._home, self._monkeypatch, self._capsys = home, monkeypatch, capsys

    def cli(self, *words: str) -> Ran:
        self._monkeypatch.setenv("SATCHEL_HOME", str(self._home))
        self._capsys.readouterr()
        code = main(list(words))
        told = self._capsys.readouterr()
        return Ran(code, told.out, told.err)


@pytest.fixture(scope="module")
def homes(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The device folders of two accounts, signed in."""
    folder = tmp_path_factory.mktemp("homes")
    for name, device in (("ann", "laptop"), ("bob", "desk")):
        user = server.add_user(name)
        session = user.sign_in(device)
        (folder / name).mkdir(0o700)
        save(folder / name, Credentials(user.url, name, session.device_id.hex(), session.token, device))
    return {name: folder / name for name in ("ann", "bob")}


@pytest.fixture
def laptop(homes: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(homes["ann"], monkeypatch, capsys)


@pytest.fixture
def desk(homes: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(homes["bob"], monkeypatch, capsys)


def done(ran: Ran) -> Ran:
    assert ran.code == 0, ran
    return ran


def told(ran: Ran) -> Any:
    return done(ran).json()


def put(laptop: Shell, tmp_path: Path, text: str, target: str) -> None:
    (tmp_path / "source").write_text(text)
    done(laptop.cli("put", str(tmp_path / "source"), target))


def test_a_folder_is_led_back_and_that_is_undone(laptop: Shell, tmp_path: Path) -> None:
    done(laptop.cli("mkdir", "/docs"))
    put(laptop, tmp_path, "one", "/docs/a.txt")
    at = told(laptop.cli("--json", "versions", "/docs/a.txt"))[0]["created_ms"]
    put(laptop, tmp_path, "two", "/docs/a.txt")
    put(laptop, tmp_path, "new", "/docs/new.txt")
    # An ISO time holds the milliseconds that the state was made in.
    to = _iso(at)
    shown = done(laptop.cli("rewind", "/docs", "--to", to, "--dry-run"))
    assert "/docs/a.txt: gets what it held then" in shown.out
    assert "/docs/new.txt: goes into the trash" in shown.out
    refused = laptop.cli("rewind", "/docs", "--to", to)
    assert (refused.code, "--yes" in refused.err) == (1, True)
    assert laptop.cli("cat", "/docs/a.txt").out == "two"
    made = told(laptop.cli("--json", "rewind", "/docs", "--to", to, "--yes"))
    assert made["counts"] == {"content": 1, "trash": 1}
    assert laptop.cli("cat", "/docs/a.txt").out == "one"
    assert laptop.cli("cat", "/docs/new.txt").code == 21
    assert "/docs/new.txt" in done(laptop.cli("trash")).out
    assert made["id"] in done(laptop.cli("rewinds")).out
    assert "rewind: " in done(laptop.cli("activity", "--server", "/docs")).out
    done(laptop.cli("rewind", "--undo", made["id"], "--yes"))
    assert (laptop.cli("cat", "/docs/a.txt").out, laptop.cli("cat", "/docs/new.txt").out) == ("two", "new")
    assert done(laptop.cli("rewind", "/docs", "--to", "now", "--yes")).out == "Nothing has changed since then.\n"


def test_what_is_asked_for_wrongly_is_told(laptop: Shell) -> None:
    for words in ((), ("/",), ("--to", "now"), ("/", "--undo", "ab"), ("/", "--to", "soon")):
        assert laptop.cli("rewind", *words, "--yes").code == 1, words
    ended = laptop.cli("rewind", "/", "--to", "1999-01-01", "--yes")
    assert (ended.code, "history does not reach" in ended.err) == (1, True)


def test_a_version_becomes_a_copy_and_the_trash_another_place(laptop: Shell, tmp_path: Path) -> None:
    put(laptop, tmp_path, "one", "/c.txt")
    put(laptop, tmp_path, "two", "/c.txt")
    old = told(laptop.cli("--json", "versions", "/c.txt"))[1]["rev"]
    copy = told(laptop.cli("--json", "restore", "/c.txt", "--rev", str(old), "--as-copy"))
    assert laptop.cli("cat", f"/{copy['name']}").out == "one"
    done(laptop.cli("restore", "/c.txt", "--rev", str(old), "--copy-to", "/one.txt"))
    assert (laptop.cli("cat", "/one.txt").out, laptop.cli("cat", "/c.txt").out) == ("one", "two")
    assert laptop.cli("restore", "/c.txt", "--as-copy").code == 1
    done(laptop.cli("rm", "/one.txt"))
    assert "laptop" in done(laptop.cli("trash")).out
    done(laptop.cli("trash", "restore", "/one.txt", "--to", "/back.txt"))
    assert laptop.cli("cat", "/back.txt").out == "one"


def test_what_is_in_the_trash_goes_for_good_when_that_is_said(laptop: Shell, tmp_path: Path) -> None:
    for name in ("/first.txt", "/second.txt"):
        put(laptop, tmp_path, name, name)
        done(laptop.cli("rm", name))
    refused = laptop.cli("trash", "empty", "/first.txt")
    assert (refused.code, "--yes" in refused.err) == (1, True)
    assert "nothing in the trash" in laptop.cli("trash", "empty", "/never.txt", "--yes").err.lower()
    assert "1 gone for good" in done(laptop.cli("trash", "empty", "/first.txt", "--yes")).out
    assert "/first.txt" not in (listed := done(laptop.cli("trash")).out) and "/second.txt" in listed
    count = len(told(laptop.cli("--json", "trash")))
    assert told(laptop.cli("--json", "trash", "empty", "--yes")) == {"removed": count}
    assert told(laptop.cli("--json", "trash")) == []
    assert "empty" in done(laptop.cli("trash", "empty", "--yes")).out


def test_the_trash_of_a_shared_folder_is_its_own(
    server: RunningServer, laptop: Shell, desk: Shell, tmp_path: Path
) -> None:
    ann, bob = (User(server.url, name, PASSWORD).sign_in("browser") for name in ("ann", "bob"))
    done(laptop.cli("mkdir", "/crew"))
    for name in ("plan", "list", "note"):
        put(laptop, tmp_path, name, f"/crew/{name}.txt")
    terms = {"path": "/crew", "with": [{"user": "bob", "role": "editor"}]}
    ns = ann.ask("POST", "/api/v1/shares", terms).json()["id"]
    assert bob.ask("POST", f"/api/v1/share-invitations/{ns}/accept").status == 200
    for name in ("plan", "list", "note"):
        done(desk.cli("rm", f"/crew/{name}.txt"))
    mine = done(laptop.cli("trash"))
    assert ("/crew/plan.txt" in mine.out, "--in /crew" in mine.err) == (False, True)
    assert {one["path"] for one in told(laptop.cli("--json", "trash", "list", "--in", "/crew"))} == {
        "/crew/plan.txt",
        "/crew/list.txt",
        "/crew/note.txt",
    }
    # A path says by itself whose trash it is in, to either command.
    done(desk.cli("restore", "/crew/plan.txt"))
    done(laptop.cli("trash", "restore", "/crew/list.txt", "--to", "/crew/lists.txt"))
    assert (laptop.cli("cat", "/crew/plan.txt").out, laptop.cli("cat", "/crew/lists.txt").out) == ("plan", "list")
    refused = desk.cli("trash", "empty", "--in", "/crew", "--yes")
    assert (refused.code, "owner" in refused.err) == (1, True)
    assert laptop.cli("trash", "empty", "--in", "/nowhere", "--yes").code == 21
    own = told(laptop.cli("--json", "trash"))
    assert told(laptop.cli("--json", "trash", "empty", "--in", "/crew", "/crew/note.txt", "--yes")) == {"removed": 1}
    assert told(laptop.cli("--json", "trash", "list", "--in", "/crew")) == []
    assert told(laptop.cli("--json", "trash")) == own


def test_an_administrator_leads_an_account_back(
    server: RunningServer,
    homes: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bob = Shell(homes["bob"], monkeypatch, capsys)
    put(bob, tmp_path, "one", "/a.txt")
    to = _iso(told(bob.cli("--json", "versions", "/a.txt"))[0]["created_ms"])
    put(bob, tmp_path, "two", "/a.txt")
    data = ("--data", str(server.data))
    shown = done(bob.cli("admin", "rewind", "bob", "--to", to, "--dry-run", *data))
    assert "/a.txt: gets what it held then" in shown.out
    done(bob.cli("admin", "rewind", "bob", "--to", to, "--yes", *data))
    assert bob.cli("cat", "/a.txt").out == "one"
    assert bob.cli("admin", "rewind", "nobody", "--to", to, "--yes", *data).code == 21
    made = told(bob.cli("--json", "rewinds"))
    assert [(one["account"], one["device"]) for one in made] == [("bob", "")]


def test_a_shared_folder_is_led_back_by_its_owner(
    server: RunningServer,
    laptop: Shell,
    homes: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bob = Shell(homes["bob"], monkeypatch, capsys)
    done(laptop.cli("mkdir", "/Team"))
    done(laptop.cli("share", "add", "/Team", "--with", "bob:edit"))
    done(bob.cli("share", "accept", "Team"))
    put(laptop, tmp_path, "one", "/Team/plan")
    to = _iso(told(laptop.cli("--json", "versions", "/Team/plan"))[0]["created_ms"])
    put(bob, tmp_path, "two", "/Team/plan")
    assert bob.cli("rewind", "/Team", "--to", to, "--yes").code == 21
    assert "/Team/plan" in done(laptop.cli("rewind", "/Team", "--to", to, "--dry-run")).out
    made = told(laptop.cli("--json", "rewind", "/Team", "--to", to, "--yes"))
    assert bob.cli("cat", "/Team/plan").out == "one"
    assert made["id"] in done(bob.cli("rewinds", "/Team")).out
    assert made["id"] not in done(laptop.cli("rewinds")).out
    assert "/Team/plan" in done(bob.cli("activity", "--server", "/Team")).out
    done(laptop.cli("rewind", "--undo", made["id"], "--yes"))
    assert bob.cli("cat", "/Team/plan").out == "two"


def _iso(unix_ms: int) -> str:
    return datetime.datetime.fromtimestamp(unix_ms / 1000).astimezone().isoformat()
