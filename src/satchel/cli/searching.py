"""`satchel search`: files by what stands in them. Invariant: what the server left out is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import output, session
from satchel.core.errors import NotFound
from satchel.core.limits import SEARCH_HITS_MAX

if TYPE_CHECKING:
    from satchel.api import FoundTexts

SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(search)


def search(
    words: Annotated[list[str], typer.Argument(help="Words that all stand in the file, or begin a word of it.")],
    inside: Annotated[str, typer.Option("--in", help="A remote folder, or a path in a linked folder.")] = "/",
    limit: Annotated[int, typer.Option("--limit", min=1, max=SEARCH_HITS_MAX, help="How many at most.")] = SHOWN,
) -> None:
    """Find files on the server by what stands in them: texts, PDF, office documents; the last changed first."""
    question, folder = " ".join(words), session.remote_path(inside)
    page = session.run(_found(question, folder, limit))
    output.give(page.items, text="\n".join(f"{item.path}\n    {item.snippet}" for item in page.items))
    if page.after or not page.is_all:
        output.note(f"Only {len(page.items)} are shown: --limit, or say more words.")
    if not page.is_complete:
        output.note("Some documents were not read yet; ask again a little later.")
    if not page.items:
        raise NotFound(f"No document below {folder} has {question}.", path=folder)


async def _found(question: str, folder: str, limit: int) -> FoundTexts:
    async with session.api() as api:
        return await api.search_texts(question, folder, limit)
