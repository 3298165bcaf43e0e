"""Runs litmus, the WebDAV conformance suite, against a server of its own: `make litmus`.

It is a program of its own (Debian: `apt-get install litmus`); what it checks stands in our words, and runs everywhere,
in tests/integration/test_webdav_*.py.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.server import running_server

WANTED = 104
RUN_S_MAX = 300.0
_SUMMARY = re.compile(r"of (\d+) tests run: (\d+) passed")


def main() -> int:
    """Run all suites; exit code 0 when every test passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="litmus", help="the program, when it is not on the path")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        session = server.add_user("litmus").sign_in("litmus")
        command = [told.program, "-k", f"{server.url}/dav/", "litmus", session.token]
        try:
            ran = subprocess.run(
                command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=RUN_S_MAX, check=False
            )
        except FileNotFoundError:
            print("litmus is not installed here; on Debian: apt-get install litmus")
            return 2
        text = ran.stdout.decode(errors="replace")
    print(text)
    found = [(int(run), int(passed)) for run, passed in _SUMMARY.findall(text)]
    run, passed = sum(each[0] for each in found), sum(each[1] for each in found)
    print(f"{passed} passed, {WANTED - passed} failed ({run} run, {text.count('WARNING')} warnings)")
    return 0 if passed == WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
