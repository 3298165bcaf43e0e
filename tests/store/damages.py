"""The kinds of damage, and who must tell of each; where nobody can, why that is no loss.

Invariant: a kind breaks one thing, of which it was made sure that it was in order before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from satchel.core.errors import BlockMismatch
from satchel.core.ids import PackId
from satchel.core.messages import WireBlock
from satchel.server.blocks.codec import verify_block
from satchel.server.blocks.packs import HEADER_BYTES, pack_name
from satchel.server.blocks.refs import PlacedBlock
from tests.store.trial import Trial

HELD = "blocks b WHERE EXISTS (SELECT 1 FROM block_refs r WHERE r.block_hash = b.block_hash)"
LISTED = "manifests m WHERE EXISTS (SELECT 1 FROM file_versions v WHERE v.ns = m.ns AND v.content = m.manifest_id)"


class Damage(NamedTuple):
    """A kind. told_by: one of these must tell of it; legal: why nobody can, then none has to. left: what may still be
    told at the end."""

    name: str
    act: Callable[[Trial], None]
    told_by: tuple[str, ...] = ()
    legal: str = ""
    left: tuple[str, ...] = ()


# -- bytes ---


def flip_block(trial: Trial) -> None:
    columns = "block_hash, size, stored_size, codec, pack_id, pack_offset"
    block = PlacedBlock(*trial.pick(f"SELECT {columns} FROM {HELD}"))
    name, before = pack_name(block.pack_id), trial.bytes_of(pack_name(block.pack_id))
    wire = WireBlock(block.hash, block.size, block.codec, block.stored_size)
    while True:
        _flip(trial, name, block.offset + trial.chance.randrange(block.stored_size))
        try:
            verify_block(wire, trial.bytes_of(name)[block.offset : block.offset + block.stored_size])
        except BlockMismatch:
            return
        # A frame of zstd has a bit that means nothing: the block is right with it and without.
        trial.overwrite(name, before)


def flip_header(trial: Trial) -> None:
    pack, offset = trial.pick(f"SELECT pack_id, pack_offset FROM {HELD}")
    _flip(trial, pack_name(pack), offset - 1 - trial.chance.randrange(HEADER_BYTES))


def _flip(trial: Trial, name: str, at: int) -> None:
    data = bytearray(trial.bytes_of(name))
    data[at] ^= 1 << trial.chance.randrange(8)
    trial.overwrite(name, bytes(data))


def truncate(trial: Trial) -> None:
    pack, end = trial.pick(f"SELECT pack_id, MAX(pack_offset + stored_size) FROM {HELD} GROUP BY pack_id")
    name = pack_name(pack)
    trial.overwrite(name, trial.bytes_of(name)[: trial.chance.randrange(end)])


def swap(trial: Trial) -> None:
    one, other = trial.chance.sample(trial.packs(), 2)
    data = trial.bytes_of(one)
    trial.overwrite(one, trial.bytes_of(other))
    trial.overwrite(other, data)


def lose_pack(trial: Trial) -> None:
    trial.overwrite(trial.chance.choice(trial.packs()), None)


def stray_pack(trial: Trial) -> None:
    trial.overwrite(pack_name(PackId(trial.chance.randbytes(16))), trial.bytes_of(trial.chance.choice(trial.packs())))


# -- rows ---


def _delete(table: str, keys: tuple[str, ...], where: str) -> Callable[[Trial], None]:
    def act(trial: Trial) -> None:
        row = trial.pick(f"SELECT {', '.join(keys)} FROM {where}")
        tests = " AND ".join(f"{key.rpartition('.')[2]} = ${at + 1}" for at, key in enumerate(keys))
        trial.execute(f"DELETE FROM {table} WHERE {tests}", *row)

    return act


def lose_older_version(trial: Trial) -> None:
    _lose_version(trial, "<")


def lose_newest_version(trial: Trial) -> None:
    _lose_version(trial, "=")


def _lose_version(trial: Trial, which: str) -> None:
    newest = "(SELECT MAX(o.rev) FROM file_versions o WHERE o.ns = v.ns AND o.node_id = v.node_id)"
    other = "(SELECT f.content FROM files f WHERE f.ns = v.ns AND f.node_id = v.node_id AND f.state = 1)"
    content = f"v.content {'<>' if which == '<' else '='} {other}"
    ns, node, rev = trial.pick(
        f"SELECT v.ns, v.node_id, v.rev FROM file_versions v WHERE v.rev {which} {newest} AND {content} AND (SELECT"
        " COUNT(*) FROM file_versions o WHERE o.ns = v.ns AND o.node_id = v.node_id AND o.content = v.content) = 1"
    )
    trial.execute("DELETE FROM file_versions WHERE ns = $1 AND node_id = $2 AND rev = $3", ns, node, rev)
    if which == "<":
        for file in trial.house.files:
            if file.node == node:
                del file.versions[rev]


def stray_block(trial: Trial) -> None:
    columns = "size, stored_size, codec, pack_id, pack_offset"
    row = list(trial.pick(f"SELECT {columns} FROM {HELD}"))
    if trial.chance.random() < 0.3:
        row[3] = trial.chance.randbytes(16)
    trial.execute(
        f"INSERT INTO blocks (block_hash, {columns}, state, touched_at, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, 0, 1, 1)",
        *(trial.chance.randbytes(32), *row),
    )


def _changed(*changes: str) -> Callable[[Trial], None]:
    def act(trial: Trial) -> None:
        (name,) = trial.pick(f"SELECT block_hash FROM {HELD}")
        trial.execute(f"UPDATE blocks SET {trial.chance.choice(changes)} WHERE block_hash = $1", name)

    return act


def _right(refs: int, *, is_held: bool, is_known: bool = True) -> Callable[[Trial], None]:
    def act(trial: Trial) -> None:
        ns, name = trial.pick(
            "SELECT a.ns, b.block_hash FROM namespaces a, blocks b WHERE NOT EXISTS (SELECT 1 FROM namespace_blocks n"
            " WHERE n.ns = a.ns AND n.block_hash = b.block_hash) AND NOT EXISTS (SELECT 1 FROM block_refs r WHERE"
            " r.ns = a.ns AND r.block_hash = b.block_hash) AND b.gone_at IS NULL"
        )
        if not is_known:
            name = trial.chance.randbytes(32)
        until = trial.house.clock.now + 48 * 3_600_000
        text = "INSERT INTO namespace_blocks (ns, block_hash, refs, lease_until) VALUES ($1, $2, $3, $4)"
        if refs >= 0:
            trial.execute(text, ns, name, refs, until)
        if is_held:
            trial.execute("INSERT INTO block_refs (ns, block_hash, lease_until) VALUES ($1, $2, $3)", ns, name, until)

    return act


def miscount_right(trial: Trial) -> None:
    ns, name = trial.pick("SELECT ns, block_hash FROM namespace_blocks WHERE refs > 0")
    by = trial.chance.choice((-1, 1, 5))
    trial.execute("UPDATE namespace_blocks SET refs = refs + $3 WHERE ns = $1 AND block_hash = $2", ns, name, by)


def miscount_blocklist(trial: Trial) -> None:
    ns, name = trial.pick(f"SELECT ns, manifest_id FROM {LISTED}")
    by = trial.chance.choice((-1, 1, 5))
    trial.execute("UPDATE manifests SET refs = refs + $3 WHERE ns = $1 AND manifest_id = $2", ns, name, by)


def _blocklist(refs: int) -> Callable[[Trial], None]:
    def act(trial: Trial) -> None:
        ns, blocks, size = trial.pick(f"SELECT ns, blocks, size FROM {LISTED}")
        text = "INSERT INTO manifests (ns, manifest_id, blocks, size, cutter, refs) VALUES ($1, $2, $3, $4, 'cdc1', $5)"
        trial.execute(text, ns, trial.chance.randbytes(32), blocks, size, refs)

    return act


def _version(*, is_known: bool) -> Callable[[Trial], None]:
    def act(trial: Trial) -> None:
        columns = "content, size, mtime_ns, author, device, op_id, created_at"
        ns, node, content, *row = trial.pick(f"SELECT ns, node_id, {columns} FROM file_versions")
        content = content if is_known else trial.chance.randbytes(32)
        trial.execute(
            f"INSERT INTO file_versions (ns, node_id, rev, version_number, {columns})"
            " VALUES ($1, $2, -1, 0, $3, $4, $5, $6, $7, $8, $9)",
            *(ns, node, content, *row),
        )

    return act


DAMAGES = (
    Damage("a flipped byte of a block", flip_block, ("scrub",)),
    Damage("a flipped byte between blocks", flip_header,
           legal="nothing reads a record's header: rows say where bytes are, and all bytes are right"),
    Damage("a truncated pack", truncate, ("scrub",)),
    Damage("two swapped packs", swap, ("scrub",)),
    Damage("a missing pack", lose_pack, ("scrub",)),
    Damage("an extra pack", stray_pack, ("stray packs",)),
    Damage("blocks: missing", _delete("blocks", ("b.block_hash",), HELD), ("recount: block_missing",)),
    Damage("blocks: missing, held by nobody", _delete("blocks", ("block_hash",), "blocks WHERE gone_at > 0"),
           legal="it is what garbage would have left"),
    Damage("blocks: extra", stray_block, ("scrub", "recount: pack_missing")),
    Damage("blocks: another place",
           _changed("pack_offset = pack_offset + 1", "stored_size = stored_size - 1"), ("scrub",)),
    Damage("blocks: another length or codec", _changed("size = size + 1", "codec = 1 - codec"), ("scrub",)),
    Damage("rights: missing, in use",
           _delete("namespace_blocks", ("ns", "block_hash"), "namespace_blocks WHERE refs > 0"),
           ("recount: right_missing",)),
    Damage("rights: missing, only leased",
           _delete("namespace_blocks", ("ns", "block_hash"), "namespace_blocks WHERE refs = 0"),
           ("recount: holder_without_right",), left=("recount: holder_without_right",)),
    Damage("rights: extra", _right(0, is_held=False), ("recount: holder_missing",)),
    Damage("rights: extra, counted", _right(1, is_held=True), ("recount: right_count_high",)),
    Damage("rights: extra, of no block", _right(0, is_held=True, is_known=False), ("recount: block_missing",)),
    Damage("rights: extra, leased and held", _right(0, is_held=True),
           legal="an upload leaves the same; it ends with its lease"),
    Damage("rights: miscounted", miscount_right, ("recount: right_count_low", "recount: right_count_high")),
    Damage("holders: missing", _delete("block_refs", ("ns", "block_hash"), "block_refs WHERE block_hash IN (SELECT"
                                       " block_hash FROM namespace_blocks)"), ("recount: holder_missing",)),
    Damage("holders: extra", _right(-1, is_held=True), ("recount: holder_without_right",),
           left=("recount: holder_without_right",)),
    Damage("manifests: missing", _delete("manifests", ("m.ns", "m.manifest_id"), LISTED),
           ("recount: manifest_missing",)),
    Damage("manifests: extra, counted", _blocklist(1), ("recount: manifest_count_high",)),
    Damage("manifests: extra, unused", _blocklist(0),
           legal="a blocklist that no version has any more; it is swept weekly"),
    Damage("manifests: miscounted", miscount_blocklist,
           ("recount: manifest_count_low", "recount: manifest_count_high")),
    Damage("versions: missing, an older one", lose_older_version, ("recount: manifest_count_high",)),
    Damage("versions: missing, the shown one", lose_newest_version, ("recount: version_missing",)),
    Damage("versions: extra", _version(is_known=True), ("recount: manifest_count_low",)),
    Damage("versions: extra, of no content", _version(is_known=False), ("recount: manifest_missing",),
           left=("recount: manifest_missing",)),
    Damage("packs: missing", _delete("packs", ("p.pack_id",), "packs p WHERE EXISTS (SELECT 1 FROM blocks b WHERE"
                                     " b.pack_id = p.pack_id)"), ("recount: pack_missing",)),
)  # fmt: skip
