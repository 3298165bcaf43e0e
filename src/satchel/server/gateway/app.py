"""The one door: devices, programs and people. Invariant: every answer carries the headers that keep content harmless.

The device protocol is answered before the framework; REST with its documentation is litestar's.
Source: docs/design/050.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from satchel.core.limits import JSON_BODY_BYTES_MAX
from satchel.server.gateway import (
    account,
    conflicts,
    content,
    diffing,
    documentation,
    files,
    health,
    history,
    link_pages,
    link_writes,
    overseeing,
    paged,
    rewinding,
    shares,
    sync,
    texts,
    thumbnails,
    uploads,
    uploads_known,
    webhooks,
    zipping,
)
from satchel.server.gateway import app_passwords as app_passwords_room
from satchel.server.gateway import device_codes as device_codes_room
from satchel.server.gateway import groups as groups_room
from satchel.server.gateway import invitations as invitations_room
from satchel.server.gateway import links as made_links
from satchel.server.gateway import oidc as oidc_room
from satchel.server.gateway import people as people_room
from satchel.server.gateway import search as found_names
from satchel.server.gateway import second_factor as second_factor_room
from satchel.server.gateway import sessions as sessions_room
from satchel.server.gateway import setup as setup_room
from satchel.server.gateway.device import PREFIX, DeviceApp
from satchel.server.gateway.docs_page import PATH as DOCS_PATH
from satchel.server.gateway.docs_page import POLICY as DOCS_POLICY
from satchel.server.gateway.documentation import Documents
from satchel.server.gateway.raw import HELD, Disconnected, Receive, Scope, Send, patient
from satchel.server.gateway.repeating import Repeating
from satchel.server.gateway.rest import answer_fault
from satchel.server.gateway.services import Services
from satchel.server.gateway.tally import REQUEST_ID_BYTES, tallied
from satchel.server.gateway.web import HEADERS as WEB_HEADERS
from satchel.server.gateway.web import WebApp
from satchel.server.gateway.webdav.app import WebdavApp, is_webdav
from satchel.server.logs import begin_request

SAFE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
ROOMS = (
    *(account, files, content, history, diffing, rewinding, conflicts, sync, health, shares),
    *(uploads, uploads_known, webhooks, zipping),
    *(made_links, link_pages, link_writes),
    *(found_names, texts, thumbnails, paged, overseeing),
    *(
        setup_room,
        oidc_room,
        invitations_room,
        sessions_room,
        app_passwords_room,
        second_factor_room,
        device_codes_room,
        groups_room,
        people_room,
    ),
)
PAGE_HEADERS = [*SAFE_HEADERS[:1], (b"content-security-policy", DOCS_POLICY.encode()), *SAFE_HEADERS[2:]]
"""Of the documentation: its own style is allowed, and nothing else."""
CLOSING = (b"connection", b"close")
"""A process that is about to stop has its answers taken elsewhere next time."""
_VERSION = "1"


class Gateway:
    """ASGI application of the service."""

    def __init__(self, services: Services) -> None:
        self._services = services
        is_gateway = "gateway" in services.settings.roles
        self._device = DeviceApp(services) if is_gateway else None
        self._webdav = WebdavApp(services) if is_gateway else None
        self._web = WebApp() if is_gateway else None
        self._rest = rest_app(services, ROOMS if is_gateway else (health,))
        self._repeating = Repeating(services, self._rest)  # type: ignore[arg-type]  # litestar's names for these shapes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, one stream, or the server's own lifespan."""
        if scope["type"] == "lifespan":
            await self._rest(scope, receive, send)  # type: ignore[arg-type]  # litestar's own names for these shapes
            return
        services, number = self._services, self._services.clock.random(REQUEST_ID_BYTES).hex()
        is_device = self._device is not None and scope["path"].startswith(PREFIX)
        if scope["type"] == "http":
            app = self._device if is_device and self._device is not None else self._answer
            if self._webdav is not None and is_webdav(scope["path"]):
                app = self._webdav
            headers = [] if is_device else PAGE_HEADERS if scope["path"] == DOCS_PATH else SAFE_HEADERS
            if self._web is not None and self._web.answers(scope):
                app, headers = self._web, WEB_HEADERS
            if services.readiness.is_draining:
                headers = [*headers, CLOSING]
            await tallied(app, services.counters, number, headers, scope, receive, send)
        elif self._device is not None and is_device:
            begin_request(number)
            await self._device(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(Disconnected), contextlib.ExitStack() as held:
            scope[HELD] = held
            await self._repeating(scope, receive, patient(send))


async def signed_in(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard of every route that does not call itself public: no body is read for someone without a token, and no
    account has too many requests at work; those that wait for changes are counted among the streams."""
    if handler.opt.get("public"):
        return
    services: Services = connection.app.state.services
    principal = await services.identity.of_scope(connection.scope)  # type: ignore[arg-type]  # as above
    held = connection.scope.get(HELD)
    if isinstance(held, contextlib.ExitStack) and not handler.opt.get("waits"):
        is_transfer = bool(handler.opt.get("transfers"))
        held.enter_context(services.room.working(principal.account_id, is_transfer=is_transfer))


def rest_app(services: Services, rooms: Sequence[ModuleType] = ROOMS) -> Litestar:
    """Return the REST application of these rooms."""
    return Litestar(
        route_handlers=[*documentation.ROUTES, *(handler for room in rooms for handler in room.ROUTES)],
        guards=[signed_in],
        exception_handlers={Exception: answer_fault},
        state=State({"services": services, "documents": Documents()}),
        request_max_body_size=JSON_BODY_BYTES_MAX,
        openapi_config=OpenAPIConfig(
            title="Satchel",
            version=_VERSION,
            # The framework answers for all below this path, in HTML; ours is the route above.
            path="/api/v1/schema",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        logging_config=None,
        pdb_on_exception=False,
        debug=False,
    )
