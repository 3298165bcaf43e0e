"""`satchel share`, as two people type it against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.devices import Device, Ran
from tests.support.server import RunningServer, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("shares")) as running:
        yield running


def device(server: RunningServer, folder: Path, name: str) -> Device:
    made = Device(folder / name, folder / f"{name}-files", "laptop", server.add_user(name))
    made.sign_in()
    return made


def done(ran: Ran) -> str:
    assert ran.code == 0, ran
    return ran.out


def test_a_folder_is_shared_used_and_left(server: RunningServer, tmp_path: Path) -> None:
    ann, bob = (device(server, tmp_path, name) for name in ("ann", "bob"))
    (tmp_path / "plan.txt").write_text("the plan")
    done(ann.cli("mkdir", "-p", "/Team/in"))
    done(ann.cli("put", str(tmp_path / "plan.txt"), "/Team"))
    assert "shared with bob" in done(ann.cli("share", "add", "/Team", "--with", "bob:view"))
    assert "Team" in done(bob.cli("share", "invitations"))
    assert "/Team" in done(bob.cli("share", "accept", "Team"))
    assert done(bob.cli("cat", "/Team/plan.txt")) == "the plan"
    assert done(bob.cli("ls")).strip() == "Team/"
    assert bob.cli("put", str(tmp_path / "plan.txt"), "/Team/other.txt").code == 21
    done(ann.cli("share", "role", "/Team", "bob", "edit"))
    done(bob.cli("mv", "/Team", "/Work"))
    done(bob.cli("put", str(tmp_path / "plan.txt"), "/Work/other.txt"))
    assert done(ann.cli("ls", "/Team")).split() == ["in/", "other.txt", "plan.txt"]
    [seen] = json.loads(done(bob.cli("--json", "share", "list")))
    assert (seen["path"], seen["role"], seen["owner"]) == ("/Work", "editor", "ann")
    assert bob.cli("rm", "-r", "/Work").code == 1
    assert ann.cli("share", "leave", "/Team").code == 26
    done(bob.cli("share", "leave", "/Work"))
    assert done(bob.cli("ls")) == ""
    people = json.loads(done(ann.cli("--json", "share", "people", "/Team")))
    assert [one["user"] for one in people] == ["ann"]
    assert ann.cli("share", "add", "/Team/in", "--with", "bob").code == 26
    assert ann.cli("share", "add", "/Team", "--with", "bob:own").code == 1
    assert ann.cli("share", "people", "/nothing").code == 21
