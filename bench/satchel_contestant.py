"""Satchel as a contestant of the benchmark harness: a server in S, one device in A and one in B.

Named to the harness by `BENCH_PLUGINS`; `make bench` does it. Nothing here is timed: the harness does that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from contestants.base import Contestant  # type: ignore[import-not-found]  # the harness puts itself on the path
from lab import SERVER_SEEN_FROM  # type: ignore[import-not-found]

PORT = 8384
PASSWORD = "a long password for the bench"
SATCHEL = [os.path.join(os.path.dirname(sys.executable), "satchel")]
READY_S = 600.0
DAEMON_NOT_RUNNING = 14


class Satchel(Contestant):  # type: ignore[misc]  # the harness has no types
    """`satchel serve` in S, `satchel daemon run` in A and B."""

    name = "satchel"
    mediated = True
    continuous = True
    skip = {".satchel"}

    def version(self) -> str:
        return subprocess.run([*SATCHEL, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def prepare(self, A: str, B: str) -> None:  # noqa: N803  # the harness's names
        self.folders = {"A": A, "B": B}
        os.makedirs(self.home, exist_ok=True)

    def start(self) -> bool:
        log = f"{self.home}/server.log"
        argv = [*SATCHEL, "serve", "--data", f"{self.home}/server", "--listen", f"0.0.0.0:{PORT}"]
        self.server = self.lab.spawn("S", [*argv, "--behind-proxy", "10.77.1.1"], log=log)
        if not self._until(lambda: self._shell("S", f"curl -sf http://127.0.0.1:{PORT}/health") == 0):
            return False
        admin = f"{SATCHEL[0]} admin user add bench --data {self.home}/server --admin --password-stdin"
        if self._shell("S", f"echo '{PASSWORD}' | {admin}"):
            return False
        self.daemons: dict[str, Any] = {}
        return all(self._come_up(side) for side in "AB") and all(self._join(side) for side in "AB")

    def _come_up(self, side: str) -> bool:
        """Sign the device in and start its daemon, which no command then has to start outside the laboratory."""
        url = f"http://{SERVER_SEEN_FROM[side]}:{PORT}"
        login = f"{SATCHEL[0]} login {url} --user bench --password-stdin --device {side}"
        if self._shell(side, f"echo '{PASSWORD}' | {login}"):
            return False
        env = self._environment(side)
        self.daemons[side] = self.lab.spawn(side, [*SATCHEL, "daemon", "run"], env=env, log=f"{self.home}/{side}.log")
        return True

    def _join(self, side: str) -> bool:
        if not self._until(lambda: self._shell(side, f"{SATCHEL[0]} status") != DAEMON_NOT_RUNNING):
            return False
        if self._shell(side, f"{SATCHEL[0]} link {self.folders[side]} --yes --quiet"):
            return False
        return self._until(lambda: self._shell(side, f"{SATCHEL[0]} sync --timeout 600") == 0)

    def _environment(self, side: str) -> dict[str, str]:
        home = f"{self.home}/{side}"
        return {"SATCHEL_HOME": home, "HOME": home, "NO_COLOR": "1"}

    def _shell(self, side: str, command: str) -> int:
        return int(self.lab.call(side, ["sh", "-c", command], env=self._environment(side), log=f"{self.home}/cli.log"))

    def _until(self, claim: Any) -> bool:
        end_s = time.monotonic() + READY_S
        while time.monotonic() < end_s:
            if claim():
                return True
            time.sleep(0.2)
        return False

    def rescan(self) -> None:
        for side in "AB":
            self._shell(side, f"{SATCHEL[0]} sync --timeout 600")

    def stop(self) -> None:
        for process in (*getattr(self, "daemons", {}).values(), getattr(self, "server", None)):
            if process is not None:
                self.lab.kill(process)

    def figures(self) -> dict[str, list[str]]:
        return {
            "state_A": [f"{self.home}/A"],
            "state_B": [f"{self.home}/B"],
            "store": [f"{self.home}/server"],
        }


CONTESTANTS: dict[str, tuple[type[Satchel], dict[str, str]]] = {"satchel": (Satchel, {})}
