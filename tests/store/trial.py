"""One trial of damage: a small store, one thing broken in it, then what reads, upkeep and devices make of that.

Invariant: whatever was broken, a block that is served is right; what can be told is told by scrub or by recount; and
once the devices have sent what they have, all of it reads back and both are content again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from satchel.core.errors import Fault
from satchel.core.hashing import content_hash, packed_hashes
from satchel.core.ids import BlockHash, NamespaceId, NodeId
from satchel.core.messages import GetRequest
from satchel.device.wire_blocks import opened_all
from satchel.server.adapters.blocks_local import LocalBlocks
from satchel.server.db.engine import Row
from satchel.server.metadata.blocklists import blocklists_txn
from satchel.server.ports import BlockStore
from satchel.server.upkeep import garbage, recount, scrub
from satchel.server.upkeep.garbage import GarbageBounds
from satchel.simulation.stores import MemoryBlocks
from tests.store.house import BODIES, OWNERS, File, House, content_of, run
from tests.store.stage import HOUR_MS, Wrong

LOG_BYTES_MAX = 900
"""So short that most logs are closed, each after some puts."""
UNBRAKED = GarbageBounds(floor_bytes=1 << 40)
CONTENTS = ("file_versions", "files", "manifests", "blocks")


@dataclass(slots=True)
class Outcome:
    """What came of it. found: what told of the damage; left: what is still told at the end; refused: blocks that were
    not served, right: those that were."""

    seed: int
    kind: str = ""
    store: str = ""
    found: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    right: int = 0
    refused: int = 0
    failed: str = ""


class Trial:
    """A store with something in it. store: in memory, or logs on a disk, the last of them open or closed."""

    def __init__(self, house: House, seed: int, folder: Path) -> None:
        self.house, self.chance, self.folder = house, random.Random(f"damage {seed}"), folder
        self.outcome = Outcome(seed)
        house.put_back(house.empty)
        house.clock.chance = self.chance
        self.outcome.store = self.chance.choice(("memory", "open logs", "closed logs"))
        house.store = house.objects if self.outcome.store == "memory" else self._opened()

    def _opened(self) -> LocalBlocks:
        return LocalBlocks(str(self.folder), log_bytes_max=LOG_BYTES_MAX)

    # -- what is in it ---

    async def fill(self) -> None:
        """Two accounts with files and versions that share blocks, a deleted file, an upload, a block on its way out."""
        house, chance = self.house, self.chance
        names = list(BODIES)
        chance.shuffle(names)
        *used, passing, waiting = names[:16]
        await house.put(house.service(), 0, [passing])
        house.clock.jump(49 * HOUR_MS)
        await garbage.run(house.db, house.store, house.clock, UNBRAKED)
        for owner in range(OWNERS):
            for number in range(chance.randrange(3, 6)):
                file = File(owner, NodeId(house.new_id()))
                for at in range(3 if number == 0 else chance.choice((1, 1, 2, 3))):
                    # The first file surely has versions of its own.
                    other = chance.choices(used, k=chance.choice((0, 1, 2)))
                    await house.save(file, (*(used[at + 3 * owner :][:1] if number == 0 else ()), *other, *used[:1]))
                if number == 2:
                    await house.delete(house.db, file)
                    file.is_deleted = True
        await house.put(house.service(), 1, [waiting])
        if self.outcome.store == "closed logs":
            await house.store.close()
            house.store = self._opened()

    def rows(self, sql: str, *args: bytes | int | str) -> list[Row]:
        return self.house.rows(sql, *args)

    def execute(self, sql: str, *args: bytes | int | str) -> None:
        assert self.house.execute(sql, *args) > 0, sql

    def pick(self, sql: str, *args: bytes | int | str) -> Row:
        """Return one of the rows. They must be some."""
        return self.chance.choice(sorted(self.rows(sql, *args), key=repr))

    def packs(self) -> list[str]:
        """Return the names of stored objects in which held blocks stand."""
        found = self.rows(
            "SELECT DISTINCT b.pack_id FROM blocks b JOIN block_refs r ON r.block_hash = b.block_hash"
            " ORDER BY b.pack_id"
        )
        return [f"packs/{row[0].hex()[-2:]}/{row[0].hex()}" for row in found]

    def bytes_of(self, name: str) -> bytes:
        return self.house.objects.objects[name] if self._is_memory else (self.folder / name).read_bytes()

    def overwrite(self, name: str, data: bytes | None) -> None:
        """Let an object be these bytes, as a bad disk would; None: it is gone. An open log stays the same file."""
        if self._is_memory:
            if data is None:
                del self.house.objects.objects[name]
            else:
                self.house.objects.objects[name] = data
        elif data is None:
            (self.folder / name).unlink()
        else:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)

    @property
    def _is_memory(self) -> bool:
        return isinstance(self.house.store, MemoryBlocks)

    def _stored(self) -> dict[str, bytes]:
        if self._is_memory:
            return dict(self.house.objects.objects)
        return {str(path): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}

    # -- what is asked of it ---

    async def read_all(self, *, is_whole: bool = False) -> None:
        """Ask for every block of every version, as a device and as the web do. is_whole: all of it must be there."""
        for ns, names in self._versions():
            content = content_of(names).content_hash
            found = run(self.house.db.read(lambda conn, ns=ns, c=content: blocklists_txn(conn, ns, [c])))  # type: ignore[misc]
            if content not in found:
                self._refuse(ns, "blocklist", is_whole=is_whole)
            elif tuple(packed_hashes(found[content])) != names or content_hash(names) != content:
                raise Wrong("a blocklist is never wrong", content.hex())
            for name in names:
                await self._read(ns, name, is_whole=is_whole)

    def _versions(self) -> Iterator[tuple[NamespaceId, tuple[BlockHash, ...]]]:
        for file in self.house.files:
            for names in file.versions.values():
                yield self.house.owners[file.owner].root_ns, names

    async def _read(self, ns: NamespaceId, name: BlockHash, *, is_whole: bool) -> None:
        service = self.house.service()
        for way in ("web", "device", "inline"):
            try:
                if way == "web":
                    data = bytes((await service.read_bytes(ns, [name]))[0])
                elif way == "device":
                    reply, bodies = await service.get(GetRequest(ns, (name,)))
                    data = opened_all(reply.blocks, [memoryview(body) async for body in bodies]).get(name, b"")
                else:
                    sent = (await service.read_inline(ns, [name])).values()
                    data = opened_all([w for w, _ in sent], [memoryview(b) for _, b in sent]).get(name, b"")
            except Fault as fault:
                self._refuse(ns, fault.code, is_whole=is_whole)
                continue
            if not data:
                self._refuse(ns, "missing", is_whole=is_whole)
            elif data != BODIES[name]:
                raise Wrong("wrong bytes are never served", name.hex())
            else:
                self.outcome.right += 1

    def _refuse(self, ns: NamespaceId, why: str, *, is_whole: bool) -> None:
        if is_whole:
            raise Wrong("at the end all reads back", f"{ns.hex()}: {why}")
        self.outcome.refused += 1

    async def look(self) -> set[str]:
        """Let scrub read everything and recount count everything; return what they tell."""
        house = self.house
        house.clock.jump(HOUR_MS)
        read = await scrub.run(house.db, house.store, house.clock, house.workers, everything=True)
        counted = await recount.run(house.db, house.store, house.clock, house.workers)
        return {f"recount: {kind}" for kind in counted.found} | ({"scrub"} if read.damaged or read.alarm else set())

    async def list_store(self) -> set[str]:
        """Let garbage look for stored packs that no row names."""
        house = self.house
        counts = await garbage.run(house.db, house.store, house.clock, UNBRAKED)
        return {"stray packs"} if counts.packs_adopted else set()

    # -- how it heals ---

    async def bring_again(self) -> None:
        """Let each device send all that it has: blocks, contents whose list is lost, files without a version."""
        house = self.house
        for ns, names in list(self._versions()):
            owner = next(at for at, each in enumerate(house.owners) if each.root_ns == ns)
            await house.put(house.service(), owner, dict.fromkeys(names))
            content = content_of(names)
            if not self.rows("SELECT 1 FROM manifests WHERE ns = $1 AND manifest_id = $2", ns, content.content_hash):
                await house.save(File(owner, NodeId(house.new_id())), names)
        for file in list(house.files):
            ns = house.owners[file.owner].root_ns
            shown = (
                "SELECT 1 FROM files f JOIN file_versions v ON v.ns = f.ns AND v.node_id = f.node_id AND"
                " v.content = f.content WHERE f.ns = $1 AND f.node_id = $2"
            )
            if not file.is_deleted and not self.rows(shown, ns, file.node):
                await house.save(file, (*file.versions[file.rev], next(iter(BODIES))))

    async def repair(self) -> None:
        """Let recount repair; it may not lower what is used, nor touch contents."""
        house = self.house
        before, stored, used_before = self._contents(), self._stored(), self._used()
        await recount.run(house.db, house.store, house.clock, house.workers, repair=True)
        if self._contents() != before or self._stored() != stored:
            raise Wrong("a repair touches no content")
        wanted = {(ns, name) for ns, names in self._versions() for name in names}
        if (wanted & used_before) - self._used():
            raise Wrong("a repair never lowers what is used")
        low = self.rows(
            "SELECT m.manifest_id FROM manifests m WHERE m.refs < (SELECT COUNT(*) FROM file_versions v WHERE"
            " v.ns = m.ns AND v.content = m.manifest_id) OR (m.refs = 0 AND EXISTS (SELECT 1 FROM files f WHERE"
            " f.ns = m.ns AND f.content = m.manifest_id AND f.state <> 3))"
        )
        if low:
            raise Wrong("a repair never lowers what is used", low[0][0].hex())
        used = Counter[tuple[bytes, bytes]]()
        for ns, packed in self.rows("SELECT ns, blocks FROM manifests WHERE refs > 0"):
            used.update((ns, name) for name in set(packed_hashes(packed)))
        for ns, name, refs in self.rows("SELECT ns, block_hash, refs FROM namespace_blocks"):
            if refs < used.pop((ns, name), 0):
                raise Wrong("a repair never lowers what is used", name.hex())
        if used:
            raise Wrong("a repair gives back every right", str(len(used)))

    def _used(self) -> set[tuple[bytes, bytes]]:
        return {(ns, name) for ns, name in self.rows("SELECT ns, block_hash FROM namespace_blocks WHERE refs > 0")}

    def _contents(self) -> list[list[Row]]:
        columns = {"manifests": "ns, manifest_id, blocks, size, cutter"}
        columns |= {"blocks": "block_hash, size, stored_size, codec, pack_id, pack_offset"}
        return [sorted(self.rows(f"SELECT {columns.get(table, '*')} FROM {table}"), key=repr) for table in CONTENTS]

    async def settle(self) -> None:
        """Let so much time pass that whatever may go is gone."""
        house = self.house
        for _ in range(5):
            house.clock.jump(49 * HOUR_MS)
            counts = await garbage.run(house.db, house.store, house.clock, UNBRAKED)
            if counts.errors:
                raise Wrong("garbage finds nothing odd after the repair", counts.alarm)


def store_of(trial: Trial) -> BlockStore:
    """Return the trial's store, to close it."""
    return trial.house.store
