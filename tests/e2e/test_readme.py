"""The README's example of two devices, run as it stands: what a newcomer types first must work."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
START_DEADLINE_S = 30.0
SCRIPT_DEADLINE_S = 120.0
DEVICES = (".laptop", ".desktop")


def examples(section: str) -> list[str]:
    """Return the code blocks of a section of the README, in order."""
    text = (ROOT / "README.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings_of(home: Path) -> dict[str, str]:
    """Return an environment in which `satchel` is this one and HOME is a folder of the test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SATCHEL_", "XDG_"))}
    return {**kept, "HOME": str(home), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@contextmanager
def running(command: str, environment: dict[str, str], port: int) -> Iterator[None]:
    """Run the server until left; wait until it answers on the port."""
    process = subprocess.Popen(command.split(), env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(START_DEADLINE_S)
    assert process.returncode == 0


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    made = settings_of(tmp_path)
    yield made
    for device in DEVICES:
        if (tmp_path / device).exists():
            stop = ["satchel", "daemon", "stop"]
            subprocess.run(stop, env={**made, "SATCHEL_HOME": str(tmp_path / device)}, timeout=START_DEADLINE_S)


def test_the_example_of_two_devices_works_as_written(tmp_path: Path, environment: dict[str, str]) -> None:
    port = free_port()
    serve, *rest = [
        block.replace("/srv/satchel", str(tmp_path / "server")).replace("8484", str(port))
        for block in examples("Two devices")
    ]
    with running(serve, environment, port):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "".join(rest)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SCRIPT_DEADLINE_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "Desktop" / "note.txt").read_text() == "hello\n"
        assert "\nhello\n" in done.stdout
