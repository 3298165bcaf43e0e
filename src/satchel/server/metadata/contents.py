"""The contents that a batch brings. Invariant: a manifest is stored only when the namespace has a right to each block.

A manifest that is in use here already needs no look at its blocks: they are held by it. `bytes_used` counts, before
compression, the blocks that manifests in use here name, each once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from satchel.core.ids import BlockHash, ContentHash, NamespaceId
from satchel.core.messages import Content, NeedBlocks, Refused
from satchel.server.blocks.refs import add_refs_txn
from satchel.server.db.engine import Connection, fetch_in
from satchel.server.metadata.prepare import Prepared, contents


class HeldBlock(NamedTuple):
    """A block that the namespace has a right to. refs: manifests in use here that name it."""

    size: int
    refs: int


class Contents:
    """What the namespace holds of the contents and blocks of a batch, and what the batch adds."""

    def __init__(self, ns: NamespaceId, *, bytes_used: int, quota: int | None) -> None:
        self._ns = ns
        self._quota = quota
        self._held: dict[BlockHash, HeldBlock] = {}
        self._sizes: dict[ContentHash, int] = {}
        """Size by content hash of the manifests in use, those of this batch among them."""
        self._uses: Counter[ContentHash] = Counter()
        self._added: dict[ContentHash, tuple[Content, tuple[BlockHash, ...]]] = {}
        self.bytes_used = bytes_used

    async def load_txn(self, conn: Connection, prepared: list[Prepared]) -> None:
        """Load the manifests in use and, for the others, the blocks with a right."""
        in_use = "SELECT manifest_id, size FROM manifests WHERE ns = $1 AND refs > 0 AND manifest_id IN {keys}"
        self._sizes.update(await fetch_in(conn, in_use, sorted(contents(prepared)), self._ns))
        wanted: set[BlockHash] = set()
        for one in prepared:
            content = getattr(one.op, "content", None)
            if content is not None and content.content_hash not in self._sizes:
                wanted.update(one.hashes)
        rows = await fetch_in(
            conn,
            "SELECT n.block_hash, b.size, n.refs FROM namespace_blocks n JOIN blocks b ON b.block_hash = n.block_hash"
            " WHERE n.ns = $1 AND n.block_hash IN {keys}",
            sorted(wanted),
            self._ns,
        )
        self._held.update((row[0], HeldBlock(row[1], row[2])) for row in rows)

    def refusal(self, content: Content, one: Prepared) -> Refused | NeedBlocks | None:
        """Return why the content cannot be stored now, None when it can."""
        known = self._sizes.get(content.content_hash)
        if known is not None:
            return None if known == content.size else Refused("content_invalid", "size")
        missing = tuple(dict.fromkeys(hash_ for hash_ in one.hashes if hash_ not in self._held))
        if missing:
            return NeedBlocks(missing)
        if any(self._held[block.hash].size != block.size for block in one.blocks):
            return Refused("content_invalid", "block_size")
        added = self._added_bytes(one.hashes)
        if added and self._quota is not None and self.bytes_used + added > self._quota:
            return Refused("quota_exceeded", str(self._quota))
        return None

    def use(self, content: Content, one: Prepared) -> None:
        """Count one more version that has this content; `refusal` was None."""
        self._uses[content.content_hash] += 1
        if content.content_hash in self._sizes:
            return
        hashes = tuple(dict.fromkeys(one.hashes))
        self.bytes_used += self._added_bytes(hashes)
        for hash_ in hashes:
            held = self._held[hash_]
            self._held[hash_] = HeldBlock(held.size, held.refs + 1)
        self._sizes[content.content_hash] = content.size
        self._added[content.content_hash] = (content, hashes)

    async def write_txn(self, conn: Connection) -> None:
        """Write the manifests and the counts of their blocks."""
        new = [(self._ns, key, c.blocks, c.size, c.cutter, self._uses[key]) for key, (c, _) in self._added.items()]
        await conn.execute_many(
            "INSERT INTO manifests (ns, manifest_id, blocks, size, cutter, refs) VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT (ns, manifest_id) DO UPDATE SET refs = manifests.refs + excluded.refs",
            new,
        )
        more = [(self._ns, key, count) for key, count in self._uses.items() if key not in self._added]
        await conn.execute_many("UPDATE manifests SET refs = refs + $3 WHERE ns = $1 AND manifest_id = $2", more)
        await add_refs_txn(conn, self._ns, [hash_ for _, hashes in self._added.values() for hash_ in hashes])

    def _added_bytes(self, hashes: Iterable[BlockHash]) -> int:
        return sum(self._held[hash_].size for hash_ in set(hashes) if self._held[hash_].refs == 0)
