"""Planted bugs of collection, each of which the interleavings must find: `make collisions MUTANTS=1`.

Invariant: as in `tests.simulation.planting`, a bug is text replaced in one function of the product, in a process of its
own. Some guards are there twice (a block that is held is neither condemned nor removed, and a put makes it live too);
then both are taken away. A guard without a bug here, and why: `touched_at` decides nothing while all graces are zero,
and with the usual ones a lease (24 h and more from the same moment) outlives them; it is for a program of before.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from tests.simulation.catalogue import Bug, Patch
from tests.simulation.planting import plant
from tests.store.interleaving import Stage
from tests.store.stage import quiet

SEEDS_MAX = 10_000


def _bug(name: str, rule: str, *patches: tuple[str, str, str]) -> Bug:
    return Bug(name, rule, tuple(Patch(f"satchel.server.{where}", old, new) for where, old, new in patches))


_GARBAGE = "upkeep.garbage:_Collection."
_REFS = "blocks.refs:"

BUGS = (
    _bug("removal looks only once", "holders are looked for again under the lock",
         (_GARBAGE + "_remove_txn", "if not row[-1] and row[1] != BLOCK_LIVE and row[3] is not None and row[3] <="
          " cutoff and row[4] <= cutoff", "if True")),
    _bug("condemning looks only once", "holders are looked for again under the lock",
         (_GARBAGE + "_condemn_txn", "if not row[-1] and row[2] is not None and row[2] <= cutoff and row[3] is None"
          " and row[4] <= cutoff", "if True")),
    _bug("noting looks only once", "what is held again was never gone",
         (_GARBAGE + "_note_txn", "if not row[-1] and row[0] in set(gone)", "if row[0] in set(gone)")),
    _bug("a put does not revive", "a condemned block that comes again is live",
         (_REFS + "_place_all_txn", "[Change(_PLACE, ",
          "[Change(_PLACE.replace('gone_at = NULL, condemned_at = NULL, ', ''), ")),
    _bug("rights are dropped as seen before", "uses are looked for under the namespace's row",
         (_GARBAGE + "_drop_rights_txn", "IN {{keys}} AND ns = $1{lock}", "IN {{keys}} AND ns = $1 AND 1 = 0{lock}"),
         (_GARBAGE + "_drop_rights_txn", "block_hash IN {keys} AND refs = 0\"\n        \" AND lease_until <= $2\"",
          "block_hash IN {keys} AND $2 > 0\""),
         (_GARBAGE + "_drop_rights_txn", "block_hash IN {keys} AND refs = 0 AND lease_until <= $2\",\n        *(over",
          "block_hash IN {keys} AND $2 > 0\",\n        *(over"),
         (_GARBAGE + "_drop_rights_txn", "IN {keys} AND lease_until <= $2 AND NOT", "IN {keys} AND $2 > 0 AND NOT")),
    _bug("leases are ignored", "what was put may be committed for a day",
         (_GARBAGE + "_unused_rights", "AND lease_until <= $3", "AND $3 > 0"),
         (_GARBAGE + "_drop_rights_txn", "if row[1] > now}", "if row[1] > now + (1 << 50)}"),
         (_GARBAGE + "_drop_rights_txn", "\" AND lease_until <= $2\"", "\" AND $2 > 0\""),
         (_GARBAGE + "_drop_rights_txn", "refs = 0 AND lease_until <= $2\",", "refs = 0 AND $2 > 0\","),
         (_GARBAGE + "_drop_rights_txn", "IN {keys} AND lease_until <= $2 AND NOT", "IN {keys} AND $2 > 0 AND NOT")),
    _bug("a pack is given up unseen", "no pack goes in which a block stands",
         (_REFS + "give_up_pack_txn", " AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.pack_id = packs.pack_id)",
          " AND 1 = 1")),
    _bug("an old pack leaves unseen", "no pack goes in which a block stands",
         (_REFS + "_require_packs_txn", "if not closed:", "if True:"),
         (_GARBAGE + "_leave_txn", "WHERE pack_id = $1 LIMIT 1", "WHERE pack_id = $1 LIMIT 0")),
    _bug("a put into a pack that went", "a pack that was given up takes no block",
         (_REFS + "_require_packs_txn", "if not closed:", "if True:")),
    _bug("compaction moves what is elsewhere", "a row moves only from the place that was read",
         (_REFS + "move_txn",
          "if found.get(block.hash) == (block.pack_id, block.offset, block.stored_size, block.codec)",
          "if block.hash in found"),
         (_REFS + "move_txn", " AND pack_id = $4 AND pack_offset = $5", " AND $4 = $4 AND $5 = $5")),
    _bug("thinning goes by what it read", "versions are chosen under the namespace's row",
         ("upkeep.thinning:thin_versions", "_drop_txn(conn, look, bounds",
          "_drop_txn(conn, look._replace(limit=page), bounds"),
         ("upkeep.thinning:_drop_txn", "page = await _page_txn(conn, look)", "page = look.limit")),
    _bug("a blocklist goes as seen before", "uses are looked for under the namespace's row",
         ("upkeep.thinning:_forget_txn", " AND refs = 0", "")),
    _bug("a reader does not look again", "who holds an old place looks again",
         ("blocks.service:BlockService._read", "if lost:", "if False:")),
    _bug("scrub marks what moved", "only what is bad at its place is damaged",
         ("upkeep.reading:quarantine", "if (row[1], row[2]) == (still[row[0]][0].pack_id, still[row[0]][0].offset)",
          "if True")),
    _bug("a namespace that takes contents holds nothing", "what a version names is held by its namespace",
         ("sharing.counting:_hold_txn", "Change(holders, [(name,) for name in page]", "Change(holders, []")),
    _bug("a folder that becomes shared leaves versions uncounted", "each version counts where it stands",
         ("sharing.conversion:_count_txn", "int(count) for content, count", "1 for content, count")),
    _bug("a converted folder's contents count twice", "what moves is counted less where it was",
         ("sharing.conversion:_count_txn", "is_moving=True", "is_moving=False")),
    _bug("a move takes the newest version alone", "a move takes every version along",
         ("sharing.between:_copy_versions_txn", "for node_id, found in versions.items():\n",
          "for node_id, found in [(n, f[-1:]) for n, f in versions.items()]:\n")),
    _bug("a move counts one version of a file", "each version counts where it stands",
         ("sharing.between:_copy_versions_txn", "for row in found)\n    await", "for row in found[-1:])\n    await")),
    _bug("a commit believes the device", "a commit needs a right to each block",
         ("metadata.contents:Contents.load_txn", "FROM namespace_blocks n JOIN blocks b ON b.block_hash = n.block_hash",
          "FROM blocks b LEFT JOIN namespace_blocks n ON n.block_hash = b.block_hash AND n.ns = $1"),
         ("metadata.contents:Contents.load_txn", "SELECT n.block_hash, b.size", "SELECT b.block_hash, b.size"),
         ("metadata.contents:Contents.load_txn", "WHERE n.ns = $1 AND b.state", "WHERE $1 = $1 AND b.state"),
         ("metadata.contents:Contents.load_txn", "{BLOCK_DAMAGED} AND n.block_hash IN",
          "{BLOCK_DAMAGED} AND b.block_hash IN"),
         ("metadata.contents:Contents.load_txn", "self._refs[hash_] = refs", "self._refs[hash_] = refs or 0")),
)  # fmt: skip


class Search(NamedTuple):
    """How the search for one bug ended. finding: empty when nothing found it within the seeds."""

    bug: str
    seeds: int
    finding: str


def search(bug: Bug, seeds_max: int = SEEDS_MAX) -> Search:
    """Plant the bug here, for good, and run interleavings until one fails."""
    with quiet():
        stage = Stage()
        # The states are made by the real rooms as they are.
        plant(bug)
        for seed in range(seeds_max):
            found = stage.run(seed).finding
            if found:
                return Search(bug.name, seed + 1, found.splitlines()[0])
    return Search(bug.name, seeds_max, "")


def table(jobs: int, seeds_max: int) -> int:
    """Print how each bug was found; return how many were not."""
    missed = 0
    print(f"{'planted bug':36} {'interleavings':>13}  found by")
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for found in pool.map(search, BUGS, [seeds_max] * len(BUGS)):
            missed += not found.finding
            print(f"{found.bug:36} {found.seeds:>13,}  {found.finding[:80] or 'NOT FOUND'}", flush=True)
    print(f"planted: {len(BUGS) - missed} of {len(BUGS)} found within {seeds_max:,} interleavings each")
    return missed
