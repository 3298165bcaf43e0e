"""One interleaving from its seed, and what must hold at its end.

Invariant: no reference dangles: every version of every file reads back byte by byte through the service, each block
that anybody has a right to stands where its row says, every count is right, and what was acknowledged is there.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field

from satchel.core.entries import Kind
from satchel.core.errors import Fault
from satchel.core.hashing import content_hash, packed_hashes
from satchel.core.ids import BlockHash, NamespaceId
from satchel.server.blocks.packs import pack_id_of
from satchel.server.blocks.refs import BLOCK_CONDEMNED, BLOCK_DAMAGED, PlacedBlock
from satchel.server.db.engine import Row
from satchel.server.metadata.nodes import PURGED
from satchel.server.upkeep import garbage, recount
from satchel.server.upkeep.reading import read_verified
from satchel.server.upkeep.usage import usage_txn
from tests.store.acting import Cast, Told
from tests.store.house import BODIES, House, Image, Scene, no_grace, run
from tests.store.stage import HOUR_MS, Played, SteppedDatabase, SteppedStore, Wrong, play

SCENES = 400
"""So many different beginnings."""
_SETTLED = 8
"""Each so many-th run is let settle at the end: all that may go goes, then everything is looked at again."""


@dataclass(slots=True)
class Result:
    """How an interleaving went. finding: empty when all holds."""

    seed: int
    finding: str = ""
    played: Played = field(default_factory=Played)
    told: Told = field(default_factory=Told)


class Stage:
    """Runs interleavings one after another in this process."""

    def __init__(self) -> None:
        self.house = House()
        self.stale_figures = 0
        self._scenes: dict[int, Image] = {}

    def run(self, seed: int, *, is_traced: bool = False) -> Result:
        """Run one interleaving; whatever goes wrong is its finding."""
        house, chance = self.house, random.Random(seed)
        house.put_back(self._scene(seed % SCENES))
        house.clock.chance = chance
        result = Result(seed)
        store = SteppedStore(house.objects, self._check_delete)
        cast = Cast(house, SteppedDatabase(house.db), store, chance, result.told)
        try:
            result.played = play(cast.drawn(), chance, house.clock, is_holding=seed % 3 == 0, is_traced=is_traced)
            self.check(is_thinned=cast.is_thinned)
            if seed % _SETTLED == 0:
                self._settle()
                self.check(is_thinned=cast.is_thinned)
        except (Wrong, Fault, AssertionError, LookupError, TypeError, ValueError) as error:
            notes = getattr(error, "__notes__", [])
            result.finding = "\n".join([f"{type(error).__name__}: {error}", *notes])
        return result

    def _scene(self, number: int) -> Image:
        if number not in self._scenes:
            self._scenes[number] = Scene(self.house, number).make()
        return self._scenes[number]

    def _check_delete(self, name: str) -> None:
        stands = self.house.rows("SELECT block_hash FROM blocks WHERE pack_id = $1 LIMIT 1", pack_id_of(name))
        if stands:
            raise Wrong("no pack goes in which a block stands", name)

    def _settle(self) -> None:
        house = self.house
        for _ in range(4):
            house.clock.jump(49 * HOUR_MS)
            counts = run(garbage.run(house.db, house.objects, house.clock, no_grace()))
            if counts.alarm or counts.errors:
                raise Wrong("garbage alone finds nothing odd", counts.alarm)

    # -- what must hold ---

    def check(self, *, is_thinned: bool) -> None:
        """Raises: Wrong."""
        versions = self._versions()
        self._acknowledged(versions, is_thinned=is_thinned)
        self._blocks()
        house = self.house
        counts = run(recount.run(house.db, house.objects, house.clock, house.workers))
        if counts.found.keys() == recount.FIGURES:
            # A figure that decides nothing: a condemned block that comes again stands elsewhere, and the pack that it
            # left is not told; a put that took longer than all graces brings one back. It must be all that is wrong.
            self.stale_figures += 1
            run(recount.run(house.db, house.objects, house.clock, house.workers, repair=True))
            counts = run(recount.run(house.db, house.objects, house.clock, house.workers))
        if counts.found:
            raise Wrong("recount is clean", f"{dict(counts.found)} {counts.examples}")
        for (ns,) in house.rows("SELECT ns FROM namespaces"):
            usage = run(house.db.read(lambda conn, ns=ns: usage_txn(conn, ns)))  # type: ignore[misc]
            ((recorded,),) = house.rows("SELECT bytes_used FROM namespaces WHERE ns = $1", ns)
            if usage.bytes != recorded:
                raise Wrong("bytes_used is true", f"{recorded} recorded, {usage.bytes} used")

    def _versions(self) -> dict[tuple[bytes, bytes], dict[int, bytes]]:
        """Read every version back; return contents by file and rev."""
        found: dict[tuple[bytes, bytes], dict[int, bytes]] = defaultdict(dict)
        wanted: dict[NamespaceId, set[BlockHash]] = defaultdict(set)
        for ns, node, rev, content, packed in self.house.rows(
            "SELECT v.ns, v.node_id, v.rev, v.content, m.blocks FROM file_versions v"
            " LEFT JOIN manifests m ON m.ns = v.ns AND m.manifest_id = v.content"
        ):
            if packed is None or content_hash(packed_hashes(packed)) != content:
                raise Wrong("every version has its blocklist", f"{node.hex()} {rev}")
            wanted[ns].update(packed_hashes(packed))
            found[ns, node][rev] = content
        service = self.house.service()
        for ns, names in wanted.items():
            asked = sorted(names)
            read = run(service.read_bytes(ns, asked))
            if any(bytes(data) != BODIES[name] for name, data in zip(asked, read, strict=True)):
                raise Wrong("every version reads back byte by byte", ns.hex())
        return found

    def _acknowledged(self, versions: dict[tuple[bytes, bytes], dict[int, bytes]], *, is_thinned: bool) -> None:
        house = self.house
        text = "SELECT ns, node_id, state, content FROM files WHERE kind = $1"
        rows: dict[tuple[bytes, bytes], Row] = {(row[0], row[1]): row for row in house.rows(text, int(Kind.FILE))}
        for key, (_, node, state, content) in rows.items():
            # A file that came back has a rev of its own without a version.
            if state != PURGED and versions[key].get(max(versions[key], default=0)) != content:
                raise Wrong("a file has its newest version", node.hex())
        for file in house.files:
            key = house.ns_of(file), file.node
            row = rows.get(key)
            if row is None or row[2] == PURGED:
                if file.is_restored or not (file.may_go or file.is_deleted):
                    raise Wrong("what nobody deleted stays", file.node.hex())
            elif is_thinned:
                if max(versions[key], default=0) < max(file.versions):
                    raise Wrong("the newest version stays", file.node.hex())
            elif not file.versions.keys() <= versions[key].keys():
                raise Wrong("what was acknowledged stays", file.node.hex())

    def _blocks(self) -> None:
        """Everything that anybody may read or use next stands where its row says."""
        held: list[PlacedBlock] = []
        for *columns, state, gone_at, condemned_at, _ in self.house.rows(
            "SELECT b.block_hash, b.size, b.stored_size, b.codec, b.pack_id, b.pack_offset, b.state, b.gone_at,"
            " b.condemned_at, r.ns FROM blocks b JOIN block_refs r ON r.block_hash = b.block_hash"
        ):
            if state == BLOCK_CONDEMNED or gone_at is not None or condemned_at is not None:
                raise Wrong("what is held is not condemned", columns[0].hex())
            if state == BLOCK_DAMAGED:
                raise Wrong("a good block is not called damaged", columns[0].hex())
            held.append(PlacedBlock(*columns))
        bad = [block for block, part, _ in run(read_verified(self.house.objects, self.house.workers, held)) if not part]
        if bad:
            raise Wrong("no reference dangles", f"{len(bad)} blocks, as {bad[0].hash.hex()}")
