"""What the programs of the tests are forked from: all that they import is there, and no thread that is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import warm


def told() -> None:
    """Exit with zero if all is as it should: an import that fails there is passed over in silence."""
    is_whole = "tests.support.warm_imports" in sys.modules and "satchel.server.main" in sys.modules
    sys.exit(0 if is_whole and len(list(Path(f"/proc/{os.getppid()}/task").iterdir())) == 1 else 1)


def test_programs_begin_with_all_that_they_import_and_no_thread_is_lost() -> None:
    program = multiprocessing.get_context("forkserver").Process(target=told)
    program.start()
    program.join()

    assert program.exitcode == 0


def test_a_program_that_ended_a_moment_ago_may_still_be_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at, ends, and is gone: once, this failed a test on a busy machine."""
    program = warm.start("timeit", ["-n1", "pass"], environment=os.environ, stdout=subprocess.PIPE, stderr=2)
    program.wait(60)
    with monkeypatch.context() as patched:
        patched.setattr(program, "poll", lambda: None)
        program.send_signal(signal.SIGKILL)
    assert program.poll() == 0
