"""Small pictures: what is drawn, what is refused, and who is given one."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import zlib
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from PIL import Image

from satchel.core.access import Role
from satchel.core.entries import Kind
from satchel.core.errors import MessageInvalid
from satchel.core.ids import ROOT_NODE, AccountId, NamespaceId, NodeId
from satchel.core.messages import CreateOp, DeleteOp, EditOp, Op, Stored
from satchel.server.accounts.service import register_account, register_device
from satchel.server.documents.extractor import small_pdf
from satchel.server.documents.thumbnailer import PICTURE_BYTES_MAX
from satchel.server.documents.thumbnails import Edge, Picture, Thumbnailer, keep_picture, kept_picture
from satchel.server.gateway.app import Gateway
from satchel.server.sharing.conversion import share_folder
from satchel.server.sharing.people import accept, invite, remove
from satchel.server.upkeep.thumbnails import drop_thumbnails
from satchel.simulation.stores import MemoryBlocks
from tests.support.databases import Database, Run
from tests.support.memory_service import open_service
from tests.support.upkeep_world import Owner, World
from tests.support.writers import content_of, new_id, op_id

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")

RED, BLUE = (200, 30, 30), (30, 30, 200)
ORIENTATION = 0x0112


def image(form: str = "PNG", size: tuple[int, int] = (400, 200), mode: str = "RGB", turned: int = 0) -> bytes:
    """Return an image whose left half is red and whose right half is blue. turned: EXIF's orientation."""
    made, data, exif = Image.new(mode, size), io.BytesIO(), Image.Exif()
    made.paste(Image.new("RGB", (size[0] // 2, size[1]), RED).convert(mode), (0, 0))
    made.paste(Image.new("RGB", (size[0] - size[0] // 2, size[1]), BLUE).convert(mode), (size[0] // 2, 0))
    if turned:
        exif[ORIENTATION] = turned
        exif[0x010F] = "A camera"
    made.save(data, form, exif=exif) if turned else made.save(data, form)
    return data.getvalue()


def drawn(data: bytes, kind: str = "image", edge: Edge = Edge.SMALL) -> Image.Image:
    body = asyncio.run(Thumbnailer().drawn(kind, data, edge))
    return Image.open(io.BytesIO(body), formats=["WEBP"])


def near(pixel: object, color: tuple[int, int, int]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) < 40 for a, b in zip(pixel, color, strict=False))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_each_kind_of_image_is_drawn_small(form: str) -> None:
    made = drawn(image(form))
    assert made.size == (128, 64)
    assert near(made.convert("RGB").getpixel((10, 32)), RED) and near(made.convert("RGB").getpixel((118, 32)), BLUE)


def test_an_image_is_turned_as_it_says_and_says_nothing_more() -> None:
    made = drawn(image("JPEG", (1_600, 800), turned=6), edge=Edge.MEDIUM)
    # Turned by 90 degrees clockwise: what was left is above.
    assert made.size == (256, 512)
    assert near(made.convert("RGB").getpixel((128, 20)), RED) and near(made.convert("RGB").getpixel((128, 490)), BLUE)
    assert not made.info.get("exif") and not made.getexif()


def test_what_can_be_seen_through_stays_so_and_a_small_image_is_not_enlarged() -> None:
    data = io.BytesIO()
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(data, "PNG")
    made = drawn(data.getvalue(), edge=Edge.LARGE)
    assert (made.size, made.mode) == ((40, 20), "RGBA")
    assert made.getpixel((5, 5))[3] == 0  # type: ignore[index]  # a pixel of four
    assert drawn(image("JPEG", mode="CMYK")).size == (128, 64)


def test_the_first_page_of_a_pdf_is_drawn() -> None:
    made = drawn(small_pdf(b"hello"), "pdf").convert("L")
    assert made.size == (96, 128)
    assert made.getextrema()[0] < 128 < made.getextrema()[1]  # type: ignore[operator]  # of one band: two numbers


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that says it is so large."""

    def part(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(b"\0" * 1_000_000)) + part(b"IEND", b"")


HOSTILE: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "a bomb": ("image", "too_large", lambda: bomb(60_000, 60_000)),
    "a long file": ("image", "too_large", lambda: image() + bytes(PICTURE_BYTES_MAX)),
    "a truncated image": ("image", "unreadable", lambda: image("JPEG")[:300]),
    "no image": ("image", "unreadable", lambda: b"\x89PNG\r\n\x1a\n but no more"),
    "a drawing with a script": (
        "image",
        "unreadable",
        lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
    ),
    "PostScript": ("image", "unreadable", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"),
    "no PDF": ("pdf", "unreadable", lambda: b"%PDF-1.4\nbut no more"),
    "a PDF without pages": ("pdf", "unreadable", lambda: small_pdf(b"x").replace(b"/Kids[3 0 R]", b"/Kids[     ]")),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_broken_or_too_large_is_refused(what: str) -> None:
    kind, reason, made = HOSTILE[what]
    with pytest.raises(MessageInvalid) as told:
        asyncio.run(Thumbnailer().drawn(kind, made(), Edge.SMALL))
    assert told.value.fields["reason"] == reason


class Counting(Thumbnailer):
    """Draws, and counts how often."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    async def drawn(self, kind: str, data: bytes, edge: int, page: int = 0) -> bytes:
        self.count += 1
        return await super().drawn(kind, data, edge, page)


class Album:
    """A service in this process with an account and its files, asked through the whole door."""

    async def opened(self) -> Album:
        self.service = await open_service()
        object.__setattr__(self.service.services, "thumbnails", Counting())
        self.world = World(self.service.services.db, MemoryBlocks())
        self.world.service = self.service.services.blocks
        self.gateway = Gateway(self.service.services)
        principal = await self.service.services.identity.of_token(self.service.token)
        self.ann, self.token = Owner(principal), self.service.token
        return self

    @property
    def count(self) -> int:
        thumbnails = self.service.services.thumbnails
        assert isinstance(thumbnails, Counting)
        return thumbnails.count

    async def someone(self, name: str) -> tuple[AccountId, str]:
        db, clock = self.service.services.db, self.service.services.clock
        account = await register_account(db, clock, name=name, password_hash="none")
        token, _ = await register_device(db, clock, account_id=account.account_id, name="laptop")
        return account.account_id, token

    async def do(self, op: Op) -> int:
        outcome = await self.world.commit(self.ann, op)
        assert isinstance(outcome, Stored), outcome
        return outcome.seq

    async def write(self, name: str, data: bytes, parent: NodeId = ROOT_NODE) -> NodeId:
        await self.world.put(self.ann, data)
        node = NodeId(new_id())
        await self.do(CreateOp(op_id(), node, parent, name, Kind.FILE, content_of(data)))
        return node

    async def ask(
        self, ns: bytes, node: bytes, token: str = "", tag: str = "", **query: object
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of what the route answers."""
        sent: list[dict[str, object]] = []
        answered = asyncio.Event()
        unread = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, object]:
            if unread:
                return unread.pop()
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: object) -> None:
            assert isinstance(message, dict)
            sent.append(dict(message))
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered.set()

        path = f"/api/v1/thumbnail/{ns.hex()}/{node.hex()}"
        headers = [(b"authorization", b"Bearer " + (token or self.token).encode()), (b"if-none-match", tag.encode())]
        scope: dict[str, object] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": urlencode(query).encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        await self.gateway(scope, receive, send)  # type: ignore[arg-type]
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}  # type: ignore[attr-defined]
        body = b"".join(each.get("body", b"") for each in sent[1:])  # type: ignore[misc]
        return sent[0]["status"], told, body  # type: ignore[return-value]

    async def refusal(self, ns: bytes, node: bytes, token: str = "", **query: object) -> tuple[int, object]:
        """Return status and body of a refusal, without the number that names the request."""
        status, _, body = await self.ask(ns, node, token, **query)
        return status, {**json.loads(body)["error"], "id": ""}


def album(scenario: Callable[[Album], object]) -> None:
    async def run() -> None:
        await scenario(await Album().opened())  # type: ignore[misc]

    asyncio.run(run())


def test_a_picture_is_drawn_once_and_told_by_its_tag() -> None:
    async def scenario(a: Album) -> None:
        node, ns = await a.write("a.png", image()), a.ann.ns
        status, headers, body = await a.ask(ns, node)
        assert (status, headers["content-type"], headers["x-content-type-options"]) == (200, "image/webp", "nosniff")
        assert Image.open(io.BytesIO(body)).size == (128, 64)
        assert (await a.ask(ns, node))[::2] == (200, body)
        assert a.count == 1
        assert (await a.ask(ns, node, tag=headers["etag"]))[::2] == (304, b"")
        assert Image.open(io.BytesIO((await a.ask(ns, node, size="medium"))[2])).size == (400, 200)
        assert (await a.ask(ns, node, size="medium", tag=headers["etag"]))[0] == 200
        copy = await a.write("copy.png", image())
        assert (await a.ask(ns, copy))[2] == body
        assert a.count == 2
        await a.world.put(a.ann, image(size=(100, 300)))
        rows = await a.world.rows("SELECT content_rev FROM files WHERE node_id = $1", node)
        await a.do(EditOp(op_id(), node, rows[0][0], content_of(image(size=(100, 300)))))
        assert Image.open(io.BytesIO((await a.ask(ns, node, tag=headers["etag"]))[2])).size == (43, 128)
        assert (await a.ask(ns, node, rev=rows[0][0]))[2] == body

    album(scenario)


def test_what_has_no_picture_is_said_so_and_tried_once() -> None:
    async def scenario(a: Album) -> None:
        ns = a.ann.ns
        broken, text = await a.write("a.png", b"no image"), await a.write("a.txt", b"text")
        for _ in range(2):
            status, error = await a.refusal(ns, broken)
            assert (status, error["code"], error["fields"]["reason"]) == (400, "message_invalid", "unreadable")  # type: ignore[index]
        assert a.count == 1
        for node, query, reason in ((text, {}, "kind"), (broken, {"size": "huge"}, "size"), (b"x", {}, "node")):
            status, error = await a.refusal(ns, node, **query)
            assert (status, error["fields"]["reason"]) == (400, reason)  # type: ignore[index]
        assert (await a.refusal(ns, broken, rev=99))[0] == 404

    album(scenario)


def test_a_picture_is_given_to_who_may_read_the_file_as_long_as_that_holds() -> None:
    async def scenario(a: Album) -> None:
        services, ns = a.service.services, a.ann.ns
        bob, token = await a.someone("bob")
        folder = NodeId(new_id())
        await a.do(CreateOp(op_id(), folder, ROOT_NODE, "album", Kind.FOLDER))
        node = await a.write("a.png", image(), folder)
        status, headers, _ = await a.ask(ns, node)
        assert status == 200
        for place in ((ns, node), (new_id(), node), (ns, new_id())):
            assert await a.refusal(*place, token) == await a.refusal(new_id(), new_id(), token)
        shared = await share_folder(services.db, services.clock, a.ann.principal, NamespaceId(ns), folder)
        await invite(services.db, services.clock, a.ann.principal, shared, [("bob", Role.VIEWER)])
        assert (await a.refusal(shared, node, token))[0] == 404
        member = await services.identity.of_token(token)
        await accept(services.db, services.clock, member, shared)
        assert (await a.ask(shared, node, token))[0] == 200
        await remove(services.db, services.clock, a.ann.principal, shared, bob)
        unknown = await a.refusal(new_id(), new_id(), token)
        assert await a.refusal(shared, node, token) == unknown
        assert (await a.ask(shared, node, token, tag=headers["etag"]))[0] == 404
        # Whoever deletes it sees no picture of it either.
        other = await a.write("b.png", image())
        await a.do(DeleteOp(op_id(), other, 1 << 60))
        assert (await a.ask(ns, other))[0] == 404

    album(scenario)


def test_pictures_of_what_is_gone_and_the_oldest_are_dropped(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db, MemoryBlocks())
        owner = await world.owner()
        ns, kept = NamespaceId(owner.ns), [b"%d" % number for number in range(4)]
        for data in kept:
            await world.save(owner, None, data)
        for at, data in enumerate([*kept, b"gone"]):
            picture = Picture(b"picture", "") if at else Picture(b"", "unreadable")
            await keep_picture(db, ns, content_of(data).content_hash, "image", Edge.SMALL, picture, now_ms=at)

        async def left() -> list[bytes]:
            hashes = {data: content_of(data).content_hash for data in (*kept, b"gone")}
            found = {data: await kept_picture(db, ns, hash_, "image", Edge.SMALL) for data, hash_ in hashes.items()}
            return [data for data, picture in found.items() if picture is not None]

        assert await left() == [*kept, b"gone"]
        assert (await drop_thumbnails(db, world.clock)).done == {"thumbnails": 1}
        assert await left() == kept
        assert (await drop_thumbnails(db, world.clock, kept_max=2)).done == {"thumbnails": 2}
        assert await left() == kept[2:]

    run(scenario)
