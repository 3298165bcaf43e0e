"""Tokens as they are stored. Invariant: what is stored opens nothing."""

from __future__ import annotations

import hashlib


def token_hash(token: str) -> bytes:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
