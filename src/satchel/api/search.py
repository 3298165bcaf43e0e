"""The REST routes of searches, typed. Source: docs/use/search.md."""

from __future__ import annotations

import msgspec

from satchel.device.api import Api


class FoundItem(msgspec.Struct, frozen=True):
    """A file or folder that was found. fits: exact, prefix, word or part; matches: starts and ends in the name."""

    id: str
    path: str
    name: str
    kind: str
    size: int
    mtime_ns: int
    fits: str
    matches: list[tuple[int, int]]


class FoundItems(msgspec.Struct, frozen=True):
    """A page of them. is_all: there are no more on any page; is_complete: the index knew all names."""

    items: list[FoundItem]
    after: str
    is_all: bool
    is_complete: bool


class FoundText(msgspec.Struct, frozen=True):
    """A file in whose text the words stand. matches: starts and ends in the snippet."""

    namespace: str
    id: str
    path: str
    name: str
    size: int
    mtime_ns: int
    rev: int
    snippet: str
    matches: list[tuple[int, int]]


class FoundTexts(msgspec.Struct, frozen=True):
    """A page of them. is_complete: all documents were read."""

    items: list[FoundText]
    after: str
    is_all: bool
    is_complete: bool


class SearchCalls(Api):
    """The service's REST interface, with searches."""

    async def search(self, question: str, folder: str, limit: int, after: str = "") -> FoundItems:
        """Return a page of what is called so beneath a folder. Raises: NotFound, MessageInvalid."""
        params = {"q": question, "path": folder, "limit": str(limit), "after": after}
        return await self._ask("GET", "/api/v1/search", FoundItems, params)

    async def search_texts(self, question: str, folder: str, limit: int, after: str = "") -> FoundTexts:
        """Return a page of the files that say so, beneath a folder. Raises: NotFound, MessageInvalid."""
        params = {"q": question, "path": folder, "limit": str(limit), "after": after}
        return await self._ask("GET", "/api/v1/search/text", FoundTexts, params)
