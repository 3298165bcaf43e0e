"""What a long run of its own has on the command line: a seed that repeats it, and a folder that stays when it fails."""

from __future__ import annotations

import os
import shutil
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

AmountT = TypeVar("AmountT", int, float)


def tell(text: str) -> None:
    print(text, flush=True)


def main(module: str, about: str, option: str, usual: AmountT, run: Callable[[Path, AmountT, int], str]) -> int:
    """Run `module` from the command line. option: how much of it is asked for, `usual` when nothing is said.

    run: plays in a folder, so much of it, by a seed, and returns the line that tells how it went.
    """
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(f"--{option}", type=type(usual), default=usual, dest="amount")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    asked = parser.parse_args()
    tell(f"seed {asked.seed}; again with: python -m {module} --{option} {asked.amount:g} --seed {asked.seed}")
    folder = Path(tempfile.mkdtemp(prefix=f"satchel-{module.rpartition('.')[2]}-"))
    try:
        tell(run(folder, asked.amount, asked.seed))
    except BaseException:
        tell(f"what is left of it: {folder}")
        raise
    shutil.rmtree(folder)
    return 0
