"""The rules of links and file requests. Invariant: a link never does more than its maker could do at that moment.

A link is looked up by its token's hash at each use: it is gone when it is unknown, revoked, past its time, when its
maker was disabled or lost the right, or when its node does not live. All of these answer alike.
Source: docs/design/060 (2, 3), docs/use/links.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from msgspec.structs import replace as replace_node

from satchel.core.access import Right, allows
from satchel.core.entries import Kind
from satchel.core.errors import MessageInvalid, NotFound, QuotaExceeded
from satchel.core.ids import ROOT_NODE, DeviceId, NamespaceId, NodeId, uuid7
from satchel.core.limits import LIST_PAGE_MAX
from satchel.server.accounts.access import authorize, authorize_txn, role_of
from satchel.server.accounts.audit import Action, by, record_txn
from satchel.server.accounts.passwords import check_new_password, hash_password
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database
from satchel.server.metadata.commit import Guard
from satchel.server.metadata.journal import head_txn
from satchel.server.metadata.nodes import LIVE, Node, columns_of, node_of
from satchel.server.metadata.tree import ROOT, path_in
from satchel.server.metadata.view import View
from satchel.server.ports import Clock
from satchel.server.sharing.shares import (
    COLUMN_COUNT,
    COLUMN_LIST,
    TOKEN_BYTES,
    Permission,
    Share,
    ShareId,
    change_txn,
    hash_of_token,
    insert_txn,
    made_by_txn,
    new_token,
    one_txn,
    revoke_txn,
    share_of,
    take_download_txn,
    with_links_txn,
)

SHOWN_KINDS = (Kind.FILE, Kind.FOLDER)
"""What a link shows. A symlink's target tells of other places, and a mount is another namespace."""
_LINK_DEVICE = "link"
_RIGHTS = {
    Permission.VIEW: (Right.READ, Right.SHARE),
    Permission.EDIT: (Right.READ, Right.SHARE, Right.WRITE, Right.DELETE),
    Permission.UPLOAD: (Right.SHARE, Right.WRITE),
}
"""What the maker must be allowed so that the link opens."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a maker asks of a link. password: empty for none; expires_ms, downloads_max: None for no limit."""

    permission: Permission = Permission.VIEW
    password: str = ""
    expires_ms: int | None = None
    downloads_max: int | None = None
    is_no_download: bool = False


@dataclass(frozen=True, slots=True)
class MadeLink:
    """A link as its maker sees it. path: where its node stands in the namespace, empty when it does not live."""

    share: Share
    path: str
    name: str
    kind: int


@dataclass(frozen=True, slots=True)
class OpenLink:
    """A link that opens. principal: its maker, with the link as the device; root: what it names; node: what was asked
    for, which is the root or stands beneath it; token_hash: of the token that it was opened with."""

    share: Share
    principal: Principal
    root: Node
    node: Node
    token_hash: bytes


def gone() -> NotFound:
    """Return the one answer to everything that a link does not open."""
    return NotFound("There is no such link, or nothing of that name in it.")


# -- for the maker ----------------------------------------------------------------------------------------------------


async def make_link(
    db: Database,
    clock: Clock,
    principal: Principal,
    ns: NamespaceId,
    node_id: NodeId,
    wanted: Wanted,
    *,
    from_address: str = "",
) -> tuple[str, MadeLink]:
    """Make a link to a live file or folder; return its token, which is not shown again, and the link.

    Raises: NotFound (no such node, or no right to it), MessageInvalid, LimitExceeded.
    """
    await authorize(db, principal, ns, *_RIGHTS[wanted.permission])
    check_wanted(wanted, now_ms=clock.now_ms())
    if node_id == ROOT_NODE and ns == principal.root_ns:
        raise MessageInvalid("The root folder itself is not shared by a link.", reason="root")
    hashed = await _hashed(wanted.password)
    token, now = new_token(clock.random(TOKEN_BYTES)), clock.now_ms()
    share = Share(
        ns=ns,
        share_id=ShareId(uuid7(now, clock.random(10))),
        node_id=node_id,
        maker=principal.account_id,
        device=principal.device_id,
        permission=wanted.permission,
        password_hash=hashed,
        is_no_download=wanted.is_no_download,
        expires_ms=wanted.expires_ms,
        downloads_max=wanted.downloads_max,
        downloads=0,
        hits=0,
        created_ms=now,
        seen_ms=0,
    )

    async def insert(conn: Connection) -> MadeLink:
        view = View(ns)
        await view.load_txn(conn, {node_id}, set())
        node = _live(view, node_id)
        if node is None or node.kind not in SHOWN_KINDS:
            raise NotFound("There is no such file or folder.")
        if wanted.permission is not Permission.VIEW and node.kind != Kind.FOLDER and not _is_edit_of_file(wanted, node):
            raise MessageInvalid("Only a folder takes uploads.", reason="kind")
        await insert_txn(conn, share, hash_of_token(token))
        told = {"ns": ns.hex(), "node": node_id.hex(), "permission": str(wanted.permission)}
        subject = share.share_id.hex()
        event = by(principal, Action.LINK_MADE, now, address=from_address, subject=subject, **told)
        await record_txn(conn, share.maker, event)
        return MadeLink(share, path_in(view, node_id), node.name, node.kind)

    return token, await db.write(ns, insert)


def check_wanted(wanted: Wanted, *, now_ms: int) -> None:
    """Accept what a link may be. Raises: MessageInvalid, LimitExceeded (the password's length)."""
    if wanted.password:
        check_new_password(wanted.password)
    if wanted.expires_ms is not None and wanted.expires_ms <= now_ms:
        raise MessageInvalid("The time at which the link ends is past.", reason="expires_ms")
    if wanted.downloads_max is not None and wanted.downloads_max < 1:
        raise MessageInvalid("A link without a download is none.", reason="downloads_max")
    if wanted.permission is not Permission.VIEW and (wanted.is_no_download or wanted.downloads_max is not None):
        raise MessageInvalid("Downloads are limited for links that only show.", reason="permission")


class LinkPlace(NamedTuple):
    """Where a link stands, and where a listing goes on."""

    ns: NamespaceId
    share_id: ShareId


async def links_of(
    db: Database, principal: Principal, inside: Sequence[NamespaceId], *, after: LinkPlace, limit: int
) -> list[MadeLink]:
    """Return the links that the principal made in these namespaces and did not revoke, by namespace and then the oldest
    first, from after `after` on. Raises: NotFound when one is asked for and there is no right to it."""
    limit = max(1, min(limit, LIST_PAGE_MAX))
    if len(inside) == 1:
        await authorize(db, principal, inside[0], Right.SHARE)
    later = [ns for ns in sorted(inside) if ns >= after.ns]
    wanted = [ns for ns in later if allows(await role_of(db, principal, ns), Right.SHARE)]

    async def read_txn(conn: Connection) -> list[MadeLink]:
        made: list[MadeLink] = []
        for ns in sorted(await with_links_txn(conn, wanted, principal.account_id)):
            above = after.share_id if ns == after.ns else ShareId(b"")
            shares = await made_by_txn(conn, ns, principal.account_id, after=above, limit=limit - len(made))
            made += await _shown_txn(conn, ns, shares)
            if len(made) == limit:
                break
        return made

    return await db.read(read_txn)


async def link_of(db: Database, principal: Principal, ns: NamespaceId, share_id: ShareId) -> MadeLink:
    """Return a link that the principal made. Raises: NotFound."""
    await authorize(db, principal, ns, Right.SHARE)

    async def read_txn(conn: Connection) -> MadeLink:
        share = await one_txn(conn, ns, share_id, principal.account_id)
        if share is None:
            raise _no_link()
        return (await _shown_txn(conn, ns, [share]))[0]

    return await db.read(read_txn)


async def change_link(
    db: Database,
    clock: Clock,
    principal: Principal,
    old: Share,
    wanted: Wanted,
    *,
    is_password_new: bool,
    from_address: str = "",
) -> MadeLink:
    """Give a link other terms; its node and permission stay. A new password (or none) ends what the old one opened.

    Raises: NotFound, MessageInvalid, LimitExceeded.
    """
    await authorize(db, principal, old.ns, Right.SHARE)
    is_later = wanted.expires_ms != old.expires_ms
    check_wanted(wanted if is_later else replace(wanted, expires_ms=None), now_ms=clock.now_ms())
    changed = replace(
        old,
        password_hash=await _hashed(wanted.password) if is_password_new else old.password_hash,
        is_no_download=wanted.is_no_download,
        expires_ms=wanted.expires_ms,
        downloads_max=wanted.downloads_max,
    )

    async def change(conn: Connection) -> int:
        count = await change_txn(conn, changed)
        if count:
            subject = old.share_id.hex()
            event = by(principal, Action.LINK_CHANGED, clock.now_ms(), address=from_address, subject=subject)
            await record_txn(conn, old.maker, event)
        return count

    if not await db.write(old.ns, change):
        raise _no_link()
    return await link_of(db, principal, old.ns, old.share_id)


async def revoke_link(
    db: Database, clock: Clock, principal: Principal, ns: NamespaceId, share_id: ShareId, *, from_address: str = ""
) -> None:
    """End a link for ever. Raises: NotFound."""
    await authorize(db, principal, ns, Right.SHARE)

    async def revoke(conn: Connection) -> int:
        now = clock.now_ms()
        count = await revoke_txn(conn, ns, share_id, principal.account_id, now)
        if count:
            event = by(principal, Action.LINK_REVOKED, now, address=from_address, subject=share_id.hex())
            await record_txn(conn, principal.account_id, event)
        return count

    if not await db.write(ns, revoke):
        raise _no_link()


# -- for whoever holds the link ---------------------------------------------------------------------------------------


async def open_link(db: Database, clock: Clock, token: str, node_id: NodeId | None = None) -> OpenLink:
    """Return the link of a token, with a node of it (its own one by default), as it all stands now.

    Password and download limit are the caller's to ask for. Raises: NotFound, always the same one.
    """
    token_hash, now = hash_of_token(token), clock.now_ms()
    found = await db.read(lambda conn: _open_txn(conn, token_hash, node_id))
    if found is None or (found.share.expires_ms is not None and found.share.expires_ms <= now):
        raise gone()
    try:
        await authorize(db, found.principal, found.share.ns, *_RIGHTS[found.share.permission])
    except NotFound:
        raise gone() from None
    return found


def still_open(clock: Clock, *links: OpenLink) -> Guard:
    """Return what looks inside a transaction, with the namespace's row held, whether the links open as they did: what
    their holder asks for stands beneath them at the moment of the change, not only a little before.

    links: of one share, each with a node that the change names. It raises NotFound.
    """

    async def look_txn(conn: Connection) -> None:
        for link in links:
            await head_txn(conn, link.share.ns, for_update=True)
            found = await _open_txn(conn, link.token_hash, link.node.node_id)
            if found is None or (found.share.expires_ms is not None and found.share.expires_ms <= clock.now_ms()):
                raise gone()
            if found.share.password_hash != link.share.password_hash:
                raise gone()
            try:
                await authorize_txn(conn, found.principal, link.share.ns, *_RIGHTS[found.share.permission])
            except NotFound:
                raise gone() from None

    return look_txn


async def children_of(db: Database, link: OpenLink, node_id: NodeId, after: str, limit: int) -> list[Node]:
    """Return what lives in one of the link's folders by name key, at most `limit`, from above the key `after`.

    The caller opened the link just now. Raises: NotFound for what is no folder any more.
    """
    ns = link.share.ns

    async def list_txn(conn: Connection) -> list[Node]:
        folder = (await _beneath_txn(conn, link.share, node_id))[1]
        if folder is None or folder.kind != Kind.FOLDER:
            raise gone()
        rows = await conn.fetch(
            f"SELECT {columns_of('f')} FROM files f"
            f" WHERE f.ns = $1 AND f.parent_id = $2 AND f.name_key > $3 AND f.state = {LIVE} AND f.seq > $4"
            f" AND f.kind IN ({', '.join(str(int(kind)) for kind in SHOWN_KINDS)}) ORDER BY f.name_key LIMIT $5",
            *(ns, node_id, after.replace("\0", ""), folder.cleared_seq, max(1, min(limit, LIST_PAGE_MAX))),
        )
        return [node_of(row) for row in rows]

    return await db.read(list_txn)


async def take_download(db: Database, share: Share) -> None:
    """Count one download of a link that has a limit. Raises: NotFound when none is left."""
    if not await db.write(share.share_id, lambda conn: take_download_txn(conn, share)):
        raise gone()


async def require_room(db: Database, ns: NamespaceId, more_bytes: int) -> None:
    """Return when a namespace may hold so many bytes more. Raises: QuotaExceeded, which tells no numbers: a stranger
    hears it."""
    rows = await db.glance(lambda conn: conn.fetch("SELECT bytes_used, quota FROM namespaces WHERE ns = $1", ns))
    if rows and rows[0][1] is not None and rows[0][0] + more_bytes > rows[0][1]:
        raise QuotaExceeded("There is no room left for this.")


async def head_of(db: Database, ns: NamespaceId) -> int:
    """Return the newest seq of a namespace's journal."""
    rows = await db.glance(lambda conn: conn.fetch("SELECT head_seq FROM namespaces WHERE ns = $1", ns))
    return int(rows[0][0]) if rows else 0


async def _open_txn(conn: Connection, token_hash: bytes, node_id: NodeId | None) -> OpenLink | None:
    places = await conn.fetch("SELECT ns, share_id FROM share_tokens WHERE token_hash = $1", token_hash)
    if not places:
        return None
    rows = await conn.fetch(
        f"SELECT {COLUMN_LIST}, a.name, a.root_ns FROM shares s JOIN accounts a ON a.account_id = s.maker"
        " WHERE s.ns = $1 AND s.share_id = $2 AND s.token_hash = $3 AND s.revoked_at IS NULL AND a.is_disabled = 0",
        *(*places[0], token_hash),
    )
    if not rows:
        return None
    share, (name, root_ns) = share_of(rows[0]), rows[0][COLUMN_COUNT:]
    root, node = await _beneath_txn(conn, share, share.node_id if node_id is None else node_id)
    if root is None or node is None:
        return None
    if share.node_id == ROOT_NODE:
        # The folder behind a mount has no name of its own: it has the one that it was shared under.
        named = await conn.fetch("SELECT name FROM members WHERE ns = $1 AND account_id = $2", share.ns, share.maker)
        whole = replace_node(root, name=named[0][0] if named else "")
        root, node = whole, whole if node is root else node
    # What a link writes is its maker's; the link stands where a device does, so that history tells them apart.
    principal = Principal(share.maker, name, DeviceId(share.share_id), _LINK_DEVICE, NamespaceId(root_ns))
    return OpenLink(share, principal, root, node, token_hash)


async def _beneath_txn(conn: Connection, share: Share, node_id: NodeId) -> tuple[Node | None, Node | None]:
    """Return the link's own node and the one asked for; None for one that does not live or stands elsewhere."""
    view = View(share.ns)
    await view.load_txn(conn, {share.node_id, node_id}, set())
    root, node = _live(view, share.node_id), _live(view, node_id)
    if node is None or node.kind not in SHOWN_KINDS or not view.stands_in(node_id, share.node_id):
        node = None
    return root, node


def _live(view: View, node_id: NodeId) -> Node | None:
    if node_id == ROOT_NODE:
        return ROOT
    node = view.nodes.get(node_id)
    return node if node is not None and view.is_live(node) else None


async def _shown_txn(conn: Connection, ns: NamespaceId, shares: Sequence[Share]) -> list[MadeLink]:
    view = View(ns)
    await view.load_txn(conn, {share.node_id for share in shares}, set())
    made = []
    for share in shares:
        node = _live(view, share.node_id)
        path = "" if node is None else path_in(view, share.node_id)
        made.append(MadeLink(share, path, "" if node is None else node.name, 0 if node is None else node.kind))
    return made


def _is_edit_of_file(wanted: Wanted, node: Node) -> bool:
    return wanted.permission is Permission.EDIT and node.kind == Kind.FILE


async def _hashed(password: str) -> str:
    return await hash_password(password) if password else ""


def _no_link() -> NotFound:
    return NotFound("There is no such link.")
