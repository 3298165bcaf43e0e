"""docs/use/api.md does what it says: its very commands, run by a shell with a real curl, one after another."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.server import PASSWORD, running_server
from tests.tidy.sources import document

LIMIT_S = 120


def test_a_stranger_uploads_shares_and_downloads_by_the_page_alone(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", document("docs/use/api.md"), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    script = "set -eu\n" + "".join(blocks)
    work = tmp_path / "work"
    work.mkdir()
    (work / "password").write_text(PASSWORD)
    with running_server(tmp_path) as server:
        server.add_user("ann")
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(work),
            "SERVER": server.url,
            "PASSWORD_FILE": str(work / "password"),
        }
        done = subprocess.run(
            ["bash", "-c", script], cwd=work, env=environment, capture_output=True, text=True, timeout=LIMIT_S
        )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.rstrip().endswith("the same bytes")
    assert (work / "fetched.bin").read_bytes() == (work / "film.bin").read_bytes()
    assert (work / "film.bin").stat().st_size == 10_000_000
