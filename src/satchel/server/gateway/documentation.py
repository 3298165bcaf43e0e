"""REST about itself: its description, and the page that shows it. Invariant: made once, and told to anyone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec
from litestar import Litestar, Response, get

from satchel.server.gateway import docs_page
from satchel.server.gateway.describing import describe
from satchel.server.gateway.rest import Asked, services_of
from satchel.server.ports import Workers

_CACHED = "public, max-age=300"


@dataclass(frozen=True, slots=True)
class _Made:
    """A document as it is sent. tag: names its bytes."""

    body: bytes
    media_type: str
    tag: str

    def answer(self, request: Asked) -> Response[bytes]:
        told = {"etag": self.tag, "cache-control": _CACHED}
        if request.headers.get("if-none-match") == self.tag:
            return Response(b"", status_code=304, headers=told)
        return Response(self.body, headers=told, media_type=self.media_type)


class Documents:
    """Both documents of an application, made when somebody asks for the first time."""

    def __init__(self) -> None:
        self._made: tuple[_Made, _Made] | None = None

    async def of(self, app: Litestar, workers: Workers) -> tuple[_Made, _Made]:
        """Return the description and the page."""
        if self._made is None:
            self._made = await workers.run(lambda: self._make(app))
        return self._made

    def _make(self, app: Litestar) -> tuple[_Made, _Made]:
        told = describe(app)
        described, shown = msgspec.json.encode(told), docs_page.page(told)
        return _made(described, "application/json"), _made(shown, "text/html")


@get("/api/v1/openapi.json", include_in_schema=False, public=True)
async def description(request: Asked) -> Response[bytes]:
    """Give the description of REST, OpenAPI 3.1."""
    return (await _documents(request))[0].answer(request)


@get(docs_page.PATH, include_in_schema=False, public=True)
async def page(request: Asked) -> Response[bytes]:
    """Show the description as a page."""
    return (await _documents(request))[1].answer(request)


async def _documents(request: Asked) -> tuple[_Made, _Made]:
    documents: Documents = request.app.state.documents
    return await documents.of(request.app, services_of(request).workers)


def _made(body: bytes, media_type: str) -> _Made:
    return _Made(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


ROUTES = (description, page)
