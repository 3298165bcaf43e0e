"""Every statement that a request runs names the key by which its table can be spread, and finds its rows by index.

The whole protocol is used over both databases, and what runs is noted. Source: docs/design/030 (every table on a hot
path has the namespace first in its key), docs/design/080.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import pytest

from satchel.core.entries import Kind
from satchel.core.hashing import block_hash
from satchel.core.ids import ROOT_NODE, LinkId, NamespaceId, NodeId, OpId, Tag
from satchel.core.messages import (
    AttrOp,
    ChangesRequest,
    CommitReply,
    CommitRequest,
    CreateOp,
    DeleteOp,
    EditOp,
    GetRequest,
    Hello,
    ManifestsRequest,
    Moved,
    MoveOp,
    Op,
    Placement,
    Position,
    Pushed,
    PutRequest,
    ScopeRequest,
    SnapshotRequest,
    Stored,
    UndeleteOp,
    Welcome,
    decode_frame,
    encode_frame,
)
from satchel.server.accounts.app_passwords import add_app_password, authenticate_basic
from satchel.server.accounts.proving import Proved
from satchel.server.accounts.service import list_devices
from satchel.server.accounts.sessions import begin_session
from satchel.server.accounts.standing import Held
from satchel.server.accounts.tokens import token_hash
from satchel.server.adapters.machine import MachineClock
from satchel.server.db.opening import open_database
from satchel.server.documents.extractor import small_pdf
from satchel.server.gateway.app import Gateway
from tests.integration.test_waiting_streams import Device
from tests.support.memory_service import MemoryService, open_service
from tests.support.postgres import PostgresServer
from tests.support.recording import RecordingDatabase
from tests.support.webdav import LOCK_BODY
from tests.support.wire import content_of, raw_block

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")

KEYS = {
    **dict.fromkeys(
        (
            "files",
            "file_versions",
            "manifests",
            "file_changes",
            "op_results",
            "outbox",
            "namespaces",
            "namespace_blocks",
            "link_scopes",
            "rewinds",
            "shares",
            "dav_locks",
            "dav_properties",
            "members",
            "search_places",
            "search_docs",
            "search_grams",
            "text_nodes",
            "texts",
            "text_words",
            "thumbnails",
        ),
        ("ns",),
    ),
    **dict.fromkeys(("blocks", "block_refs", "block_damage"), ("block_hash",)),
    "packs": ("pack_id",),
    "accounts": ("account_id", "name_key"),
    "devices": ("device_id", "account_id", "token_hash"),
    "link_runs": ("device_id",),
    "share_tokens": ("token_hash",),
    "memberships": ("account_id",),
    "store_meta": ("name",),
    **dict.fromkeys(("audit", "audit_heads"), ("chain",)),
    **dict.fromkeys(("sessions", "app_passwords"), ("account_id",)),
    **dict.fromkeys(("upload_sessions", "upload_parts", "idempotent_requests", "webhooks"), ("account_id",)),
}
"""By which column each table is asked: the one it would be spread by, or one with a unique index of its own."""

EXCEPTIONS: dict[str, str] = {
    # statement: why it may do without.
    "SELECT name, value FROM store_meta": "a handful of rows that never grow, the same on every shard; read at start",
}
CROSSING = {
    # tables that stand on different shards and are joined: where docs/design/080 says what is to become of it.
    frozenset({"namespace_blocks", "blocks"}): "the right to a block and its place: two statements, later",
    frozenset({"file_versions", "accounts", "devices"}): "names of authors: both are copied to every node",
    frozenset({"accounts", "namespaces"}): "how much an account uses: accounts are copied to every node",
    frozenset({"shares", "accounts"}): "who made a link: accounts are copied to every node",
    frozenset({"devices", "accounts"}): "who holds a token: both are copied to every node",
}
REST = (
    ("/api/v1/account", {}),
    ("/api/v1/devices", {}),
    ("/api/v1/files", {"path": "/"}),
    ("/api/v1/files", {"path": "/top"}),
    ("/api/v1/entry", {"path": "/top/b"}),
    ("/api/v1/content", {"path": "/top/b"}),
    ("/api/v1/versions", {"path": "/top/b"}),
    ("/api/v1/trash", {}),
    ("/api/v1/search", {"q": "to 1"}),
    ("/api/v1/search/text", {"q": "words to"}),
    ("/api/v1/sync", {}),
    ("/api/v1/rewinds", {}),
    ("/api/v1/activity", {}),
    ("/api/v1/activity", {"path": "/top"}),
    ("/api/v1/activity/days", {}),
)
DOT = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")
"""An image of one pixel."""
_numbers = count(1)


class Program:
    """A device and a program of one account, through the whole door."""

    def __init__(self, service: MemoryService) -> None:
        self.service = service
        self.gateway = Gateway(service.services)
        self.ns = service.ns
        self.link = LinkId(b"link" * 4)

    async def ask(self, method: str, route: str, /, body: bytes = b"", **query: object) -> bytes:
        return await self.send(method, route, body, {}, **query)

    async def send(self, method: str, route: str, /, body: bytes, headers: dict[str, str], **query: object) -> bytes:
        sent: list[dict[str, object]] = []
        unread, answered = [body], asyncio.Event()

        async def receive() -> dict[str, object]:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: object) -> None:
            assert isinstance(message, dict)
            sent.append(dict(message))
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered.set()

        scope = _scope(method, route, query, self.service.token)
        scope["headers"] += [(name.lower().encode(), value.encode()) for name, value in headers.items()]  # type: ignore[operator]
        await self.gateway(scope, receive, send)  # type: ignore[arg-type]
        assert sent[0]["status"] in (200, 201, 204, 207), (route, sent)
        return b"".join(each.get("body", b"") for each in sent[1:])  # type: ignore[misc]

    async def call(self, route: str, message: object, *bodies: bytes) -> bytes:
        raw = b"".join(encode_frame(message, bodies)) if message is not None else b""  # type: ignore[arg-type]
        return await self.ask("POST", f"/sync/v1/{route}", raw)

    async def commit(self, *ops: Op, inline: tuple[bytes, ...] = ()) -> list[int]:
        request = CommitRequest(self.ns, self.link, ops, tuple(raw_block(data) for data in inline))
        reply, _ = decode_frame(await self.call("commit", request, *inline), CommitReply)
        assert all(isinstance(outcome, Stored) for outcome in reply.outcomes), reply
        return [outcome.seq for outcome in reply.outcomes if isinstance(outcome, Stored)]


def _scope(method: str, path: str, query: dict[str, object], token: str) -> dict[str, object]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": urlencode(query).encode(),
        "headers": [(b"authorization", b"Bearer " + token.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
        "scheme": "http",
        "http_version": "1.1",
    }


def _op() -> OpId:
    return OpId(next(_numbers).to_bytes(16, "big"))


def _create(name: str, parent: bytes = ROOT_NODE, data: bytes | None = None) -> CreateOp:
    kind = Kind.FOLDER if data is None else Kind.FILE
    content = None if data is None else content_of(data)
    return CreateOp(_op(), NodeId(next(_numbers).to_bytes(16, "big")), NodeId(parent), name, int(kind), content)


async def use_everything(program: Program) -> None:
    """Commit every kind of op, put and get blocks, read every feed, wait on a stream and on a long-poll."""
    start = Position(program.ns, 0, Tag(b""))
    top = _create("top")
    files = [_create(f"{at}", top.node_id, b"%d" % at) for at in range(40)]
    await program.commit(top)
    await program.commit(*files, inline=tuple(b"%d" % at for at in range(40)))
    await program.call("blocks/put", PutRequest(program.ns, (raw_block(b"put"),)), b"put")
    await program.call("blocks/put", PutRequest(program.ns, (raw_block(b"put"),)), b"put")
    await program.call("blocks/get", GetRequest(program.ns, (block_hash(b"put"), block_hash(b"none"))))
    made = _create("a", top.node_id, b"put")
    [seq] = await program.commit(made)
    [seq] = await program.commit(EditOp(_op(), made.node_id, seq, content_of(b"edited")), inline=(b"edited",))
    await program.commit(AttrOp(_op(), made.node_id, seq, True))
    entry = json.loads(await program.ask("GET", "/api/v1/entry", path="/top/a"))
    placed = await _place_rev(program, made.node_id)
    await program.commit(MoveOp(_op(), (Placement(made.node_id, placed, top.node_id, "b"),)))
    gone = _create("gone")
    [seq] = await program.commit(gone)
    await program.commit(DeleteOp(_op(), gone.node_id, entry["seq"] + 100))
    await program.commit(UndeleteOp(_op(), gone.node_id, ROOT_NODE, "gone", is_subtree=True))
    await program.call("changes", ChangesRequest(start, LinkId(b"")))
    for unit in (ROOT_NODE, top.node_id):
        await program.call("snapshot", SnapshotRequest(program.ns, unit, NodeId(b""), limit=5))
    await program.call("scope", ScopeRequest(program.ns, LinkId(b"other"), (top.node_id,)))
    await program.call("changes", ChangesRequest(start, LinkId(b"other")))
    await program.call("manifests/get", ManifestsRequest(program.ns, (content_of(b"edited").content_hash,)))
    await program.call("namespaces", None)
    await program.ask("POST", "/api/v1/folders", b'{"path":"/made"}')
    await program.ask("PUT", "/api/v1/content", b"whole", path="/made/whole")
    for target in (b'{"to_seq":20}', b'{"path":"/top","to_seq":30}', b'{"to_ms":9000000000000}'):
        await program.ask("POST", "/api/v1/rewind/preview", target)
    await program.ask("POST", "/api/v1/rewind", b'{"to_seq":46}')
    for path, query in REST:
        await program.ask("GET", path, **query)
    await program.ask("PUT", "/api/v1/content", DOT, path="/dot.gif")
    dot = json.loads(await program.ask("GET", "/api/v1/entry", path="/dot.gif"))
    await program.ask("GET", f"/api/v1/thumbnail/{dot['namespace']}/{dot['id']}")
    await program.ask("PUT", "/api/v1/content", small_pdf(b"hello"), path="/top/one.pdf")
    for route in ("/api/v1/content/pages", "/api/v1/content/page"):
        await program.ask("GET", route, path="/top/one.pdf")
    await _browse(program)
    await _use_uploads(program)
    await _use_links(program, top.node_id)
    await _use_webdav(program)
    await _share(program)
    await _wait(program, start)


async def _use_uploads(program: Program) -> None:
    """Begin, look at, fill, finish and forget uploads in parts; repeat a request under its key."""
    begun = [json.loads(await program.ask("POST", "/api/v1/uploads", b'{"path":"/part","size":4}')) for _ in range(2)]
    one, other = [f"/api/v1/uploads/{each['id']}" for each in begun]
    await program.ask("GET", "/api/v1/uploads")
    await program.ask("GET", one)
    for at, data in enumerate((b"a", b"bcd")):
        await program.send("PATCH", one, data, {"Upload-Offset": str(at)})
    await program.ask("POST", f"{one}/finish")
    await program.ask("DELETE", other)
    for _ in range(2):
        await program.send("POST", "/api/v1/folders", b'{"path":"/once"}', {"Idempotency-Key": "once"})
    for path in ("/api/v1/webhooks", "/api/v1/share-invitations"):
        await program.ask("GET", path)
    with contextlib.suppress(AssertionError):
        await program.send("POST", "/api/v1/delete", b'{"path":"/nothing"}', {"Idempotency-Key": "never"})


async def _use_links(program: Program, folder: NodeId) -> None:
    """Make, list, show, change and revoke links; look, list, download and change through them."""

    async def linked(**terms: object) -> tuple[str, str]:
        body = json.dumps({"id": folder.hex(), **terms}).encode()
        link = json.loads(await program.ask("POST", "/api/v1/links", body))
        return f"/api/v1/links/{link['id']}", f"/api/v1/public/{link['token']}"

    made, public = await linked(downloads_max=5)
    await program.ask("GET", public)
    items = json.loads(await program.ask("GET", f"{public}/list"))["items"]
    file = next(item["id"] for item in items if item["kind"] == "file" and item["size"])
    await program.ask("GET", f"{public}/content", id=file)
    paged = next(item["id"] for item in items if item["name"] == "one.pdf")
    await program.ask("GET", f"{public}/zip")
    await program.ask("GET", "/api/v1/links")
    await program.ask("GET", made)
    await program.ask("PATCH", made, b'{"downloads_max": null}')
    for route in ("/content/pages", "/content/page"):
        await program.ask("GET", f"{public}{route}", id=paged)
    _, public = await linked(permission="edit")
    await program.ask("PUT", f"{public}/upload", b"up", name="up")
    await program.ask("PUT", f"{public}/content", b"edited", id=file)
    await program.ask("POST", f"{public}/delete", json.dumps({"id": file}).encode())
    await program.ask("DELETE", made)


async def _use_webdav(program: Program) -> None:
    for method, path, body, headers in (
        ("MKCOL", "/dav/w", b"", {}),
        ("PUT", "/dav/w/a", b"one", {}),
        ("PUT", "/dav/w/a", b"two", {}),
        (
            "PROPPATCH",
            "/dav/w/a",
            b'<propertyupdate xmlns="DAV:"><set><prop><x xmlns="x"/></prop></set></propertyupdate>',
            {},
        ),
        ("COPY", "/dav/w", b"", {"Destination": "/dav/v"}),
        ("COPY", "/dav/w/a", b"", {"Destination": "/dav/v/a"}),
        ("MOVE", "/dav/w/a", b"", {"Destination": "/dav/v/a"}),
        ("MOVE", "/dav/v", b"", {"Destination": "/dav/w"}),
        ("PROPFIND", "/dav/w", b"", {"Depth": "1"}),
        ("GET", "/dav/w/a", b"", {}),
    ):
        await program.send(method, path, body, headers)
    body = LOCK_BODY.format(scope="exclusive", owner="me").encode()
    told = (await program.send("LOCK", "/dav/w/new", body, {})).decode()
    token = re.search(r"urn:uuid:[-0-9a-f]+", told)
    assert token is not None
    await program.send("LOCK", "/dav/w/new", b"", {"If": f"(<{token[0]}>)"})
    await program.send("PROPFIND", "/dav/w", b"", {"Depth": "1"})
    await program.send("DELETE", "/dav/w", b"", {"If": f"<http://here/dav/w/new> (<{token[0]}>)", "Host": "here"})


async def _share(program: Program) -> None:
    """Work in a shared folder: by its own namespace, through its mount, and with what was there before it was one."""
    inside = _create("inside", await _made_folder(program, "/shared"))
    await program.commit(inside)
    share = json.loads(await program.ask("POST", "/api/v1/shares", b'{"path":"/shared"}'))
    ns = NamespaceId(bytes.fromhex(share["id"]))
    moved, _ = decode_frame(
        await program.call("commit", CommitRequest(program.ns, program.link, (DeleteOp(_op(), inside.node_id, 1),))),
        CommitReply,
    )
    assert moved.outcomes == (Moved(ns),)
    request = CommitRequest(ns, program.link, (_create("file", data=b"shared"),), (raw_block(b"shared"),))
    await program.call("commit", request, b"shared")
    await program.call("changes", ChangesRequest(Position(ns, 0, Tag(b"")), LinkId(b"")))
    await program.call("namespaces", None)
    for route in ("shares", f"shares/{share['id']}", "share-invitations"):
        await program.ask("GET", f"/api/v1/{route}")
    await program.ask("GET", "/api/v1/content", path="/shared/file")
    await program.ask("PUT", "/api/v1/content", b"through the mount", path="/shared/file")
    await program.ask("POST", "/api/v1/move", b'{"from":"/shared/file","to":"/out"}')
    await program.ask("GET", "/api/v1/sync")


async def _made_folder(program: Program, path: str) -> bytes:
    made = json.loads(await program.ask("POST", "/api/v1/folders", json.dumps({"path": path}).encode()))
    return bytes.fromhex(made["id"])


async def _browse(program: Program) -> None:
    """Ask as a browser does, and as a program that knows an app password."""
    services = program.service.services
    mine = await services.identity.of_token(program.service.token)
    token, _ = await begin_session(
        services.db, services.clock, Proved(mine.account_id, "ann", mine.root_ns, "none"), name="Fox"
    )
    browser = await services.identity.of_session(token)
    assert len(await services.standings.of(Held(browser, token_hash(token), LinkId(b""), 0, ()))) == 2
    secret, _ = await add_app_password(services.db, services.clock, mine, name="phone", may_write=True)
    await authenticate_basic(
        services.db, services.state, services.clock, user="ann", password=secret, from_address="192.0.2.1"
    )


async def _place_rev(program: Program, node: NodeId) -> int:
    rows = await program.service.services.db.read(
        lambda conn: conn.fetch("SELECT place_rev FROM files WHERE ns = $1 AND node_id = $2", program.ns, node)
    )
    return int(rows[0][0])


async def _wait(program: Program, start: Position) -> None:
    """Hear of a change on streams, alone and together, be looked after, and find nothing by a long-poll."""
    services = program.service.services
    devices = [Device(services, program.service.token, Hello(1, b"", LinkId(b"%d" % at), 1, (start,))) for at in (1, 2)]
    async with asyncio.TaskGroup() as group:
        for device in devices:
            group.create_task(device.run())
        for device in devices:
            assert isinstance(await device.next(), Welcome)
            assert isinstance(await device.next(), Pushed)
        await program.commit(_create("heard"))
        services.waiters.doubt()
        for device in devices:
            assert isinstance(await device.next(), Pushed)
        page = json.loads(await program.ask("GET", "/sync", limit=2_000))
        await program.ask("GET", "/sync/longpoll", cursor=page["cursor"], timeout=0)
        for device in devices:
            device.leave()


_numbers = itertools.count()
"""A worker comes back to this module after others: then its fixtures are made anew."""


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("hot")
    return {
        "sqlite": f"sqlite:///{folder}/hot.db",
        "postgres": postgres_server.create(f"hot_{os.getpid()}_{next(_numbers)}"),
    }


@pytest.fixture(scope="module")
def statements(urls: dict[str, str]) -> Iterator[dict[str, list[str]]]:
    """All that ran, by database, each once."""

    async def used(url: str) -> list[str]:
        store = await open_database(url, MachineClock())
        recording = RecordingDatabase(store)
        try:
            service = await open_service(recording)
            assert await list_devices(recording, await service.services.identity.of_token(service.token))
            await use_everything(Program(service))
        finally:
            await store.close()
        return list(dict.fromkeys(recording.statements))

    yield {name: asyncio.run(used(url)) for name, url in urls.items()}


def parts_of(sql: str) -> list[str]:
    """Return the statements that PostgreSQL is asked together, as the rooms wrote them."""
    if sql.startswith("WITH step0 AS ("):
        return re.split(r"\), step\d+ AS \(|\) (?=(?:INSERT INTO|UPDATE) )", sql.removeprefix("WITH step0 AS ("))
    if re.match(r"SELECT \d+ AS part, ", sql):
        return [
            re.sub(r"^SELECT \d+ AS part, x AS found FROM \(|\) AS x$", "", part) for part in sql.split(" UNION ALL ")
        ]
    return [sql]


def each_part(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(part for text in texts for part in parts_of(text)))


_WORDS = "WHERE|SET|ON|CROSS|JOIN|ORDER|LIMIT|SELECT|VALUES|FOR|OFFSET|GROUP|RETURNING"
_NAMED = re.compile(rf"(?:FROM|JOIN|INTO|UPDATE) (?!unnest\b|LATERAL\b|SET\b)(\w+)(?: AS)?(?: (?!{_WORDS})(\w+))?")


def tables_of(sql: str) -> dict[str, str]:
    """Return the tables of a statement by alias."""
    named = _NAMED.findall(sql)
    return {alias or table: table for table, alias in named if table in KEYS}


def names_key(sql: str, alias: str, table: str) -> bool:
    """Tell whether a statement names one of the table's keys: a comparison, a list, or a column that is inserted."""
    if re.search(rf"INSERT INTO {table}\b", sql):
        columns = sql.partition("(")[2].partition(")")[0].replace(" ", "").split(",")
        return KEYS[table][0] in columns
    qualified = rf"(?:\b{alias}\.|(?<![\w.]))"
    compared = r"(?: ?(?:=|>|<|>=|<=) ?[$\w('?]| IN )"
    return any(re.search(rf"{qualified}{key}{compared}", sql) for key in KEYS[table])


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_every_statement_names_the_key_of_each_of_its_tables(statements: dict[str, list[str]], database: str) -> None:
    texts = each_part(statements[database])
    seen = {table for text in texts for table in tables_of(text).values()}
    # The list of keys holds no table that no request asks, so a statement that is gone takes its line along.
    assert set(KEYS) - seen <= {"block_damage"}
    bare = [
        (table, text)
        for text in texts
        for alias, table in tables_of(text).items()
        if not names_key(text, alias, table) and text not in EXCEPTIONS
    ]
    assert bare == []


def test_statements_that_join_over_shards_are_known(statements: dict[str, list[str]]) -> None:
    joined = [set(tables_of(text).values()) for each in statements.values() for text in each_part(each)]
    crossing = {frozenset(tables) for tables in joined if len({KEYS[table][0] for table in tables}) > 1}
    assert crossing == set(CROSSING)


def test_every_exception_is_still_needed(statements: dict[str, list[str]]) -> None:
    texts = [text for each in statements.values() for text in each_part(each)]
    assert [text for text in EXCEPTIONS if text not in texts] == []


@pytest.mark.parametrize(
    ("sql", "is_named"),
    [
        ("SELECT 1 FROM files WHERE ns = $1 AND node_id = $2", True),
        ("SELECT 1 FROM files WHERE node_id = $1", False),
        ("SELECT 1 FROM files f JOIN manifests m ON m.manifest_id = f.content WHERE f.ns = $1", False),
        ("SELECT 1 FROM files f JOIN manifests m ON m.ns = f.ns AND m.manifest_id = f.content WHERE f.ns = $1", True),
        ("INSERT INTO outbox (seq, tag) VALUES ($1, $2)", False),
        ("INSERT INTO outbox (ns, seq, tag) VALUES ($1, $2, $3)", True),
        ("UPDATE blocks SET state = 1 WHERE block_hash = $1", True),
        ("UPDATE blocks SET state = 1 WHERE pack_id = $1", False),
        ("DELETE FROM file_changes WHERE seq < $1", False),
    ],
)
def test_a_statement_without_its_key_would_be_found(sql: str, is_named: bool) -> None:
    named = [names_key(sql, alias, table) for alias, table in tables_of(sql).items()]
    assert named
    assert all(named) == is_named


def test_no_statement_reads_a_whole_table_of_postgresql(statements: dict[str, list[str]], urls: dict[str, str]) -> None:
    async def plans() -> list[tuple[str, str]]:
        conn = await asyncpg.connect(urls["postgres"])
        wide = []
        try:
            # A small table is read whole whatever there is; forbidden to, the planner shows whether an index would do.
            await conn.execute("SET enable_seqscan = off")
            await conn.execute("SET plan_cache_mode = force_generic_plan")
            for number, text in enumerate(statements["postgres"]):
                nulls = ", ".join("NULL" for _ in set(re.findall(r"\$\d+", text)))
                await conn.execute(f"PREPARE hot_{number} AS {text}")
                execute = f"EXECUTE hot_{number}" + (f" ({nulls})" if nulls else "")
                rows = await conn.fetch(f"EXPLAIN (FORMAT JSON) {execute}")
                steps = wide_steps(json.loads(rows[0][0])[0]["Plan"])
                wide += [(step, text) for step in steps if text not in EXCEPTIONS]
        finally:
            await conn.close()
        return wide

    assert asyncio.run(plans()) == []


def wide_steps(plan: dict[str, object]) -> list[str]:
    """Return the steps of a plan that read a table, or an index, from end to end."""
    kind, table = str(plan["Node Type"]), str(plan.get("Relation Name", ""))
    found = []
    if kind == "Seq Scan" or (kind.startswith(("Index", "Bitmap Index")) and not plan.get("Index Cond")):
        found.append(f"{kind} {table or plan.get('Index Name')}")
    for below in plan.get("Plans", []):  # type: ignore[attr-defined]
        found += wide_steps(below)
    return found


def test_asking_and_changing_take_few_journeys_on_postgresql(postgres_server: PostgresServer) -> None:
    """BEGIN, COMMIT and the put of the bytes are not counted: an inline file is one look, five for the rows of its
    block, and three under the namespace's lock. What changes here changes what a commit costs."""

    url = postgres_server.create(f"journeys_{os.getpid()}")

    async def counted() -> dict[str, int]:
        store = await open_database(url, MachineClock())
        recording = RecordingDatabase(store)
        try:
            program = Program(await open_service(recording))
            await program.commit(_create("first"))
            made: dict[str, int] = {}
            before = len(recording.statements)
            await program.commit(_create("file", data=b"inline"), inline=(b"inline",))
            made["commit of a file"] = len(recording.statements) - before
            before = len(recording.statements)
            await program.call("changes", ChangesRequest(Position(program.ns, 0, Tag(b"")), LinkId(b""), 10, False))
            made["changes"] = len(recording.statements) - before
            return made
        finally:
            await store.close()

    assert asyncio.run(counted()) == {"commit of a file": 9, "changes": 1}
