"""`make bench`: what the pure parts cost, beside the plain operation that limits them. Each is the best of five."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable

from bench.entries import file_entries
from satchel.core.cutting import StreamCutter, cut
from satchel.core.folding import Tree
from satchel.core.hashing import block_hash
from satchel.core.messages import Changes, decode_frame, encode_frame
from satchel.core.paths import name_key

ROUNDS = 5
DATA = random.Random(4711).randbytes(64 * 1024 * 1024)
ENTRIES = file_entries(20_000)
PAGE = Changes(b"n" * 16, 0, len(ENTRIES), b"t" * 8, ENTRIES, len(ENTRIES))  # type: ignore[arg-type]  # plain ids
FRAME = b"".join(encode_frame(PAGE))
NAMES = [f"Überraschung {number}.TXT" for number in range(20_000)]


def best_s(work: Callable[[], object]) -> float:
    """Return the shortest of five runs, in seconds."""
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def cut_in_buffers() -> None:
    """Cut and hash as the scanner does."""
    cutter, view, step = StreamCutter(), memoryview(DATA), 16 * 1024 * 1024
    for at in range(0, len(DATA), step):
        for block in cutter.feed_blocks(view[at : at + step], is_last=at + step >= len(DATA)):
            block_hash(block)


def fold_all() -> None:
    """Fold a journal of new files onto an empty tree."""
    Tree().fold_page(ENTRIES, prev_seq=0, last_seq=len(ENTRIES))


def main() -> None:
    """Print one line per measure."""
    gib, count = len(DATA) / 2**30, len(ENTRIES)
    for what, work, amount, unit in (
        ("SHA-256 alone", lambda: hashlib.sha256(DATA).digest(), gib, "GiB/s"),
        ("cut, whole buffer", lambda: cut(DATA), gib, "GiB/s"),
        ("cut and hash, 16 MiB buffers", cut_in_buffers, gib, "GiB/s"),
        ("name keys", lambda: [name_key(name) for name in NAMES], len(NAMES) / 1000, "thousand/s"),
        ("encode entries", lambda: encode_frame(PAGE), count / 1000, "thousand/s"),
        ("decode entries", lambda: decode_frame(FRAME, Changes), count / 1000, "thousand/s"),
        ("fold entries", fold_all, count / 1000, "thousand/s"),
    ):
        print(f"{what:32} {amount / best_s(work):10,.2f} {unit}")


if __name__ == "__main__":
    main()
