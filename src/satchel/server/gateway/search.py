"""REST: search by name, and in texts. Invariant: only what the caller may read at this moment is found, counted or
hinted at.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.params import Parameter

from satchel.core.entries import Kind
from satchel.core.errors import MessageInvalid
from satchel.core.limits import SEARCH_HITS_MAX
from satchel.core.paths import name_key
from satchel.server.gateway.rest import KINDS, Asked, principal_of, services_of
from satchel.server.search.grams import Rank, matches_of, question_of
from satchel.server.search.looking import TextHit, search_texts, snippets_of
from satchel.server.search.names import Hit, Wanted, search_names
from satchel.server.search.scopes import places_at
from satchel.server.search.words import Snippet, asked_words

PAGE = 50
_Page = Annotated[int, Parameter(ge=1, le=SEARCH_HITS_MAX)]
_MS_MAX = 2**43
_NS_PER_MS = 1_000_000
_KINDS = {name: Kind(kind) for kind, name in KINDS.items()}


class Found(msgspec.Struct, frozen=True):
    """A file or folder whose name fits. path: in one's own tree; namespace: the one that its id is of. fits: exact,
    prefix, word or part. matches: where the words stand in the name, as starts and ends in characters; empty where that
    is not known."""

    namespace: str
    id: str
    path: str
    name: str
    kind: str
    size: int
    mtime_ns: int
    rev: int
    fits: str
    matches: list[tuple[int, int]]


class FoundPage(msgspec.Struct, frozen=True):
    """A page of what was found, the best first, of those the newest. after: give it to get the next page; empty at the
    end. is_all: the pages hold all there is. is_complete: all names were looked at; if not, ask again a little later.
    """

    items: list[Found]
    after: str
    is_all: bool
    is_complete: bool


class FoundText(msgspec.Struct, frozen=True):
    """A file in whose text all words stand. path: in one's own tree; namespace: the one that its id is of. snippet: a
    piece of the text, on one line; matches: where the words stand in it, as starts and ends in characters."""

    namespace: str
    id: str
    path: str
    name: str
    size: int
    mtime_ns: int
    rev: int
    snippet: str
    matches: list[tuple[int, int]]


class FoundTextPage(msgspec.Struct, frozen=True):
    """A page of what was found, the file that was changed last first. after, is_all: as of a search by name.
    is_complete: all documents were read; if not, ask again a little later."""

    items: list[FoundText]
    after: str
    is_all: bool
    is_complete: bool


@get("/api/v1/search")
async def search(
    request: Asked,
    q: str,
    path: str = "/",
    kind: Literal["file", "folder", "symlink", ""] = "",
    extension: str = "",
    modified_from_ms: int | None = None,
    modified_until_ms: int | None = None,
    after: str = "",
    limit: _Page = PAGE,
) -> FoundPage:
    """Find files and folders by name: each word of `q` is to be in it, at the beginning of a word, or anywhere when it
    has three characters or more. Beneath the folder at `path`, in shared folders there too; of one kind, one
    extension, a time of change.
    """
    services, principal = services_of(request), await principal_of(request)
    skipped = _skipped(after)
    wanted = Wanted(
        question_of(q),
        _KINDS[kind] if kind else None,
        name_key(extension.removeprefix(".").replace("\0", "").encode(errors="replace").decode()),
        _ns_of(modified_from_ms, what="modified_from_ms"),
        _ns_of(modified_until_ms, what="modified_until_ms"),
    )
    places = await places_at(services.db, principal, path)
    found = await search_names(services.db, principal, places, wanted)
    page, last = found.hits[skipped : skipped + limit], skipped + limit
    shown = [_shown(hit, wanted) for hit in page]
    return FoundPage(shown, str(last) if last < len(found.hits) else "", found.is_all, found.is_complete)


@get("/api/v1/search/text")
async def search_in_texts(
    request: Asked, q: str, path: str = "/", after: str = "", limit: _Page = PAGE
) -> FoundTextPage:
    """Find files by what stands in them: text, PDF, Word, Excel, PowerPoint and OpenDocument files that have each word
    of `q`, or a word that begins so when it has three characters or more. Beneath the folder at `path`, in shared
    folders there too.
    """
    services, principal = services_of(request), await principal_of(request)
    skipped, words = _skipped(after), asked_words(q)
    places = await places_at(services.db, principal, path)
    found = await search_texts(services.db, principal, places, words)
    page, last = found.hits[skipped : skipped + limit], skipped + limit
    snippets = await snippets_of(services.db, services.workers, page, words)
    shown = [_text_shown(hit, snippet) for hit, snippet in zip(page, snippets, strict=True)]
    return FoundTextPage(shown, str(last) if last < len(found.hits) else "", found.is_all, found.is_complete)


def _skipped(after: str) -> int:
    """Return how many hits were given out before. Raises: MessageInvalid."""
    if not after:
        return 0
    if not after.isascii() or not after.isdigit() or int(after[:9]) > SEARCH_HITS_MAX:
        raise MessageInvalid("The token names no place in what was found.", reason="after")
    return int(after[:9])


def _ns_of(at_ms: int | None, *, what: str) -> int | None:
    """Return a time in ns. Raises: MessageInvalid."""
    if at_ms is None:
        return None
    if not 0 <= at_ms <= _MS_MAX:
        raise MessageInvalid("This is no time in ms.", reason=what)
    return at_ms * _NS_PER_MS


def _shown(hit: Hit, wanted: Wanted) -> Found:
    node = hit.node
    return Found(
        namespace=hit.ns.hex(),
        id=node.node_id.hex(),
        path=hit.path,
        name=node.name,
        kind=KINDS[node.kind],
        size=node.size,
        mtime_ns=node.mtime_ns,
        rev=node.content_rev,
        fits=Rank(hit.rank).name.lower(),
        matches=matches_of(wanted.question, node.name),
    )


def _text_shown(hit: TextHit, snippet: Snippet) -> FoundText:
    node = hit.node
    return FoundText(
        namespace=hit.place.ns.hex(),
        id=node.node_id.hex(),
        path=hit.path,
        name=node.name,
        size=node.size,
        mtime_ns=node.mtime_ns,
        rev=node.content_rev,
        snippet=snippet.text,
        matches=snippet.matches,
    )


ROUTES = (search, search_in_texts)
