"""`python -m bench.search [--count N] [--only sqlite]`: how long a search by name takes over 100,000 names, and what
the index costs, beside a look at every name with LIKE, on SQLite and on PostgreSQL, in one run.

The processor's time is this process's: all of the work on SQLite, and our part of it on PostgreSQL. It tells what a
search costs on a machine that has much else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from msgspec.structs import replace
from tests.support.postgres import running_postgres

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.paths import name_key
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import authenticate, register_account, register_device
from satchel.server.adapters.machine import MachineClock
from satchel.server.db.engine import Database
from satchel.server.db.opening import open_database
from satchel.server.metadata.nodes import COLUMN_LIST, COLUMNS, LIVE, values_of
from satchel.server.metadata.tree import ROOT
from satchel.server.search.grams import question_of
from satchel.server.search.indexing import step
from satchel.server.search.names import Wanted, search_names
from satchel.server.search.scopes import Place
from satchel.server.upkeep.naming import NAMES_A_STEP

SEED = 4711
FOLDER_NODES = 100
# fmt: off
WORDS = [
    "annual", "report", "invoice", "letter", "budget", "draft", "final", "holiday", "photo", "scan", "receipt",
    "contract", "meeting", "notes", "summary", "plan", "design", "project", "customer", "offer", "order",
    "delivery", "tax", "travel", "map", "music", "lesson", "exam", "thesis", "chapter", "figure", "table", "data",
    "backup", "archive", "site", "logo", "banner", "template", "form", "copy", "minutes", "agenda", "review",
    "proposal", "estimate", "quote", "statement",
]
# fmt: on
ENDS = ["pdf", "docx", "xlsx", "txt", "md", "jpg", "png", "csv", "zip", "mp4"]


def names(count: int) -> list[str]:
    """Return names as people give them: two or three words, a date or a number, an extension; nearly all differ."""
    chance = random.Random(SEED)

    def name() -> str:
        words = chance.sample(WORDS, chance.choice((2, 3)))
        number = f"{chance.randrange(2010, 2027)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 32):02}"
        return f"{' '.join(words).capitalize()} {number} {chance.randrange(100_000)}.{chance.choice(ENDS)}"

    return [name() for _ in range(count)]


def questions(made: list[str], count: int) -> list[str]:
    """Return what is asked: common and rare words, beginnings, middles, several words, whole names, and nothing."""
    chance = random.Random(SEED + 1)

    def question(at: int) -> str:
        name, word = chance.choice(made), chance.choice(WORDS)
        middle = chance.randrange(len(name) - 6)
        return (
            word,
            word[:2],
            word[1:5],
            f"{word} {chance.choice(WORDS)[:4]}",
            f"{chance.choice(ENDS)} {chance.randrange(2010, 2027)}",
            name,
            name[middle : middle + 5].strip() or word,
            f"{word}{chance.randrange(1_000)}",
        )[at % 8]

    return [question(at) for at in range(count)]


async def filled(db: Database, made: list[str]) -> Principal:
    """Store the names in folders of a hundred, of one account, and index them."""
    clock = MachineClock()
    account = await register_account(db, clock, name="ann", password_hash="none", quota_bytes=None)
    token, _ = await register_device(db, clock, account_id=account.account_id, name="laptop")
    principal, rows = await authenticate(db, token), []
    folder = ROOT_NODE
    for seq, name in enumerate(made, start=1):
        is_folder, node_id = seq % FOLDER_NODES == 1, NodeId(seq.to_bytes(16, "big"))
        node = replace(
            ROOT,
            node_id=node_id,
            parent_id=ROOT_NODE if is_folder else folder,
            name=name,
            name_key=name_key(name),
            kind=int(Kind.FOLDER if is_folder else Kind.FILE),
            mtime_ns=seq,
            seq=seq,
        )
        rows.append((principal.root_ns, *values_of(node)))
        folder = node_id if is_folder else folder
    marks = ", ".join(f"${number}" for number in range(1, len(COLUMNS) + 2))
    sql = f"INSERT INTO files (ns, {COLUMN_LIST}) VALUES ({marks}) ON CONFLICT DO NOTHING"
    for at in range(0, len(rows), 5_000):
        part = rows[at : at + 5_000]
        await db.write(b"fill", lambda conn, part=part: conn.execute_many(sql, part))  # type: ignore[misc]
    head = "UPDATE namespaces SET head_seq = $2 WHERE ns = $1"
    await db.write(b"fill", lambda conn: conn.execute(head, principal.root_ns, len(rows)))
    return principal


async def taken_ms(asked: list[str], ask: Callable[[str], Awaitable[object]]) -> dict[str, list[float]]:
    """Return what each question took, in ms, the shortest first: by the clock, and of this process's processor."""
    taken: dict[str, list[float]] = {"clock": [], "processor": []}
    for question in asked:
        begun, used = time.perf_counter(), time.process_time()
        await ask(question)
        taken["clock"].append((time.perf_counter() - begun) * 1_000)
        taken["processor"].append((time.process_time() - used) * 1_000)
    return {what: sorted(each) for what, each in taken.items()}


async def measure(url: str, kind: str, made: list[str], asked: list[str]) -> None:
    """Print what one database does."""
    db = await open_database(url, MachineClock())
    try:
        principal = await filled(db, made)
        ns, begun, steps, longest = principal.root_ns, time.perf_counter(), 0, 0.0
        while True:
            step_begun = time.perf_counter()
            if await step(db, ns, count=NAMES_A_STEP) is None:
                break
            longest, steps = max(longest, time.perf_counter() - step_begun), steps + 1
        took = time.perf_counter() - begun
        print(f"{kind:10} index: {len(made) / took:,.0f} names/s, {steps} steps, the longest {longest * 1e3:,.0f} ms")

        async def indexed(question: str) -> object:
            return await search_names(db, principal, [Place(ns)], Wanted(question_of(question)))

        async def plain(question: str) -> object:
            words = [f"%{name_key(word)}%" for word in question.split()]
            like = " AND ".join(f"name_key LIKE ${at}" for at in range(2, 2 + len(words)))
            sql = f"SELECT {COLUMN_LIST} FROM files WHERE ns = $1 AND state = {LIVE} AND {like} LIMIT 500"
            return await db.read(lambda conn: conn.fetch(sql, ns, *words))

        for what, ask in (("search", indexed), ("LIKE alone", plain)):
            for by, each in (await taken_ms(asked, ask)).items():
                p50, p95 = each[len(each) // 2], each[int(len(each) * 0.95)]
                print(f"{kind:10} {what:10} {by:9} p50 {p50:6.1f}   p95 {p95:6.1f}   longest {each[-1]:6.1f} ms")
    finally:
        await db.close()


@contextlib.contextmanager
def stores(only: str) -> Iterator[dict[str, str]]:
    """Yield the URLs of empty stores, by what they are."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        urls = {"SQLite": f"sqlite:///{Path(folder) / 'search.db'}"}
        if only != "sqlite":
            urls["PostgreSQL"] = stack.enter_context(running_postgres()).create("bench_search")
        yield urls


def main() -> None:
    """Measure both databases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--only", choices=("", "sqlite"), default="")
    told = parser.parse_args()
    made = names(told.count)
    with stores(told.only) as urls:
        for kind, url in urls.items():
            asyncio.run(measure(url, kind, made, questions(made, told.questions)))


if __name__ == "__main__":
    main()
