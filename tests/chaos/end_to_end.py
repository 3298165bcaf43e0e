"""The end-to-end tests of the embedded server, unchanged, on a service of many processes.

Once with all stores, and once with neither Valkey nor Kafka behind their URLs from the start: then all is found by
asking. One line a test.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from pathlib import Path

from tests.chaos.scene import Figures, Scene, require
from tests.chaos.servers import Servers

TESTS = ("tests/e2e/test_first_light.py",)
SELECTED = "every_kind or edit_arrives or both_edit_one_file"
"""Of a run that is much shorter than the full one."""
ROOT = Path(__file__).parents[2]
_RESULT = re.compile(r"::(test_.+?) (PASSED|FAILED|ERROR)\b")


async def on_the_cluster(scene: Scene, servers: Servers) -> Figures:
    """Run the two devices of the first issue at two gateways."""
    return await _run(scene, "cluster")


async def without_accelerators(scene: Scene, servers: Servers) -> Figures:
    """Run them with the URLs of Valkey and Kafka at ports where nobody is."""
    return await _run(scene, "alone")


async def _run(scene: Scene, service: str) -> Figures:
    command = [sys.executable, "-m", "pytest", "-vv", "-x", "--color=no", f"--service={service}", *TESTS]
    if scene.scale < 0.5:
        command += ["-k", SELECTED]
    process = await asyncio.create_subprocess_exec(
        *command,
        f"--basetemp={scene.folder / 'tests'}",
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    counts: Counter[str] = Counter()
    told: list[str] = []
    try:
        assert process.stdout is not None
        async for raw in process.stdout:
            told.append(raw.decode(errors="replace"))
            if found := _RESULT.search(told[-1]):
                counts[found[2].lower()] += 1
                scene.tell(f"{found[2].lower()}: {found[1]}")
        code = await process.wait()
    finally:
        if process.returncode is None:
            # As a person's Ctrl-C: it ends the processes that it started.
            process.terminate()
            await process.wait()
    require(code == 0 and counts["passed"] > 0, f"pytest ended with {code}:\n{''.join(told[-60:])}")
    return Figures({f"tests passed on `{service}`": counts["passed"]})
