"""How a run says that a claim does not hold. Invariant: it names the claim, in words that a reader understands."""

from __future__ import annotations


class Broken(Exception):
    """A claim does not hold. claim: which."""

    def __init__(self, claim: str, what: object) -> None:
        super().__init__(claim, what)
        self.claim = claim
        self.what = what

    def __str__(self) -> str:
        return f"{self.claim}: {self.what}"
