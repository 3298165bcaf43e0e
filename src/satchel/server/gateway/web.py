"""The web app's files, as the package's build made them. Invariant: nothing is served but what was built, with a policy
that runs no script and loads nothing but our own.

All of it is read once, at the start: it is small, and so no path of a request ever reaches the file system. Pages that
the app shows by itself (`/files/…`) are answered with its one page; a link (`/s/…`) with the page of links where it is
asked for by a browser, while programs get what the link is. The service worker stands at an address of its own, so that
its scope is all of the app, and is looked at anew each time. Source: docs/design/060 (5).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from satchel.server.gateway.raw import Receive, Scope, Send, header, respond
from satchel.server.gateway.tally import ROUTE

FOLDER = Path(__file__).parent / "static"
PAGE = "/index.html"
LINK_PAGE = "/link.html"
"""Of whoever holds a link. It is the same for each token, so it tells nobody which ones there are."""
PAGES = frozenset({"", "setup", "sign-in", "files", "trash", "device", "devices"}) | frozenset(
    {"invitation", "search", "settings", "admin", "activity", "rewind", "conflicts", "shared", "offline"}
)
"""The first part of every address that the app has a page for; its own list stands in web/src/state/route.svelte.ts."""
LINKS = "s"
"""The first part of a link's address, which a token follows."""
POLICY = "; ".join(
    (
        "default-src 'self'",
        # Previews are made from bytes that the page fetched, under a type of the safe list.
        *("img-src 'self' blob:", "media-src 'self' blob:", "worker-src 'self'", "manifest-src 'self'"),
        *("object-src 'none'", "frame-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"),
    )
)
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]
_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
    ".woff2": b"font/woff2",
    ".webmanifest": b"application/manifest+json",
}
_CODINGS = ((b"br", ".br"), (b"gzip", ".gz"))
_FOREVER = b"public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """One file of the app: its bytes as they are, and compressed by each coding's name."""

    media_type: bytes
    tag: bytes
    is_immutable: bool
    plain: bytes
    coded: dict[bytes, bytes]


class WebApp:
    """ASGI application that answers with the built files."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {f"/{path.relative_to(folder).as_posix()}": _read(path, folder) for path in _found(folder)}

    @property
    def is_built(self) -> bool:
        """Whether there is an app at all: a copy of the sources runs without."""
        return PAGE in self._files

    def answers(self, scope: Scope) -> bool:
        """Tell whether a request is for a file or a page of the app."""
        return scope["method"] in ("GET", "HEAD") and self.is_built and self._named(scope) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that `answers` said yes to."""
        name = self._named(scope) or PAGE
        file = self._files[name]
        scope[ROUTE] = "/" if name in (PAGE, LINK_PAGE) else "/assets"
        headers = [
            (b"etag", file.tag),
            (b"cache-control", _FOREVER if file.is_immutable else b"no-cache"),
            (b"vary", b"accept, accept-encoding" if name == LINK_PAGE else b"accept-encoding"),
        ]
        if header(scope["headers"], b"if-none-match") == file.tag:
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        body, coding = _chosen(file, header(scope["headers"], b"accept-encoding"))
        if coding:
            headers.append((b"content-encoding", coding))
        headers.append((b"content-type", file.media_type))
        if scope["method"] == "HEAD":
            headers.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        await respond(send, 200, headers, [body])

    def _named(self, scope: Scope) -> str | None:
        path: str = scope["path"]
        if path in self._files:
            return path
        first, _, rest = path[1:].partition("/")
        if first == LINKS and rest and "/" not in rest and b"text/html" in header(scope["headers"], b"accept"):
            return LINK_PAGE
        return PAGE if first in PAGES else None


def _found(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in _TYPES]


def _read(path: Path, folder: Path) -> BuiltFile:
    plain = path.read_bytes()
    coded = {
        name: beside.read_bytes() for name, end in _CODINGS if (beside := path.with_name(path.name + end)).exists()
    }
    tag = b'"%s"' % hashlib.sha256(plain).hexdigest()[:32].encode()
    # Names below `assets/` hold a digest of what is in them.
    return BuiltFile(_TYPES[path.suffix], tag, path.parent == folder / "assets", plain, coded)


def _chosen(file: BuiltFile, accepted: bytes) -> tuple[bytes, bytes]:
    """Return the smallest body that the other side takes, and its coding, empty for none."""
    taken = {part.partition(b";")[0].strip() for part in accepted.split(b",") if b"q=0" not in part.replace(b" ", b"")}
    for name, _ in _CODINGS:
        if name in taken and name in file.coded:
            return file.coded[name], name
    return file.plain, b""
