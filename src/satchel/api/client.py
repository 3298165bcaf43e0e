"""All routes that have a method, in one class. Invariant: what asks is `device.api`; here are only words and types."""

from __future__ import annotations

from satchel.api.links import LinkCalls
from satchel.api.search import SearchCalls
from satchel.api.shares import ShareCalls
from satchel.api.uploads import UploadCalls


class Client(LinkCalls, SearchCalls, ShareCalls, UploadCalls):
    """One session with one server. `Client(url)` before `login`, which tells the token; then `Client(url, token)`.

    Use it as `async with Client(url, token) as client`. Redirects are not followed; the token goes to no other place.
    """
