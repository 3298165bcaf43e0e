"""The contents that a batch brings. Invariant: a manifest is stored only when the namespace has a right to each block.

A manifest that is in use here already needs no look at its blocks: they are held by it. `bytes_used` counts, before
compression, the blocks that manifests in use here name, each once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from satchel.core.ids import BlockHash, ContentHash, NamespaceId
from satchel.core.messages import Content, NeedBlocks, Refused
from satchel.server.blocks.refs import BLOCK_DAMAGED, PlacedBlock, add_refs_txn, grant, held_question, require_held
from satchel.server.db.engine import Change, Connection, Question, Row, fetch_in
from satchel.server.metadata.prepare import Prepared


class Contents:
    """What the namespace holds of the contents and blocks of a batch, and what the batch adds.

    placed: the blocks that came with the batch, verified and durable; the batch's commit gives the right to them.
    """

    def __init__(
        self, ns: NamespaceId, *, bytes_used: int, quota: int | None, placed: Sequence[PlacedBlock] = ()
    ) -> None:
        self._ns = ns
        self.quota = quota
        self._placed = sorted({block.hash for block in placed})
        self._held: dict[BlockHash, int] = {block.hash: block.size for block in placed}
        """Lengths of the blocks that the namespace has a right to."""
        self._refs: dict[BlockHash, int] = {}
        """How many manifests in use here name a block, where any does."""
        self._sizes: dict[ContentHash, int] = {}
        """Size by content hash of the manifests in use, those of this batch among them."""
        self._uses: dict[ContentHash, int] = {}
        self._added: dict[ContentHash, tuple[Content, tuple[BlockHash, ...]]] = {}
        self.bytes_used = bytes_used

    def questions(self, conn: Connection) -> tuple[Question, Question]:
        """Return what `load_txn` wants the answers to: which placed blocks are in use, and which are held."""
        used = "SELECT block_hash, refs FROM namespace_blocks WHERE ns = $1 AND refs > 0 AND block_hash IN {keys}"
        return Question(used, (self._ns,), keys=self._placed), held_question(conn, self._ns, self._placed)

    async def load_txn(
        self, conn: Connection, prepared: Sequence[Prepared], *, used: Sequence[Row], held: Sequence[Row]
    ) -> None:
        """Load the manifests in use and, for the others, the blocks with a right. A damaged one is asked for again.

        used, held: the answers to `questions`. Raises: Unavailable (retry) when a placed block went away meanwhile.
        """
        require_held(held_question(conn, self._ns, self._placed), held)
        self._refs.update(used)
        brought = {
            content.content_hash: one.hashes
            for one in prepared
            if (content := getattr(one.op, "content", None)) is not None
        }
        in_use = "SELECT manifest_id, size FROM manifests WHERE ns = $1 AND refs > 0 AND manifest_id IN {keys}"
        asked = sorted([name for name, hashes in brought.items() if not self._is_new(hashes)])
        self._sizes.update(await fetch_in(conn, in_use, asked, self._ns))
        wanted = {hash_ for name, hashes in brought.items() if name not in self._sizes for hash_ in hashes}
        rows = await fetch_in(
            conn,
            "SELECT n.block_hash, b.size, n.refs FROM namespace_blocks n JOIN blocks b ON b.block_hash = n.block_hash"
            f" WHERE n.ns = $1 AND b.state <> {BLOCK_DAMAGED} AND n.block_hash IN {{keys}}",
            sorted(wanted.difference(self._held)),
            self._ns,
        )
        for hash_, size, refs in rows:
            self._held[hash_] = size
            self._refs[hash_] = refs

    def refusal(self, content: Content, one: Prepared) -> Refused | NeedBlocks | None:
        """Return why the content cannot be stored now, None when it can."""
        known = self._sizes.get(content.content_hash)
        if known is not None:
            return None if known == content.size else Refused("content_invalid", "size")
        sizes = tuple([self._held.get(hash_) for hash_ in one.hashes])
        if sizes != one.sizes:
            missing = tuple(dict.fromkeys(hash_ for hash_ in one.hashes if hash_ not in self._held))
            return NeedBlocks(missing) if missing else Refused("content_invalid", "block_size")
        if self.quota is not None:
            added = self._added_bytes(one.hashes)
            if added and self.bytes_used + added > self.quota:
                return Refused("quota_exceeded", str(self.quota))
        return None

    def use(self, content: Content, one: Prepared) -> None:
        """Count one more version that has this content; `refusal` was None."""
        name = content.content_hash
        self._uses[name] = self._uses.get(name, 0) + 1
        if name in self._sizes:
            return
        hashes = one.hashes if len(one.hashes) < 2 else tuple(dict.fromkeys(one.hashes))
        self.bytes_used += self._added_bytes(hashes)
        for hash_ in hashes:
            self._refs[hash_] = self._refs.get(hash_, 0) + 1
        self._sizes[name] = content.size
        self._added[name] = (content, hashes)

    async def write_txn(self, conn: Connection, *, lease_until_ms: int) -> list[Change]:
        """Write the manifests, the counts of their blocks, and the right to the blocks that came along.

        Result: what is still to be written, with what else the batch changes.
        """
        new = [(key, c.blocks, c.size, c.cutter, self._uses[key]) for key, (c, _) in self._added.items()]
        # In the order of the key: neighbours are written to a page together.
        new.sort()
        made = Change(
            "INSERT INTO manifests (ns, manifest_id, blocks, size, cutter, refs) VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT (ns, manifest_id) DO UPDATE SET refs = manifests.refs + excluded.refs",
            new,
            (self._ns,),
        )
        more = [(self._ns, key, count) for key, count in self._uses.items() if key not in self._added]
        await conn.execute_many("UPDATE manifests SET refs = refs + $3 WHERE ns = $1 AND manifest_id = $2", more)
        counts = Counter([hash_ for _, hashes in self._added.values() for hash_ in hashes])
        granted = [(hash_, counts.pop(hash_, 0)) for hash_ in self._placed]
        await add_refs_txn(conn, self._ns, counts.elements())
        return [made, grant(self._ns, granted, lease_until_ms=lease_until_ms)]

    def _is_new(self, hashes: Sequence[BlockHash]) -> bool:
        """Tell whether one of the blocks came along and nothing here uses it: then no manifest in use names it."""
        return any(hash_ in self._held and hash_ not in self._refs for hash_ in hashes)

    def _added_bytes(self, hashes: Sequence[BlockHash]) -> int:
        if len(hashes) == 1:
            return 0 if self._refs.get(hashes[0]) else self._held[hashes[0]]
        return sum([self._held[hash_] for hash_ in set(hashes) if not self._refs.get(hash_)])
