"""The web app as the server gives it out: built, compressed, kept by browsers, under a policy that runs no other."""

import gzip
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.core.limits import KIB
from satchel.server.gateway.web import FOLDER, PAGES
from tests.support.api_types import TARGET, typescript
from tests.support.server import RunningServer, ask, running_server

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "web"))

from build_web import build  # type: ignore[import-not-found]  # noqa: E402

FIRST_PAGE_BYTES_MAX = 200 * KIB
POLICY = "default-src 'self'"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    build()
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def assets(server: RunningServer) -> list[str]:
    page = ask(server.url, "GET", "/").body.decode()
    return re.findall(r'(?:src|href)="(/[^"]+)"', page)


@pytest.mark.parametrize(
    "path", ["/", "/files", "/files/a/b%20c", "/sign-in", "/setup", "/trash", "/device", "/devices"]
)
def test_every_page_of_the_app_is_its_one_document(server: RunningServer, path: str) -> None:
    answer = ask(server.url, "GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/nothing", "/assets/nothing.js", "/assets/../index.html", "/static/index.html"])
def test_what_is_no_page_of_the_app_is_not_found(server: RunningServer, path: str) -> None:
    assert ask(server.url, "GET", path).status == 404


@pytest.mark.parametrize("path", ["/api/v1/account", "/s/nothing", "/sync/longpoll?cursor=x", "/api/v1/nothing"])
def test_the_service_answers_its_own_routes_as_before(server: RunningServer, path: str) -> None:
    answer = ask(server.url, "GET", path)
    assert answer.status in (401, 404)
    assert "error" in answer.json()
    assert "sandbox" in answer.headers["content-security-policy"]


def test_the_policy_runs_our_own_scripts_alone(server: RunningServer) -> None:
    for path in ["/", *assets(server)]:
        headers = ask(server.url, "GET", path).headers
        policy = headers["content-security-policy"].split("; ")
        assert headers["x-content-type-options"] == "nosniff"
        assert {POLICY, "object-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_the_document_holds_no_script_or_style_of_its_own(server: RunningServer) -> None:
    page = ask(server.url, "GET", "/").body.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?://", page) == []


def test_named_files_are_kept_for_ever_and_come_compressed(server: RunningServer) -> None:
    named = [path for path in assets(server) if path.startswith("/assets/")]
    assert len(named) >= 2
    for path in named:
        plain = ask(server.url, "GET", path)
        packed = ask(server.url, "GET", path, headers={"Accept-Encoding": "gzip"})
        smallest = ask(server.url, "GET", path, headers={"Accept-Encoding": "gzip, br"})
        assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert gzip.decompress(packed.body) == plain.body
        assert (packed.headers["content-encoding"], smallest.headers["content-encoding"]) == ("gzip", "br")
        assert "accept-encoding" in packed.headers["vary"]


def test_a_browser_that_has_the_document_is_not_sent_it_again(server: RunningServer) -> None:
    first = ask(server.url, "GET", "/")
    again = ask(server.url, "GET", "/files", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    head = ask(server.url, "HEAD", "/")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(first.body)))


def test_the_first_page_is_small(server: RunningServer) -> None:
    size = sum(
        len(ask(server.url, "GET", path, headers={"Accept-Encoding": "gzip"}).body) for path in ["/", *assets(server)]
    )
    assert size <= FIRST_PAGE_BYTES_MAX


def test_nothing_is_built_again_while_the_sources_are_the_same(server: RunningServer) -> None:
    assert not build()
    assert (FOLDER / "index.html").exists()


def test_app_and_server_know_the_same_pages() -> None:
    told = (ROOT / "web" / "src" / "state" / "route.svelte.ts").read_text()
    listed = re.search(r"PAGES = \[(.*?)\]", told)
    assert listed is not None
    assert set(re.findall(r"'([^']*)'", listed[1])) == PAGES


def test_the_types_of_the_app_are_those_of_the_service(server: RunningServer) -> None:
    told = ask(server.url, "GET", "/api/v1/openapi.json").json()
    assert TARGET.read_text() == typescript(told), "run: make api-types"


def test_a_cursor_of_now_tells_only_what_comes_after(server: RunningServer) -> None:
    session = server.add_user("cursor").sign_in()
    assert session.ask("PUT", "/api/v1/content", b"a", path="/before.txt").status == 200
    cursor = session.ask("GET", "/api/v1/sync/latest").json()["cursor"]
    assert session.ask("GET", "/api/v1/sync", cursor=cursor).json()["entries"] == []
    assert session.ask("PUT", "/api/v1/content", b"b", path="/after.txt").status == 200
    told = session.ask("GET", "/api/v1/sync", cursor=cursor).json()
    assert [entry["path"] for entry in told["entries"]] == ["/after.txt"]


def test_a_lock_file_names_no_host() -> None:
    for folder in ("web", "tests/browser"):
        lock = (ROOT / folder / "package-lock.json").read_text()
        assert '"resolved"' not in lock
        assert '"integrity"' in lock


def test_the_worker_is_looked_at_anew_and_knows_every_file_of_the_app(server: RunningServer) -> None:
    answer = ask(server.url, "GET", "/sw.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert {"worker-src 'self'", "manifest-src 'self'"} <= set(answer.headers["content-security-policy"].split("; "))
    told = answer.body.decode()
    assert "{{" not in told
    listed = re.search(r'"(/[^"]*/index\.html)"\.split', told)
    assert listed is not None
    files = listed[1].split()
    for path in files:
        assert ask(server.url, "GET", path).status == 200, path
    assert set(assets(server)) - {"/icon-192.png"} <= set(files)
    # Whatever the app may ask for later; of the page of links only what both use.
    lazy = {f"/assets/{path.name}" for path in (FOLDER / "assets").iterdir() if path.suffix in (".js", ".css")}
    assert {path.partition("-")[0] for path in lazy - set(files)} <= {"/assets/link", "/assets/Secret"}


def test_the_manifest_names_icons_of_the_sizes_that_they_have(server: RunningServer) -> None:
    answer = ask(server.url, "GET", "/app.webmanifest")
    assert answer.headers["content-type"] == "application/manifest+json"
    told = answer.json()
    assert (told["id"], told["scope"], told["display"]) == ("/", "/", "standalone")
    assert ask(server.url, "GET", told["start_url"]).status == 200
    purposes = set()
    for icon in told["icons"]:
        found = ask(server.url, "GET", icon["src"])
        assert (found.status, found.headers["content-type"]) == (200, icon["type"])
        purposes.add((icon["sizes"], icon.get("purpose", "any")))
        if icon["type"] == "image/png":
            width, height = (int.from_bytes(found.body[at : at + 4], "big") for at in (16, 20))
            assert icon["sizes"] == f"{width}x{height}"
    assert {("192x192", "any"), ("512x512", "any"), ("512x512", "maskable")} <= purposes
