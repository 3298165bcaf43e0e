"""What must be refused because it is not what was given."""

from __future__ import annotations


def spoilt(token: str) -> str:
    """Return a token that differs from `token` in one place, surely, and in no bit that its coding leaves out."""
    middle = len(token) // 2
    return token[:middle] + ("B" if token[middle] == "A" else "A") + token[middle + 1 :]
