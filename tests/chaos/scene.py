"""What a scenario is given, and how it tells what it saw. Invariant: same seed, same choices."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from pathlib import Path


class Broken(Exception):
    """What must hold does not: the run fails."""


def require(claim: bool, what: str) -> None:
    """Raise `Broken` saying what does not hold, unless it does."""
    if not claim:
        raise Broken(what)


@dataclass(frozen=True, slots=True)
class Scene:
    """One run of one scenario. folder: for its processes. scale: 1.0 for the full times and counts."""

    name: str
    folder: Path
    seed: int
    scale: float
    began_s: float = field(default_factory=time.monotonic)

    def chance(self, *names: object) -> random.Random:
        """Return the choices of one part of the scenario."""
        return random.Random(f"{self.seed}/{self.name}/{names}")

    def seconds(self, full: float, *, least: float = 0.0) -> float:
        """Return a time of this run: the full one, scaled."""
        return max(least, full * self.scale)

    def count(self, full: int, *, least: int = 1) -> int:
        """Return a number of this run: the full one, scaled."""
        return max(least, round(full * self.scale))

    def tell(self, text: str) -> None:
        """Print a line of progress."""
        print(f"  {self.name} {time.monotonic() - self.began_s:6.1f} s  {text}", flush=True)


class Figures(dict[str, object]):
    """What a scenario counted, in the order in which it is told."""

    def line(self) -> str:
        return ", ".join(f"{_shown(value)} {name}" for name, value in self.items())


def _shown(value: object) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
