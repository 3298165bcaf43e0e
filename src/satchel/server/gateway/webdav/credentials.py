"""Who a WebDAV request comes from: HTTP Basic with an app password or a device's token, or a bearer's token.

Invariant: no password crosses a network in the clear, and wrong ones are paid for. Clients send the password with each
request: neither kind costs more than a look. Source: docs/design/060 (2, 4, 9).
"""

from __future__ import annotations

import base64
import binascii

from satchel.core.errors import Unauthenticated
from satchel.core.paths import name_key
from satchel.server.accounts.app_passwords import authenticate_basic
from satchel.server.accounts.guesses import Guessed, pay
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.identity import TOKEN_CHARS_MAX
from satchel.server.gateway.raw import Scope, header
from satchel.server.gateway.services import Services

USER_CHARS_MAX = 1_024
TOKEN_CHARS_MIN = 40
"""App passwords are shorter, devices' tokens longer."""
_WRONG = "The name or the app password is wrong."
_LOOPBACK = ("127.", "::1", "localhost")


class Credentials:
    """Turns a request's credentials into a principal."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def of(self, scope: Scope) -> Principal:
        """Return who asks. Raises: Unauthenticated, TooManyRequests."""
        told = header(scope["headers"], b"authorization")
        scheme, _, rest = told.partition(b" ")
        if scheme.lower() == b"bearer":
            return await self._services.identity.of(scope["headers"])
        if scheme.lower() != b"basic":
            raise Unauthenticated("This needs a name and an app password.")
        if not self._is_private(scope):
            raise Unauthenticated("A password is taken over HTTPS only.")
        user, password = _read(rest.strip())
        client = scope.get("client")
        return await self._authenticate(user, password, client[0] if client else "")

    async def _authenticate(self, user: str, password: str, address: str) -> Principal:
        """Return whose password this is. Raises: Unauthenticated, TooManyRequests."""
        services = self._services
        if len(password) < TOKEN_CHARS_MIN:
            return await authenticate_basic(
                services.db, services.state, services.clock, user=user, password=password, from_address=address
            )
        try:
            principal = await services.identity.of_token(password)
            if name_key(principal.account_name) != name_key(user):
                raise Unauthenticated(_WRONG)
        except Unauthenticated:
            await pay(services.state, Guessed.APP_PASSWORD, address=address, subject=name_key(user))
            raise
        return principal

    def _is_private(self, scope: Scope) -> bool:
        settings = self._services.settings
        return bool(
            scope.get("scheme") == "https"
            or settings.tls_key
            or settings.behind_proxy
            or settings.host.startswith(_LOOPBACK)
        )


def _read(encoded: bytes) -> tuple[str, str]:
    """Return name and password of a Basic header. Raises: Unauthenticated."""
    try:
        user, between, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Unauthenticated(_WRONG) from error
    if not between or not user or len(user) > USER_CHARS_MAX or not 0 < len(password) <= TOKEN_CHARS_MAX:
        raise Unauthenticated(_WRONG)
    return user, password
