"""A device of the end-to-end tests: a SATCHEL_HOME, a linked folder and a daemon in a process of its own.

with device(tmp_path, "laptop", user) as laptop:
    (laptop.folder / "a.txt").write_text("hello")
    laptop.wait_in_sync()
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from satchel.device.control import ControlClient, Request
from satchel.device.status import DaemonStatus, LinkStatus
from tests.support import warm
from tests.support.server import User
from tests.support.trees import differences

START_S_MAX = 60.0
SYNC_S_MAX = 90.0
CLI_S_MAX = 240.0
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Ran:
    """A command line that ended."""

    code: int
    out: str
    err: str

    def json(self) -> object:
        return json.loads(self.out)


@dataclass(slots=True)
class Device:
    """One device. name: as the account and the conflicted copies show it."""

    home: Path
    folder: Path
    name: str
    user: User
    process: warm.Program | None = None
    starts: int = field(default=0)

    # -- its life -----------------------------------------------------------------------------------------------------

    def sign_in(self) -> None:
        ran = self.cli(
            "login",
            self.user.url,
            "--user",
            self.user.name,
            "--password-stdin",
            "--device",
            self.name,
            stdin=self.user.password + "\n",
        )
        assert ran.code == 0, ran

    def link(self, *arguments: str) -> Ran:
        return self.cli("link", str(self.folder), "--yes", "--quiet", *arguments)

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        assert self.process is None
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.home / "daemon.err", "ab") as errors:
            log = errors.fileno()
            self.process = warm.start(
                "satchel.device.daemon", (), environment=self.environment(), stdout=log, stderr=log
            )
        self.starts += 1
        client = self.control()
        until = time.monotonic() + START_S_MAX
        while not client.is_running():
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < until, self.told()
            time.sleep(_LOOK_S)

    def stop(self) -> int:
        """End the daemon as a person would, and return its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """Kill the daemon (SIGKILL), as a crash would."""
        return self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    # -- what it says -------------------------------------------------------------------------------------------------

    def control(self) -> ControlClient:
        return ControlClient(self.home)

    def status(self) -> LinkStatus:
        return self.control().ask(Request("status"), DaemonStatus).links[0]

    def wait_in_sync(self, timeout_s: float = SYNC_S_MAX) -> LinkStatus:
        """Look at everything once more and wait; the caller checks the state that it returns."""
        control = self.control()
        control.ask(Request("hint"), object)
        return control.ask(Request("wait", timeout_s=timeout_s), list[LinkStatus])[0]

    def cli(self, *arguments: str, stdin: str = "", cwd: Path | None = None) -> Ran:
        """Run `satchel ARGUMENTS` on this device."""
        done = warm.run(
            "satchel.cli.main",
            arguments,
            environment=self.environment(),
            stdin=stdin.encode(),
            cwd=cwd,
            timeout_s=CLI_S_MAX,
        )
        return Ran(done.code, done.out.decode(errors="replace"), done.err.decode(errors="replace"))

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SATCHEL_")}
        return clean | {"SATCHEL_HOME": str(self.home), "SATCHEL_LOG_LEVEL": "debug", "NO_COLOR": "1"}

    def told(self) -> str:
        """Return the end of its logs, for a failing test."""
        logs = (self.home / name for name in ("daemon.err", "daemon.log"))
        return "\n".join(log.read_text(errors="replace")[-4_000:] for log in logs if log.exists())


@contextlib.contextmanager
def device(folder: Path, name: str, user: User) -> Iterator[Device]:
    """Give a device of `user`, signed in, linked and running, until the block ends."""
    made = Device(folder / f"{name}-home", folder / name, name, user)
    made.sign_in()
    made.start()
    try:
        linked = made.link()
        assert linked.code in (0, 10, 12), (linked, made.told())
        yield made
    finally:
        made.stop()


def _unequal(devices: Sequence[Device], below: str) -> list[str]:
    try:
        return [line for one in devices[1:] for line in differences(devices[0].folder / below, one.folder / below)]
    except FileNotFoundError as error:
        # One device was in sync before the other sent its last change, which is just being applied.
        return [f"{error.filename!r} went while it was compared"]


def wait_until_equal(devices: Sequence[Device], timeout_s: float = SYNC_S_MAX, *, below: str = "") -> None:
    """Wait until every device is in sync and all folders (or what is `below`) are exactly equal, or fail with why."""
    until = time.monotonic() + timeout_s
    while True:
        states = [one.wait_in_sync(max(1.0, until - time.monotonic())).state for one in devices]
        unequal = _unequal(devices, below)
        if not unequal and set(states) == {"in_sync"}:
            return
        assert time.monotonic() < until, (states, unequal[:10], [one.told() for one in devices])


def wait_for(claim: Callable[[], bool], what: str, timeout_s: float = SYNC_S_MAX) -> None:
    """Wait until the claim holds, or fail saying what did not come. What goes while it is looked at is no answer."""
    until = time.monotonic() + timeout_s
    while not _holds(claim):
        assert time.monotonic() < until, what
        time.sleep(_LOOK_S)


def _holds(claim: Callable[[], bool]) -> bool:
    try:
        return claim()
    except FileNotFoundError:
        return False
