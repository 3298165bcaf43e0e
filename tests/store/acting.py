"""Who comes together on the stage: devices that upload and commit, people who delete, and all that tidies up.

Invariant: each does what the real one does, by the real code, and knows only what it was told.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field

from satchel.core.entries import Kind
from satchel.core.errors import BlockDamaged, NotFound, PreconditionFailed, Unavailable
from satchel.core.hashing import block_hash
from satchel.core.ids import ROOT_NODE, BlockHash, NamespaceId, NodeId, OpId
from satchel.core.messages import CommitRequest, Conflict, CreateOp, GetRequest, Moved, NeedBlocks, Refused, Stored
from satchel.core.retention import VersionPolicy
from satchel.server.blocks.codec import open_block
from satchel.server.blocks.service import LEASE_MS, BlockService
from satchel.server.metadata.commit import commit
from satchel.server.metadata.restore import restore_unit
from satchel.server.metadata.tree import entry_by_id
from satchel.server.sharing.between import Place, move_between
from satchel.server.sharing.conversion import share_folder
from satchel.server.upkeep import compaction, garbage, recount, scrub, thinning, trash
from tests.store.house import EAGER, LINK, NAMES, OWNERS, SENT, SMALL_TRASH, UNBRAKED, File, House, content_of, no_grace
from tests.store.stage import SteppedDatabase, SteppedStore, Wrong

ATTEMPTS_MAX = 25
NEWEST_ONLY = VersionPolicy(keep_all_days=0, daily_days=0, weekly_days=0, newest_min=1)
SMALL_THINNING = thinning.ThinningBounds(page=3, blocks_max=3, brake=UNBRAKED)

Part = Coroutine[object, None, None]


@dataclass(slots=True)
class Told:
    """What actors noticed that is no fault. alarms: runs of garbage that held back; repeats: Unavailable, tried again;
    asked: blocks that a commit asked for; faults: reads that were refused."""

    alarms: int = 0
    repeats: int = 0
    asked: int = 0
    faults: int = 0
    removed: int = 0
    moved: int = 0


@dataclass(slots=True)
class Cast:
    """Makes the actors of one run over stores at which they stop."""

    house: House
    db: SteppedDatabase
    store: SteppedStore
    chance: random.Random
    told: Told = field(default_factory=Told)
    names: list[str] = field(default_factory=list)
    is_thinned: bool = False
    shared: dict[int, NamespaceId] = field(default_factory=dict)
    compactions_begun: int = 0
    compactions_ended: int = 0

    def service(self) -> BlockService:
        return BlockService(self.store, self.db, self.house.clock, self.house.workers)

    def drawn(self) -> list[tuple[str, Part]]:
        """Return two or three uploaders, garbage once or twice, and some of the others."""
        chance = self.chance
        parts: list[tuple[str, Part]] = [(f"uploader{n}", self.uploader()) for n in range(chance.choice((2, 2, 2, 3)))]
        parts += [(f"garbage{n}", self.garbage()) for n in range(chance.choice((1, 1, 1, 2)))]
        others: dict[str, Callable[[], Part]] = {
            "user": self.user,
            "trash": self.trash,
            "compaction": self.compaction,
            "thinning": self.thinning,
            "blocklists": self.blocklists,
            "scrub": self.scrub,
            "recount": self.recount,
            "reader": self.reader,
            "sharer": self.sharer,
            "mover": self.mover,
        }
        for name in chance.sample(list(others), chance.choice((1, 1, 2))):
            parts.append((name, others[name]()))
            if name in ("trash", "thinning", "compaction") and chance.random() < 0.3:
                parts.append((f"{name}2", others[name]()))
            if name == "reader" and chance.random() < 0.5:
                parts.append(("movers", self.movers()))
            self.is_thinned |= name == "thinning"
        return parts

    # -- a device ---

    async def uploader(self) -> None:
        service, chance, house = self.service(), self.chance, self.house
        for _ in range(chance.choice((1, 1, 1, 2))):
            alive = [file for file in house.files if not file.is_deleted]
            file = chance.choice(alive) if alive and chance.random() < 0.5 else None
            # The count of acknowledged versions is this device's own: another one may be ahead of it.
            file = file or File(chance.randrange(OWNERS), NodeId(house.new_id()))
            blocks = tuple(chance.choices(NAMES, k=chance.choice((1, 1, 2))))
            await self._save(service, file, blocks, mode=chance.choice(("put", "put", "ask", "inline")))

    async def _save(self, service: BlockService, file: File, blocks: tuple[BlockHash, ...], *, mode: str) -> None:
        house, ns = self.house, self.house.ns_of(file)
        wanted = list(dict.fromkeys(blocks))
        inline, waiting = (wanted, []) if mode == "inline" else ([], wanted if mode == "put" else [])
        leased: dict[BlockHash, int] = {}
        content = content_of(blocks)
        op = house.op_of(file, content)
        for _ in range(ATTEMPTS_MAX):
            try:
                if waiting:
                    put_ms, jumps = house.clock.now, len(house.clock.landings)
                    await house.put(service, file.owner, waiting, ns)
                    # In between the clock may have gone back, and forth again.
                    leased.update(dict.fromkeys(waiting, min([put_ms, *house.clock.landings[jumps:]])))
                    waiting = []
                placed = await service.store(ns, [self.chance.choice(SENT[name]) for name in inline])
                request = CommitRequest(ns, LINK, (op,))
                reply = await commit(self.db, house.clock, house.owners[file.owner], request, placed)
            except Unavailable:
                self.told.repeats += 1
                continue
            match reply.outcomes[0]:
                case Stored(seq=seq):
                    house.saved(file, seq, blocks)
                    return
                case NeedBlocks(hashes=hashes):
                    self.told.asked += len(hashes)
                    self._check_leases(leased, hashes)
                    waiting = list(hashes)
                case Conflict(current=current):
                    if current is None or not file.versions or file.may_go:
                        return
                    file.rev = max(file.versions)
                    op = house.op_of(file, content)
                case Refused() | Moved():
                    # It went elsewhere: its device learns of that by its feed.
                    return
        raise Wrong("an upload comes through", f"{file.node.hex()} after {ATTEMPTS_MAX} attempts")

    def _check_leases(self, leased: dict[BlockHash, int], asked: Sequence[BlockHash]) -> None:
        for name in asked:
            if name in leased and self.house.clock.highest < leased[name] + LEASE_MS:
                raise Wrong("a lease holds", f"{name.hex()} was put and is asked for again")

    # -- a person ---

    async def user(self) -> None:
        """Delete a file, or bring one back."""
        house, chance = self.house, self.chance
        alive = [file for file in house.files if not file.is_deleted]
        dead = [file for file in house.files if file.is_deleted]
        if dead and (not alive or chance.random() < 0.5):
            file = chance.choice(dead)
            owner = house.owners[file.owner]
            try:
                outcome = await restore_unit(self.db, house.clock, owner, house.ns_of(file), file.node)
            except NotFound:
                return
            file.is_restored = isinstance(outcome, Stored)
        elif alive:
            await house.delete(self.db, chance.choice(alive))

    async def reader(self) -> None:
        """Read a file whose places may have changed since they were looked up."""
        house, service = self.house, self.service()
        kept = [file for file in house.files if not file.is_deleted]
        if not kept:
            return
        file = self.chance.choice(kept)
        names = tuple(dict.fromkeys(file.versions[file.rev]))
        for _ in range(2):
            ended, newest = self.compactions_ended, file.rev
            try:
                reply, bodies = await service.get(GetRequest(house.ns_of(file), names))
                read = [bytes(body) async for body in bodies]
            except BlockDamaged as damaged:
                self.told.faults += 1
                # A block that moved is looked up once more; to miss it then, it must have moved twice meanwhile, and a
                # run moves it once.
                if self.compactions_begun - ended < 2 and not file.may_go and newest == file.rev:
                    raise Wrong("who holds an old place looks again", str(damaged)) from damaged
                continue
            for wire, body in zip(reply.blocks, read, strict=True):
                if block_hash(open_block(wire, body)) != wire.hash:
                    raise Wrong("wrong bytes are never served", wire.hash.hex())

    # -- between namespaces ---

    async def sharer(self) -> None:
        """Make a folder with files in it, live and deleted ones, and then a shared one of it."""
        await self._shared(self.chance.randrange(OWNERS))

    async def _shared(self, owner: int) -> NamespaceId:
        house, chance, who = self.house, self.chance, self.house.owners[owner]
        folder = NodeId(house.new_id())
        made = CreateOp(OpId(house.new_id()), folder, ROOT_NODE, folder.hex(), Kind.FOLDER)
        assert isinstance(await house.commit(self.db, owner, made), Stored)
        service = self.service()
        for _ in range(chance.choice((1, 2))):
            file = File(owner, NodeId(house.new_id()), parent=folder)
            for _ in range(chance.choice((1, 1, 2))):
                blocks = tuple(chance.choices(NAMES, k=chance.choice((1, 2))))
                await self._save(service, file, blocks, mode=chance.choice(("put", "inline")))
            if file.versions and chance.random() < 0.2:
                outcome = await house.delete(self.db, file)
                file.is_deleted |= isinstance(outcome, Stored)
        ns = await share_folder(self.db, house.clock, who, who.root_ns, folder)
        # The same step: nobody has seen it yet.
        for file in house.files:
            if file.parent == folder:
                file.ns = ns
        self.shared[owner] = ns
        return ns

    async def mover(self) -> None:
        """Move files of one person into a shared folder, and out of it."""
        house, chance = self.house, self.chance
        owner = chance.randrange(OWNERS)
        ns = self.shared.get(owner) or await self._shared(owner)
        for _ in range(chance.choice((1, 2))):
            files = [file for file in house.files if file.owner == owner and not file.is_deleted]
            if files:
                file = chance.choice(files)
                root = house.owners[owner].root_ns
                await self._move(file, ns if house.ns_of(file) == root else root)

    async def _move(self, file: File, target: NamespaceId) -> None:
        house, who, source = self.house, self.house.owners[file.owner], self.house.ns_of(file)
        if source == target:
            return
        try:
            entry = await entry_by_id(self.db, who, source, file.node)
            place = Place(target, ROOT_NODE, house.new_id().hex())
            node = await move_between(self.db, house.clock, who, source, entry, place)
        except (NotFound, PreconditionFailed):
            # Somebody else was there first.
            return
        # The same step: what stands there now is what was acknowledged here, and whatever came with it.
        contents = {content_of(names).content_hash: names for names in file.versions.values()}
        text = "SELECT rev, content FROM file_versions WHERE ns = $1 AND node_id = $2"
        found = {rev: contents[content] for rev, content in house.rows(text, target, node) if content in contents}
        if not self.is_thinned and set(found.values()) != set(file.versions.values()):
            raise Wrong("a move takes every version along", file.node.hex())
        if found:
            house.files.append(File(file.owner, node, max(found), found, ns=target))
        file.is_deleted = file.may_go = True
        file.is_restored = False

    # -- upkeep ---

    async def garbage(self) -> None:
        bounds = no_grace(self.chance.choice((2, 500, 500)))
        for _ in range(self.chance.choice((1, 2, 2, 3))):
            is_listing = self.chance.random() < 0.25
            counts = await garbage.run(self.db, self.store, self.house.clock, bounds, is_listing=is_listing)
            self.told.alarms += bool(counts.alarm)
            self.told.removed += counts.blocks_removed
            if counts.packs_revived:
                raise Wrong("an old pack has no blocks", f"{counts.packs_revived} had")

    async def compaction(self) -> None:
        for _ in range(self.chance.choice((1, 2))):
            await self._compact()

    async def _compact(self) -> None:
        house = self.house
        self.compactions_begun += 1
        await self._repeated(lambda: compaction.run(self.db, self.store, house.clock, house.workers, EAGER))
        self.compactions_ended += 1

    async def movers(self) -> None:
        """Move what is read, then let the old packs go at once."""
        await self._compact()
        await garbage.run(self.db, self.store, self.house.clock, no_grace(), is_listing=False)

    async def scrub(self) -> None:
        house = self.house
        counts = await scrub.run(self.db, self.store, house.clock, house.workers, everything=True)
        if counts.found_damaged:
            raise Wrong("a good block is not called damaged", f"{counts.found_damaged} were")

    async def recount(self) -> None:
        house = self.house
        counts = await recount.run(self.db, self.store, house.clock, house.workers, repair=True)
        if counts.found.keys() - recount.FIGURES:
            raise Wrong("a count under way is right", str(dict(counts.found)))

    async def trash(self) -> None:
        clock = self.house.clock
        for _ in range(2):
            await trash.purge_trash(self.db, clock, keep_days=0, now_ms=clock.now_ms(), bounds=SMALL_TRASH)

    async def thinning(self) -> None:
        clock = self.house.clock
        await thinning.thin_versions(self.db, clock, NEWEST_ONLY, now_ms=clock.now_ms(), bounds=SMALL_THINNING)

    async def blocklists(self) -> None:
        for _ in range(2):
            await thinning.drop_blocklists(self.db, self.house.clock, page=3)

    async def _repeated(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except Unavailable:
            self.told.repeats += 1
