"""Signing in from the command line: by a code that somebody approves, and with a code of an app."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import time
from pathlib import Path

from satchel.server.accounts.second_factor import STEP_S, code_at
from tests.support.devices import Device
from tests.support.server import RunningServer

COMMAND = [sys.executable, "-c", "from satchel.cli.main import run; run()"]


def device(folder: Path, name: str, server: RunningServer, user: str) -> Device:
    return Device(folder / name, folder / f"{name} files", name, server.add_user(user))


def test_a_device_shows_a_code_and_is_signed_in_when_it_is_approved(tmp_path: Path, server: RunningServer) -> None:
    laptop = device(tmp_path, "laptop", server, "ann")
    tablet = Device(tmp_path / "tablet", tmp_path / "x", "tablet", laptop.user)
    laptop.sign_in()
    with subprocess.Popen(
        [*COMMAND, "login", server.url, "--device", "tablet", "--json"],
        env=tablet.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stderr is not None
        found = re.match(r"Code: (\w{4}-\w{4})$", waiting.stderr.readline().strip())
        assert found is not None
        assert laptop.cli("devices", "approve", "BBBB-BBBB", "--yes").code == 21
        refused = laptop.cli("devices", "approve", found[1])
        assert refused.code == 1 and "tablet" in refused.err
        assert laptop.cli("devices", "approve", found[1], "--yes").code == 0
        out, _ = waiting.communicate(timeout=60)
        assert waiting.returncode == 0 and '"account":"ann"' in out
    assert "tablet" in laptop.cli("devices").out
    assert tablet.cli("whoami").code == 0
    again = tablet.cli("login", "http://127.0.0.1:1")
    assert again.code == 22 and "satchel logout" in again.err


def test_a_sign_in_with_codes_reads_the_code_after_the_password(tmp_path: Path, server: RunningServer) -> None:
    laptop = device(tmp_path, "laptop", server, "bob")
    session = laptop.user.sign_in()
    route = "/api/v1/account/second-factor"
    secret = base64.b32decode(session.ask("POST", route, {"password": laptop.user.password}).json()["secret"])
    step = int(time.time()) // STEP_S
    assert session.ask("POST", f"{route}/confirm", {"code": code_at(secret, step - 1)}).status == 200
    login = ("login", server.url, "--user", "bob", "--password-stdin")
    assert laptop.cli(*login, stdin=f"{laptop.user.password}\n").code == 20
    assert laptop.cli(*login, stdin=f"{laptop.user.password}\n{code_at(secret, step + 1)}\n").code == 0
    assert laptop.cli("whoami").code == 0
