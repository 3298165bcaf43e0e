"""Pages of PDF as pictures: what is drawn, what is refused, who is given one, and how they count through a link."""

from __future__ import annotations

import asyncio
import io

import pypdfium2
import pytest
from PIL import Image

from satchel.core.errors import MessageInvalid
from satchel.core.ids import NamespaceId
from satchel.server.documents.thumbnailer import PAGE_EDGE_MAX, PAGE_PIXELS_MAX
from satchel.server.documents.thumbnails import (
    PageWidth,
    Picture,
    Thumbnailer,
    keep_picture,
    kept_picture,
    page_sizes,
)
from satchel.server.upkeep.thumbnails import drop_thumbnails
from satchel.simulation.stores import MemoryBlocks
from tests.support.databases import Database, Run
from tests.support.link_makers import Maker, locked, maker, other, own, public, same, server
from tests.support.pdf import SCRIPT, pdf_of
from tests.support.server import RunningServer, ask
from tests.support.upkeep_world import World
from tests.support.writers import content_of

__all__ = ["locked", "maker", "other", "own", "server"]

THREE = pdf_of((300, 400), (400, 300), (300, 400, 90))


def drawn(data: bytes, page: int = 0, width: int = PageWidth.SMALL) -> Image.Image:
    body = asyncio.run(Thumbnailer().drawn("page", data, width, page))
    return Image.open(io.BytesIO(body), formats=["WEBP"])


def darkest(picture: Image.Image) -> int:
    low, _ = picture.convert("L").getextrema()
    assert isinstance(low, int)
    return low


def test_pages_are_told_as_they_are_shown_and_drawn_so_wide() -> None:
    told = page_sizes(asyncio.run(Thumbnailer().drawn("pages", THREE, 0)))
    assert told == (3, [(300, 400), (400, 300), (400, 300)])
    assert [drawn(THREE, page).size for page in range(3)] == [(800, 1067), (800, 600), (800, 600)]
    assert all(darkest(drawn(THREE, page)) < 100 for page in range(3))
    with pytest.raises(MessageInvalid) as refused:
        drawn(THREE, 3)
    assert refused.value.fields["reason"] == "no_page"


@pytest.mark.parametrize(("across", "down"), [(10, 14_000), (14_000, 10), (14_000, 14_000), (3, 3)])
def test_no_page_makes_too_large_a_picture(across: int, down: int) -> None:
    width, height = drawn(pdf_of((across, down)), width=PageWidth.LARGE).size
    assert max(width, height) <= PAGE_EDGE_MAX + 1
    assert width * height <= 1.01 * PAGE_PIXELS_MAX


def test_what_was_filled_into_a_form_is_drawn_and_no_script_is_known_to_the_library() -> None:
    assert darkest(drawn(pdf_of((300, 400), text=""))) > 200
    assert darkest(drawn(pdf_of((300, 400), text="", field="filled in"))) < 100
    assert darkest(drawn(pdf_of((300, 400), script=SCRIPT))) < 100
    # Both would be named here: without them nothing in it can run what a document says.
    assert not {"V8", "XFA"} & set(pypdfium2.PDFIUM_INFO.flags)


def test_pages_are_given_by_path_id_and_rev_under_a_tag(own: Maker) -> None:
    own.put("/docs/a.pdf", THREE)
    first = own.session.ask("GET", "/api/v1/entry", path=f"{own.base}/docs/a.pdf").json()
    own.put("/docs/a.pdf", pdf_of((100, 100)))
    by_path, by_id = {"path": f"{own.base}/docs/a.pdf"}, {"id": first["id"], "namespace": first["namespace"]}
    for query, count in ((by_path, 1), (by_id, 1), ({**by_id, "rev": first["rev"]}, 3)):
        told = own.session.ask("GET", "/api/v1/content/pages", **query).json()
        assert (told["count"], len(told["sizes"])) == (count, count)
    answer = own.session.ask("GET", "/api/v1/content/page", **by_id, rev=first["rev"], page=2, width="small")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/webp")
    assert Image.open(io.BytesIO(answer.body)).size == (800, 600)
    again = ask(
        *(own.session.url, "GET", "/api/v1/content/page"),
        token=own.session.token,
        query={**by_id, "rev": first["rev"], "page": 2, "width": "small"},
        headers={"If-None-Match": answer.headers["etag"]},
    )
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("name", ["a.txt", "no.pdf", "empty.pdf"])
def test_what_has_no_pages_says_so(own: Maker, name: str) -> None:
    own.put("/docs/no.pdf", b"%PDF-1.4 but no more")
    own.put("/docs/empty.pdf", b"")
    reason = {"a.txt": "kind", "no.pdf": "unreadable", "empty.pdf": "kind"}[name]
    for route in ("pages", "page"):
        for _ in range(2):
            told = own.session.ask("GET", f"/api/v1/content/{route}", path=f"{own.base}/docs/{name}")
            assert (told.status, told.json()["error"]["fields"]["reason"]) == (400, reason)


def test_a_page_that_is_not_there_and_no_width_are_refused(own: Maker) -> None:
    own.put("/docs/a.pdf", THREE)
    for query, status in (({"page": 4}, 400), ({"page": 0}, 400), ({"width": "9000"}, 400), ({"rev": 99}, 404)):
        asked = {"path": f"{own.base}/docs/a.pdf", **query}
        assert own.session.ask("GET", "/api/v1/content/page", **asked).status == status, query


def test_looking_through_a_link_counts_once_and_ends_with_it(own: Maker) -> None:
    own.put("/docs/a.pdf", THREE)
    link = own.link("/docs/a.pdf", downloads_max=1)
    token = link["token"]
    unknown = same(public(own, "A" * 43, "/content/page"))
    # Nobody is given a page without having been counted.
    assert same(public(own, token, "/content/page", page=1)) == unknown
    told = public(own, token, "/content/pages")
    assert (told.status, told.json()["count"]) == (200, 3)
    key = {"Satchel-Download-Key": told.headers["satchel-download-key"]}

    def page(number: int, headers: dict[str, str]) -> int:
        route = f"/api/v1/public/{token}/content/page?page={number}&width=small"
        return ask(own.session.url, "GET", route, headers=headers).status

    assert [page(number, key) for number in (1, 2, 3, 1)] == [200] * 4
    cookie = {"Cookie": told.headers["set-cookie"].partition(";")[0]}
    assert page(1, cookie) == 200
    assert own.shown(link)["downloads"] == 1
    assert page(1, {}) == 404
    assert public(own, token, "/content/pages").status == 404
    assert own.session.ask("DELETE", f"/api/v1/links/{link['id']}").status == 204
    assert page(1, key) == 404


def test_a_link_without_downloads_shows_pages(own: Maker) -> None:
    own.put("/docs/a.pdf", THREE)
    token = own.link("/docs", is_no_download=True)["token"]
    for route in ("/content/pages", "/content/page"):
        assert public(own, token, route, id=own.ids["/docs/a.pdf"]).status == 200
        assert public(own, token, route, id=own.ids["/docs"]).status == 404
        assert public(own, token, route, id=own.ids["/docs/a.txt"]).status == 400


def test_pages_end_with_the_right_to_read(server: RunningServer, own: Maker) -> None:
    own.put("/docs/a.pdf", THREE)
    user = server.add_user(f"friend {own.base.rpartition('/')[2]}")
    friend = user.sign_in()
    shared = own.session.ask(
        "POST", "/api/v1/shares", {"path": f"{own.base}/docs", "with": [{"user": user.name, "role": "viewer"}]}
    ).json()["id"]
    entry = own.session.ask("GET", "/api/v1/entry", path=f"{own.base}/docs/a.pdf").json()
    named = {"id": entry["id"], "namespace": entry["namespace"], "width": "small"}
    asked = ("/api/v1/content/pages", "/api/v1/content/page")
    assert [friend.ask("GET", route, **named).status for route in asked] == [404, 404]
    assert friend.ask("POST", f"/api/v1/share-invitations/{shared}/accept").status == 200
    assert [friend.ask("GET", route, **named).status for route in asked] == [200, 200]
    account = friend.account_id.hex()
    assert own.session.ask("DELETE", f"/api/v1/shares/{shared}/members/{account}").status in (200, 204)
    # What is kept is no more for them than what would have to be drawn.
    assert [friend.ask("GET", route, **named).status for route in asked] == [404, 404]


def test_the_oldest_pages_are_dropped_and_no_small_picture_for_them(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db, MemoryBlocks())
        owner = await world.owner()
        await world.save(owner, None, b"data")
        ns, content = NamespaceId(owner.ns), content_of(b"data").content_hash
        kinds = [("pdf", 128, 0), *(("page", 800, page) for page in range(4))]
        for at, (kind, edge, page) in enumerate(kinds):
            await keep_picture(db, ns, content, kind, edge, Picture(b"%d" % at, ""), now_ms=at, page=page)
        assert (await drop_thumbnails(db, world.clock, pages_kept_max=2)).done == {"thumbnails": 2}
        left = [await kept_picture(db, ns, content, *which) for which in kinds]
        assert [picture and picture.body for picture in left] == [b"0", None, None, b"3", b"4"]

    run(scenario)
