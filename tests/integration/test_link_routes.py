"""Every route of a link's holder, with links that open and with all kinds that do not: those answer all alike."""

from __future__ import annotations

import os
import sqlite3
import urllib.parse

import pytest

from satchel.server.documents.extractor import small_pdf
from tests.support.link_makers import PASSWORD, UNKNOWN, Maker, locked, maker, other, own, public, same, server, unlock
from tests.support.server import Answer, RunningServer, ask

__all__ = ["locked", "maker", "other", "own", "server"]

ROUTES = {
    # name: (method, route, permission, body or bytes, the node it names, status of a good link)
    "info": ("GET", "", "view", None, "", 200),
    "list": ("GET", "/list", "view", None, "?id=/docs/inner", 200),
    "content": ("GET", "/content", "view", None, "?id=/docs/a.txt", 200),
    "range": ("GET", "/content", "view", None, "?id=/docs/a.txt", 206),
    "preview": ("GET", "/content", "view", None, "?preview=true&id=/docs/a.txt", 200),
    "pages": ("GET", "/content/pages", "view", None, "?id=/docs/c.pdf", 200),
    "page": ("GET", "/content/page", "view", None, "?page=1&id=/docs/c.pdf", 200),
    "zip": ("GET", "/zip", "view", None, "?id=/docs/inner", 200),
    "upload": ("PUT", "/upload", "upload", b"up", "?name=up", 201),
    "edit upload": ("PUT", "/upload", "edit", b"up", "?name=up&parent=/docs/inner", 201),
    "edit": ("PUT", "/content", "edit", b"new", "?id=/docs/a.txt", 200),
    "folder": ("POST", "/folders", "edit", {"name": "new", "parent": "/docs/inner"}, "", 201),
    "move": ("POST", "/move", "edit", {"name": "moved", "id": "/docs/a.txt"}, "", 200),
    "delete": ("POST", "/delete", "edit", {"id": "/docs/a.txt"}, "", 204),
}
NAMES_A_NODE = [name for name, (_, _, _, body, query, _) in ROUTES.items() if "/docs" in f"{body}{query}"]


def ask_route(maker: Maker, token: str, name: str, *, key: str = "", node: str = "") -> Answer:
    """Ask a route of the matrix with its own node, or with another one."""
    method, route, _, body, query, _ = ROUTES[name]
    ids = {path: node or id for path, id in maker.ids.items() if path.startswith("/docs/")}
    for path, id in sorted(ids.items(), reverse=True):
        query = query.replace(f"={path}", f"={id}")
        if isinstance(body, dict):
            body = {field: id if value == path else value for field, value in body.items()}
    headers = {"Satchel-Link-Key": key} if key else {}
    if name == "range":
        headers["Range"] = "bytes=2-4"
    return ask(maker.session.url, method, f"/api/v1/public/{token}{route}{query}", body, headers=headers)


def test_every_public_route_is_in_the_matrix(maker: Maker) -> None:
    paths = maker.session.ask("GET", "/api/v1/openapi.json").json()["paths"]
    told = {
        (method.upper(), path.removeprefix("/api/v1/public/{token}"))
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/api/v1/public/")
    }
    assert told == {(method, route) for method, route, *_ in ROUTES.values()} | {("POST", "/unlock")}


@pytest.mark.parametrize("name", ROUTES)
def test_a_route_opens_for_a_good_link_alone_and_answers_all_others_alike(
    server: RunningServer, maker: Maker, own: Maker, locked: dict[str, tuple[str, str]], name: str
) -> None:
    permission, good_status = ROUTES[name][2], ROUTES[name][5]
    own.put("/docs/c.pdf", small_pdf(b"hello"))
    unknown = same(ask_route(own, UNKNOWN, name))
    assert unknown[0] == 404
    link = own.link("/docs", permission=permission)
    token = link["token"]
    kept = own.names("/docs"), own.names("/docs/inner")

    def is_as_unknown(state: str, key: str = "", node: str = "", of: str = token) -> None:
        assert same(ask_route(own, of, name, key=key, node=node)) == unknown, state

    # ids of elsewhere: the maker's own outside of the link, another account's, nobody's, no ids at all
    if name in NAMES_A_NODE:
        for node in (own.ids["/private.txt"], maker.ids["/docs/a.txt"], os.urandom(16).hex(), "0" * 32, "no-id"):
            is_as_unknown(f"node {node}", node=node)
        inner = own.link("/docs/inner", permission=permission)["token"]
        is_as_unknown("above the link", of=inner, node=own.ids["/docs"])
    for wrong in {"view", "edit", "upload"} - {permission}:
        if name != "info" and not (permission in ("view", "upload") and wrong == "edit"):
            is_as_unknown(f"permission {wrong}", of=own.link("/docs", permission=wrong)["token"])
    # without its password
    shut, key = locked[permission]
    for wrong in ("", "A" * 54, urllib.parse.quote(PASSWORD), locked["edit" if permission == "view" else "view"][1]):
        answer = ask_route(own, shut, name, key=wrong).json()
        assert answer.get("is_locked", answer.get("error", {}).get("code") == "link_locked")
    assert (own.names("/docs"), own.names("/docs/inner")) == kept, "something was changed without a right"
    # past its time
    soon = own.link("/docs", permission=permission, expires_ms=link["created_ms"] + 10**9)
    server_expire(server, soon["id"])
    is_as_unknown("expired", of=soon["token"])
    assert same(unlock(own, soon["token"], PASSWORD)) == same(unlock(own, UNKNOWN, PASSWORD))
    # used up
    if permission == "view":
        used = own.link("/docs", downloads_max=1)["token"]
        assert public(own, used, "/content", id=own.ids["/docs/a.txt"]).status == 200
        is_as_unknown("used up", of=used)
    # its maker disabled, and let in again
    server.admin("user.disable", name=own.user.name)
    is_as_unknown("maker disabled")
    server.admin("user.disable", name=own.user.name, is_disabled=False)
    # revoked
    gone = own.link("/docs", permission=permission)
    assert own.session.ask("DELETE", f"/api/v1/links/{gone['id']}").status == 204
    is_as_unknown("revoked", of=gone["token"])
    # its node deleted, and brought back
    own.session.ask("POST", "/api/v1/delete", {"path": f"{own.base}/docs"})
    is_as_unknown("node deleted")
    assert own.session.ask("POST", "/api/v1/trash/restore", {"id": own.ids["/docs"]}).status == 200
    assert ask_route(own, token, name).status == good_status
    if permission == "view":
        assert ask_route(own, shut, name, key=key).status == good_status


def server_expire(server: RunningServer, link_id: str) -> None:
    """Have a link's time be over."""
    with sqlite3.connect(next(server.data.glob("*.db")), timeout=30) as store:
        changed = store.execute(
            "UPDATE shares SET expires_at = 1 WHERE share_id = ?", (bytes.fromhex(link_id)[16:],)
        ).rowcount
    assert changed == 1
    store.close()
