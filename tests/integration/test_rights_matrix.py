"""Every route and method of the running service, asked by everybody: only what the table says is done, and what is
forbidden answers byte for byte like what does not exist.

The routes come from the service's own description; one without a row in `TABLE`, which says what each wants, fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from satchel.core.access import Right, Role, allows
from tests.support.rights_world import (
    ACCOUNTS,
    EDITOR,
    EVERYBODY,
    FORMER,
    GOOD,
    HOOK,
    LINK,
    LOCKED,
    NOBODY,
    OTHER,
    OWNER,
    ROLES,
    UPLOAD_LINK,
    VIEW_LINK,
    VIEWER,
    Asking,
    Told,
    World,
    world,
)

__all__ = ["world"]

NO_ID, NO_LINK_ID, NO_TOKEN = "00" * 16, "00" * 32, "A" * 43

Ask = Callable[[World, str, bool], Asking]
"""How a route is asked in this world, by somebody; the last says whether of what is there."""


@dataclass(frozen=True)
class Row:
    """What a route wants: a right in the shared folder, or those who may. good: the answers to them; own_device: it
    ends the device that asks, so it is asked by one of its own."""

    wants: Right | frozenset[str]
    ask: Ask
    good: AbstractSet[int] = GOOD
    own_device: bool = False

    def may(self, who: str) -> bool:
        """Tell whether this one may."""
        if isinstance(self.wants, Right):
            return who in ROLES and allows(ROLES[who], self.wants)
        return who in self.wants


ALL, SELF, ADMINS, MINE = (frozenset(each) for each in (EVERYBODY, ACCOUNTS, (), (OWNER,)))
MEMBERS = frozenset({OWNER, EDITOR, VIEWER})
EDITING, TAKING, SHOWING = (
    frozenset({LINK}),
    frozenset({LINK, UPLOAD_LINK}),
    frozenset({LINK, VIEW_LINK}),
)
OPENING = TAKING | {VIEW_LINK, LOCKED}
LONG = "x" * 2_000
"""A password that is too long is refused before any work, and after the token was looked at."""


def plain(path: str, body: object = None, **query: object) -> Ask:
    return lambda w, who, there: Asking(path, body, query)


def node(path: str, **query: object) -> Ask:
    """By id and namespace."""

    def ask(w: World, who: str, there: bool) -> Asking:
        return Asking(path, query={"id": w.file if there else NO_ID, "namespace": w.ns if there else NO_ID, **query})

    return ask


def share(suffix: str = "", body: object = None, *, fresh: bool = False) -> Ask:
    """A route of the shared folder. fresh: whoever may gets one of their own."""

    def ask(w: World, who: str, there: bool) -> Asking:
        ns = w.ns if there else NO_ID
        if fresh and there and ROLES.get(who, Role.NONE) is not Role.NONE:
            ns = w.share(f"/{w.name()}", EDITOR, VIEWER)
        told = {"account_id": w.accounts[EDITOR]} if body == "heir" else body
        return Asking(f"/api/v1/shares/{ns}{suffix.replace('{editor}', w.accounts[EDITOR])}", told)

    return ask


def through(suffix: str, body: Callable[[World, bool], object] | None = None, **query: object) -> Ask:
    """A route of a link; whoever holds none guesses. A query of `file` names a file of the link's own."""

    def ask(w: World, who: str, there: bool) -> Asking:
        token = w.links[who]["token"] if there and who in w.links else NO_TOKEN
        asked = {name: (w.linked if value == "file" else value) for name, value in query.items()}
        headers = {"Satchel-Link-Key": "A" * 54} if who == LOCKED else {}
        prefix = suffix if suffix.startswith("/s/") else f"/api/v1/public/{{token}}{suffix}"
        return Asking(prefix.replace("{token}", token), body(w, there) if body else None, asked, headers)

    return ask


def invitation(suffix: str) -> Ask:
    return lambda w, who, there: Asking(f"/api/v1/share-invitations/{w.ns if there else NO_ID}/{suffix}")


def owned(path: str, which: str, body: object = None, no_id: str = NO_ID) -> Ask:
    """A thing of the owner's, by an attribute of the world."""
    return lambda w, who, there: Asking(f"{path}/{getattr(w, which) if there else no_id}", body)


def upload(suffix: str = "", body: object = None, *, size: int = 1, **headers: str) -> Ask:
    """An upload of the owner's, a new one each time that the owner asks."""

    def ask(w: World, who: str, there: bool) -> Asking:
        which = (w.upload(size) if who == OWNER else w.upload_id) if there else NO_ID
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return Asking(f"/api/v1/uploads/{which}{suffix}", body, headers=told)

    return ask


def webhook(suffix: str = "") -> Ask:
    """A webhook of the owner's, a new one each time that the owner asks."""

    def ask(w: World, who: str, there: bool) -> Asking:
        which = (w.webhook() if who == OWNER else w.webhook_id) if there else NO_ID
        return Asking(f"/api/v1/webhooks/{which}{suffix}")

    return ask


def found(path: str) -> Ask:
    """A search beneath the shared folder."""
    return lambda w, who, there: Asking(path, query={"q": "file", "path": "/Team" if there else "/Nope"})


def code(path: str, **more: object) -> Ask:
    def ask(w: World, who: str, there: bool) -> Asking:
        typed = w.waiting_code()["user_code"] if who in ACCOUNTS and there else "BBBB-BBBB"
        return Asking(path, {"user_code": typed, **more})

    return ask


def written(path: str = "/api/v1/folders", key: str = "path") -> Ask:
    return lambda w, who, there: Asking(path, {key: f"/{'Team' if there else 'Nope'}/{w.name()}"})


def one_of_theirs(w: World, who: str, there: bool) -> str:
    """Return the path of a file in the shared folder; a new one for whoever may change it."""
    if not there:
        return "/Nope/file"
    if ROLES.get(who) in (Role.OWNER, Role.EDITOR):
        w.put(path := f"/Team/{w.name()}")
        return path
    return "/Team/file"


def new_link(w: World, who: str, there: bool) -> str:
    if not there:
        return NO_LINK_ID
    link: str = w.link()["id"] if who == OWNER else w.link_id
    return link


def deleted(w: World, who: str, there: bool) -> Asking:
    may = ROLES.get(who) in (Role.OWNER, Role.EDITOR)
    node_id = (w.trashed() if may else w.gone) if there else NO_ID
    return Asking("/api/v1/trash/restore", {"id": node_id, "namespace": w.ns if there else NO_ID})


def emptied(w: World, who: str, there: bool) -> Asking:
    node_id = (w.trashed() if ROLES.get(who) == Role.OWNER else w.gone) if there else NO_ID
    return Asking("/api/v1/trash/empty", {"ids": [node_id], "namespace": w.ns if there else NO_ID})


def restored(w: World, who: str, there: bool) -> Asking:
    ids = {"id": w.file, "namespace": w.ns} if there else {"id": NO_ID, "namespace": NO_ID}
    return Asking("/api/v1/restore", {**ids, "rev": w.rev})


def kept_copy(w: World, who: str, there: bool) -> Asking:
    """Two files of the shared folder, new ones for whoever may change them, of which one takes the other's place."""
    if not there:
        seen = {"copy_id": NO_ID, "copy_rev": 1, "file_id": NO_ID, "file_rev": 1, "namespace": NO_ID}
        return Asking("/api/v1/conflicts/keep-copy", seen)
    paths = [one_of_theirs(w, who, there=True), "/Team/file"]
    copy, file = [w.own("/api/v1/entry", path=path) for path in paths]
    seen = {"copy_id": copy["id"], "copy_rev": copy["rev"], "file_id": file["id"], "file_rev": file["rev"]}
    return Asking("/api/v1/conflicts/keep-copy", {**seen, "namespace": w.ns})


def cursor(path: str, **query: object) -> Ask:
    def ask(w: World, who: str, there: bool) -> Asking:
        known = w.answer(who, "GET", Asking("/sync"))["cursor"] if who in ACCOUNTS else "A" * 40
        return Asking(path, query={"cursor": known, **query})

    return ask


def linked_file(w: World, there: bool) -> str:
    return w.put(f"/Team/folder/{w.name()}") if there else NO_ID


GROUP = f"/api/v1/groups/{NO_ID}"
TABLE: dict[tuple[str, str], Row] = {
    # -- for everybody ------------------------------------------------------------------------------------------------
    ("GET", "/health"): Row(ALL, plain("/health")),
    ("GET", "/ready"): Row(ALL, plain("/ready")),
    ("GET", "/api/v1/setup"): Row(ALL, plain("/api/v1/setup")),
    ("POST", "/api/v1/setup"): Row(ALL, plain("/api/v1/setup", {"code": "x", "user": "u", "password": LONG}), {401}),
    ("POST", "/api/v1/login"): Row(
        ALL, plain("/api/v1/login", {"user": "u", "password": LONG, "device_name": "d"}), {400, 413}
    ),
    ("POST", "/api/v1/sessions"): Row(ALL, plain("/api/v1/sessions", {"user": "u", "password": LONG}), {400, 413}),
    ("POST", "/api/v1/invitations/look"): Row(ALL, plain("/api/v1/invitations/look", {"token": NO_TOKEN}), {404}),
    ("POST", "/api/v1/invitations/accept"): Row(
        ALL, plain("/api/v1/invitations/accept", {"token": NO_TOKEN, "user": "u", "password": "p"}), {404}
    ),
    ("POST", "/api/v1/device-codes"): Row(ALL, plain("/api/v1/device-codes", {"device_name": "d"})),
    ("POST", "/api/v1/device-codes/poll"): Row(ALL, plain("/api/v1/device-codes/poll", {"device_code": NO_TOKEN})),
    ("GET", "/api/v1/oidc"): Row(ALL, plain("/api/v1/oidc")),
    ("GET", "/api/v1/oidc/begin"): Row(ALL, plain("/api/v1/oidc/begin"), {404}),
    ("GET", "/api/v1/oidc/end"): Row(ALL, plain("/api/v1/oidc/end"), {404}),
    ("GET", "/api/v1/oidc/callback"): Row(ALL, plain("/api/v1/oidc/callback"), {404}),
    # -- for every account, about itself ------------------------------------------------------------------------------
    ("GET", "/api/v1/account"): Row(SELF, plain("/api/v1/account")),
    ("POST", "/api/v1/account/password"): Row(
        SELF, plain("/api/v1/account/password", {"old": LONG, "new": "a good one"}), {400, 413}
    ),
    ("GET", "/api/v1/account/oidc"): Row(SELF, plain("/api/v1/account/oidc")),
    ("POST", "/api/v1/account/oidc"): Row(SELF, plain("/api/v1/account/oidc", {"password": "x"}), {404}),
    ("DELETE", "/api/v1/account/oidc/{link_id}"): Row(SELF, plain(f"/api/v1/account/oidc/{NO_LINK_ID}"), {404}),
    ("GET", "/api/v1/account/second-factor"): Row(SELF, plain("/api/v1/account/second-factor")),
    ("POST", "/api/v1/account/second-factor"): Row(
        SELF, plain("/api/v1/account/second-factor", {"password": LONG}), {400, 413}
    ),
    ("POST", "/api/v1/account/second-factor/confirm"): Row(
        SELF, plain("/api/v1/account/second-factor/confirm", {"code": "1"}), {404}
    ),
    ("POST", "/api/v1/account/second-factor/disable"): Row(
        SELF, plain("/api/v1/account/second-factor/disable", {"password": LONG}), {400, 413}
    ),
    ("POST", "/api/v1/account/recovery-codes"): Row(
        SELF, plain("/api/v1/account/recovery-codes", {"password": LONG}), {400, 413}
    ),
    ("GET", "/api/v1/activity"): Row(SELF, plain("/api/v1/activity")),
    ("GET", "/api/v1/activity/days"): Row(SELF, plain("/api/v1/activity/days")),
    ("GET", "/api/v1/rewinds"): Row(SELF, plain("/api/v1/rewinds")),
    ("POST", "/api/v1/rewind"): Row(SELF, plain("/api/v1/rewind", {"to_ms": 2**52})),
    ("POST", "/api/v1/rewind/preview"): Row(SELF, plain("/api/v1/rewind/preview", {"to_ms": 2**52})),
    ("GET", "/api/v1/audit"): Row(SELF, plain("/api/v1/audit")),
    ("GET", "/api/v1/app-passwords"): Row(SELF, plain("/api/v1/app-passwords")),
    ("POST", "/api/v1/app-passwords"): Row(SELF, plain("/api/v1/app-passwords", {"name": "p"})),
    ("DELETE", "/api/v1/app-passwords/{password_id}"): Row(MINE, owned("/api/v1/app-passwords", "app_password")),
    ("GET", "/api/v1/devices"): Row(SELF, plain("/api/v1/devices")),
    ("PATCH", "/api/v1/devices/{device_id}"): Row(MINE, owned("/api/v1/devices", "device", {"name": "renamed"})),
    ("DELETE", "/api/v1/devices/{device_id}"): Row(MINE, owned("/api/v1/devices", "device")),
    ("POST", "/api/v1/device-codes/look"): Row(SELF, code("/api/v1/device-codes/look")),
    ("POST", "/api/v1/device-codes/approve"): Row(SELF, code("/api/v1/device-codes/approve", approve=False)),
    ("GET", "/api/v1/sessions"): Row(SELF, plain("/api/v1/sessions")),
    ("DELETE", "/api/v1/sessions/{session_id}"): Row(MINE, owned("/api/v1/sessions", "session")),
    ("POST", "/api/v1/logout"): Row(SELF, plain("/api/v1/logout"), own_device=True),
    ("GET", "/api/v1/uploads"): Row(SELF, plain("/api/v1/uploads")),
    ("GET", "/api/v1/webhooks"): Row(SELF, plain("/api/v1/webhooks")),
    ("POST", "/api/v1/webhooks"): Row(SELF, plain("/api/v1/webhooks", {"url": HOOK, "events": ["link.used"]})),
    ("POST", "/api/v1/webhooks/{webhook_id}/rotate"): Row(MINE, webhook("/rotate")),
    ("GET", "/api/v1/webhooks/{webhook_id}/deliveries"): Row(MINE, webhook("/deliveries")),
    ("DELETE", "/api/v1/webhooks/{webhook_id}"): Row(MINE, webhook()),
    ("GET", "/api/v1/shares"): Row(SELF, plain("/api/v1/shares")),
    ("GET", "/api/v1/share-invitations"): Row(SELF, plain("/api/v1/share-invitations")),
    ("GET", "/api/v1/sync"): Row(SELF, cursor("/api/v1/sync")),
    ("GET", "/api/v1/sync/latest"): Row(SELF, plain("/api/v1/sync/latest")),
    ("GET", "/sync"): Row(SELF, cursor("/sync")),
    ("GET", "/api/v1/sync/longpoll"): Row(SELF, cursor("/api/v1/sync/longpoll", timeout=0)),
    ("GET", "/sync/longpoll"): Row(SELF, cursor("/sync/longpoll", timeout=0)),
    # -- for administrators, of whom nobody here is one ---------------------------------------------------------------
    ("GET", "/api/v1/admin/accounts"): Row(ADMINS, plain("/api/v1/admin/accounts")),
    ("PATCH", "/api/v1/admin/accounts/{account_id}"): Row(
        ADMINS, lambda w, who, there: Asking(f"/api/v1/admin/accounts/{w.accounts[OTHER] if there else NO_ID}", {})
    ),
    ("GET", "/api/v1/admin/audit"): Row(ADMINS, plain("/api/v1/admin/audit")),
    ("GET", "/api/v1/admin/audit/newest"): Row(ADMINS, plain("/api/v1/admin/audit/newest")),
    ("GET", "/api/v1/admin/storage"): Row(ADMINS, plain("/api/v1/admin/storage")),
    ("GET", "/api/v1/admin/health"): Row(ADMINS, plain("/api/v1/admin/health")),
    ("GET", "/api/v1/admin/settings"): Row(ADMINS, plain("/api/v1/admin/settings")),
    ("POST", "/api/v1/admin/audit/verify"): Row(ADMINS, plain("/api/v1/admin/audit/verify", {})),
    ("GET", "/api/v1/admin/counters"): Row(ADMINS, plain("/api/v1/admin/counters")),
    ("GET", "/api/v1/invitations"): Row(ADMINS, plain("/api/v1/invitations")),
    ("POST", "/api/v1/invitations"): Row(ADMINS, plain("/api/v1/invitations", {})),
    ("DELETE", "/api/v1/invitations/{invitation_id}"): Row(ADMINS, plain(f"/api/v1/invitations/{NO_ID}")),
    ("GET", "/api/v1/groups"): Row(SELF, plain("/api/v1/groups")),
    ("POST", "/api/v1/groups"): Row(ADMINS, plain("/api/v1/groups", {"name": "g"})),
    ("PATCH", "/api/v1/groups/{group_id}"): Row(ADMINS, plain(GROUP, {"name": "g"})),
    ("DELETE", "/api/v1/groups/{group_id}"): Row(ADMINS, plain(GROUP)),
    ("GET", "/api/v1/groups/{group_id}/members"): Row(ADMINS, plain(f"{GROUP}/members")),
    ("PUT", "/api/v1/groups/{group_id}/members/{account_id}"): Row(ADMINS, plain(f"{GROUP}/members/{NO_ID}")),
    ("DELETE", "/api/v1/groups/{group_id}/members/{account_id}"): Row(ADMINS, plain(f"{GROUP}/members/{NO_ID}")),
    # -- files of the shared folder -----------------------------------------------------------------------------------
    ("GET", "/api/v1/zip"): Row(
        Right.READ, lambda w, who, there: Asking("/api/v1/zip", query={"path": "/Team" if there else "/Nope"})
    ),
    ("GET", "/api/v1/content"): Row(Right.READ, node("/api/v1/content")),
    ("GET", "/api/v1/content/pages"): Row(Right.READ, node("/api/v1/content/pages"), {400}),
    ("GET", "/api/v1/content/page"): Row(Right.READ, node("/api/v1/content/page"), {400}),
    ("GET", "/api/v1/versions"): Row(Right.READ, node("/api/v1/versions")),
    ("GET", "/api/v1/diff"): Row(Right.READ, node("/api/v1/diff")),
    # What the file holds is no document and no picture, which only those who may read it are told.
    ("GET", "/api/v1/text"): Row(Right.READ, node("/api/v1/text"), {400}),
    ("GET", "/api/v1/thumbnail/{ns}/{node}"): Row(
        Right.READ,
        lambda w, who, there: Asking(f"/api/v1/thumbnail/{w.ns if there else NO_ID}/{w.file if there else NO_ID}"),
        {400},
    ),
    ("GET", "/api/v1/search"): Row(Right.READ, found("/api/v1/search")),
    ("GET", "/api/v1/search/text"): Row(Right.READ, found("/api/v1/search/text")),
    ("GET", "/api/v1/conflicts"): Row(
        Right.READ, lambda w, who, there: Asking("/api/v1/conflicts", query={"path": "/Team" if there else "/Nope"})
    ),
    ("POST", "/api/v1/conflicts/keep-copy"): Row(Right.WRITE, kept_copy),
    ("GET", "/api/v1/trash"): Row(
        Right.READ, lambda w, who, there: Asking("/api/v1/trash", query={"namespace": w.ns if there else NO_ID})
    ),
    ("GET", "/api/v1/entry"): Row(
        Right.READ,
        lambda w, who, there: Asking("/api/v1/entry", query={"path": f"/{'Team' if there else 'Nope'}/file"}),
    ),
    ("GET", "/api/v1/files"): Row(
        Right.READ, lambda w, who, there: Asking("/api/v1/files", query={"path": "/Team" if there else "/Nope"})
    ),
    ("PUT", "/api/v1/content"): Row(
        Right.WRITE,
        lambda w, who, there: Asking("/api/v1/content", b"x", {"path": one_of_theirs(w, who, there)}),
    ),
    ("POST", "/api/v1/folders"): Row(Right.WRITE, written()),
    ("POST", "/api/v1/delete"): Row(
        Right.DELETE, lambda w, who, there: Asking("/api/v1/delete", {"path": one_of_theirs(w, who, there)})
    ),
    ("POST", "/api/v1/move"): Row(
        Right.WRITE,
        lambda w, who, there: Asking(
            "/api/v1/move",
            {"from": one_of_theirs(w, who, there), "to": f"/{'Team' if there else 'Nope'}/{w.name()}"},
        ),
    ),
    ("POST", "/api/v1/restore"): Row(Right.WRITE, restored),
    ("POST", "/api/v1/uploads"): Row(
        Right.WRITE,
        lambda w, who, there: Asking(
            "/api/v1/uploads", {"path": f"/{'Team' if there else 'Nope'}/{w.name()}", "size": 1}
        ),
    ),
    ("GET", "/api/v1/uploads/{upload_id}"): Row(MINE, upload()),
    ("HEAD", "/api/v1/uploads/{upload_id}"): Row(MINE, upload()),
    ("PATCH", "/api/v1/uploads/{upload_id}"): Row(MINE, upload(body=b"x", Upload_Offset="0")),
    ("POST", "/api/v1/uploads/{upload_id}/known"): Row(
        MINE, upload("/known", {"offset": 0, "blocks": [{"hash": "00" * 32, "size": 1}]})
    ),
    ("POST", "/api/v1/uploads/{upload_id}/finish"): Row(MINE, upload("/finish", size=0)),
    ("DELETE", "/api/v1/uploads/{upload_id}"): Row(MINE, upload()),
    ("POST", "/api/v1/trash/restore"): Row(Right.WRITE, deleted),
    ("POST", "/api/v1/trash/empty"): Row(Right.PURGE, emptied),
    # -- people of the shared folder ----------------------------------------------------------------------------------
    ("POST", "/api/v1/shares"): Row(
        Right.ADMINISTER, lambda w, who, there: Asking("/api/v1/shares", {"path": "/Team" if there else "/Nope"})
    ),
    ("GET", "/api/v1/shares/{share_id}"): Row(Right.READ, share()),
    ("DELETE", "/api/v1/shares/{share_id}"): Row(Right.ADMINISTER, share(fresh=True)),
    ("POST", "/api/v1/shares/{share_id}/leave"): Row(Right.LEAVE, share("/leave", fresh=True)),
    ("POST", "/api/v1/shares/{share_id}/members"): Row(
        Right.ADMINISTER,
        lambda w, who, there: Asking(
            f"/api/v1/shares/{w.ns if there else NO_ID}/members", {"user": EDITOR, "role": "viewer"}
        ),
    ),
    ("PATCH", "/api/v1/shares/{share_id}/members/{account_id}"): Row(
        Right.ADMINISTER, share("/members/{editor}", {"role": "editor"})
    ),
    ("DELETE", "/api/v1/shares/{share_id}/members/{account_id}"): Row(
        Right.ADMINISTER, share("/members/{editor}", fresh=True)
    ),
    ("POST", "/api/v1/shares/{share_id}/transfer"): Row(Right.ADMINISTER, share("/transfer", "heir", fresh=True)),
    ("POST", "/api/v1/share-invitations/{share_id}/accept"): Row(MEMBERS, invitation("accept")),
    ("POST", "/api/v1/share-invitations/{share_id}/decline"): Row(ADMINS, invitation("decline")),
    # -- links, for their maker ---------------------------------------------------------------------------------------
    ("GET", "/api/v1/links"): Row(
        Right.SHARE, lambda w, who, there: Asking("/api/v1/links", query={"ns": w.ns if there else NO_ID})
    ),
    ("POST", "/api/v1/links"): Row(
        Right.SHARE,
        lambda w, who, there: Asking(
            "/api/v1/links", {"id": w.folder if there else NO_ID, "ns": w.ns if there else NO_ID}
        ),
    ),
    ("GET", "/api/v1/links/{link_id}"): Row(
        MINE, lambda w, who, there: Asking(f"/api/v1/links/{w.link_id if there else NO_LINK_ID}")
    ),
    ("PATCH", "/api/v1/links/{link_id}"): Row(
        MINE, lambda w, who, there: Asking(f"/api/v1/links/{new_link(w, who, there)}", {"downloads_max": 5})
    ),
    ("DELETE", "/api/v1/links/{link_id}"): Row(
        MINE, lambda w, who, there: Asking(f"/api/v1/links/{new_link(w, who, there)}")
    ),
    # -- links, for their holders -------------------------------------------------------------------------------------
    ("GET", "/api/v1/public/{token}"): Row(OPENING, through("")),
    ("GET", "/s/{token}"): Row(OPENING, through("/s/{token}")),
    ("GET", "/api/v1/public/{token}/list"): Row(SHOWING, through("/list")),
    ("GET", "/s/{token}/list"): Row(SHOWING, through("/s/{token}/list")),
    ("GET", "/api/v1/public/{token}/zip"): Row(SHOWING, through("/zip")),
    ("GET", "/api/v1/public/{token}/content"): Row(SHOWING, through("/content", id="file")),
    ("GET", "/api/v1/public/{token}/content/pages"): Row(SHOWING, through("/content/pages", id="file"), {400}),
    ("GET", "/api/v1/public/{token}/content/page"): Row(SHOWING, through("/content/page", id="file"), {400}),
    ("PUT", "/api/v1/public/{token}/content"): Row(EDITING, through("/content", lambda w, there: b"x", id="file")),
    ("PUT", "/api/v1/public/{token}/upload"): Row(TAKING, through("/upload", lambda w, there: b"x", name="up")),
    ("POST", "/api/v1/public/{token}/folders"): Row(EDITING, through("/folders", lambda w, there: {"name": w.name()})),
    ("POST", "/api/v1/public/{token}/move"): Row(
        EDITING, through("/move", lambda w, there: {"id": linked_file(w, there), "name": w.name()})
    ),
    ("POST", "/api/v1/public/{token}/delete"): Row(
        EDITING, through("/delete", lambda w, there: {"id": linked_file(w, there)})
    ),
    ("POST", "/api/v1/public/{token}/unlock"): Row(ADMINS, through("/unlock", lambda w, there: {"password": "wrong"})),
    ("POST", "/s/{token}/unlock"): Row(ADMINS, through("/s/{token}/unlock", lambda w, there: {"password": "wrong"})),
    # -- the last: it ends everybody's devices ------------------------------------------------------------------------
    ("POST", "/api/v1/logout-others"): Row(SELF, plain("/api/v1/logout-others"), own_device=True),
}


def routes(world: World) -> set[tuple[str, str]]:
    """Return what the service says that it answers."""
    told = world.answer(NOBODY, "GET", Asking("/api/v1/openapi.json"))
    return {
        (method.upper(), re.sub(r"\{(\w+)[^}]*\}", r"{\1}", path))
        for path, item in told["paths"].items()
        for method in item
        if method in ("get", "put", "post", "patch", "delete", "head", "options")
    }


def ways_to_be_refused(path: str, who: str) -> frozenset[int]:
    """Return how a route may refuse somebody."""
    if "{token}" in path:
        # A link that asks for its password says so.
        return frozenset({403}) if who == LOCKED else frozenset({404})
    if who not in ACCOUNTS:
        return frozenset({401})
    # An owner is told what an owner cannot do.
    return frozenset({404, 409}) if who == OWNER else frozenset({404})


def compared(path: str, who: str) -> bool:
    """Tell whether a refusal must be the one of what is not there: for all who cannot see that it is."""
    return who in (FORMER, OTHER) or ("{token}" in path and who != LOCKED)


def masked(told: Told) -> Told:
    """Return an answer with the folder's name, which is as long as that of none, put in its place."""
    return replace(told, body=told.body.replace(b"/Nope", b"/Team"))


def test_every_route_has_its_row_and_every_row_its_route(world: World) -> None:
    assert not (missing := sorted(routes(world) ^ set(TABLE))), missing


def test_each_may_what_the_table_says_and_the_rest_is_as_if_it_were_not_there(world: World) -> None:
    wrong, main = [], dict(world.credentials)
    for (method, path), row in TABLE.items():
        # Who may not comes first: nothing has changed for them.
        for who in sorted(EVERYBODY, key=row.may):
            if row.own_device and who in ACCOUNTS:
                world.credentials[who] = f"Bearer {world.new_device(who)['token']}"
            told = world.ask(who, method, row.ask(world, who, True))
            if told.status not in (row.good if row.may(who) else ways_to_be_refused(path, who)):
                wrong.append((method, path, who, told.status, told.body))
            if not row.may(who) and compared(path, who):
                unknown = masked(world.ask(who, method, row.ask(world, who, False)))
                if told != unknown:
                    wrong.append((method, path, who, told, unknown))
            if path != "/api/v1/logout-others":
                world.credentials[who] = main[who]
    assert wrong == []
