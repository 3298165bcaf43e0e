"""Faults under load against the real servers: `python -m tests.chaos [--only NAME] [--seed N] [--scale 0.05]`.

Each scenario tells one line with its figures. One whose invariant is broken fails the run and leaves its folder, with
the logs of all processes; the others go on. What was started is ended by its own process id, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.catalogue import LIMIT_S_MIN, SCENARIOS
from tests.chaos.scene import Broken, Figures, Scene
from tests.chaos.servers import S3_KEYS, Servers


async def played(scene: Scene, servers: Servers) -> Figures:
    """Run one scenario within its time. Raises: Broken."""
    scenario = SCENARIOS[scene.name]
    limit_s = scene.seconds(scenario.limit_s, least=LIMIT_S_MIN)
    try:
        async with asyncio.timeout(limit_s):
            return await scenario.run(scene, servers)
    except TimeoutError:
        raise Broken(f"it is not at its end after {limit_s:.0f} s") from None


def _play(name: str, seed: int, scale: float) -> bool:
    """Run one scenario on servers of its own and print its line; tell whether all held."""
    folder = Path(tempfile.mkdtemp(prefix=f"satchel-chaos-{name}-"))
    scene = Scene(name, folder, seed, scale)
    began = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            figures = asyncio.run(played(scene, Servers(stack)))
    except (Broken, ExceptionGroup) as broken:
        print(f"BROKEN {name}: {_told(broken)} (seed {seed}; what is left of it: {folder})", flush=True)
        return False
    print(f"held {name}: {figures.line()}, {time.monotonic() - began:,.0f} s", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _told(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_told(one) for one in error.exceptions)
    return str(error) if isinstance(error, Broken) else repr(error)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=sorted(SCENARIOS), help="may be given several times")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--scale", type=float, default=1.0, help="of all times and counts; 0.05 is a look")
    given = parser.parse_args()
    # A stop from outside ends what was started as Ctrl-C does, also where a shell in the background ignores that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    for name in [name for name in os.environ if name.startswith(("AWS_", "SATCHEL_"))]:
        del os.environ[name]
    os.environ.update(S3_KEYS)
    print(f"seed {given.seed}, scale {given.scale}", flush=True)
    held = {name: _play(name, given.seed, given.scale) for name in given.only or SCENARIOS}
    broken = sorted(name for name, is_held in held.items() if not is_held)
    print(f"{len(held) - len(broken)} held, {len(broken)} broken{': ' if broken else ''}{', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
