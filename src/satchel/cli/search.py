"""`satchel find --server` and `satchel admin search`. Invariant: what the server left out is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from satchel.cli import output, session
from satchel.cli.administering import Config, Data, administer, server_settings
from satchel.core.errors import NotFound
from satchel.core.limits import SEARCH_HITS_MAX

if TYPE_CHECKING:
    from satchel.api import FoundItem

index = typer.Typer(help="The index that searches ask.", no_args_is_help=True)


def register(admin: typer.Typer) -> None:
    """Add the commands of this file."""
    # The whole program may be put together more than once in a process.
    if not any(group.name == "search" for group in admin.registered_groups):
        admin.add_typer(index, name="search")


@index.callback()
def _index() -> None:
    """Keep the group a group, with one command too."""


@index.command("rebuild")
def rebuild(data: Data = None, config: Config = None) -> None:
    """Make the index of names anew, and read documents that have no text in the index; searches go on meanwhile."""
    told = administer(server_settings({"data": data}, config), "search.rebuild", {})
    assert isinstance(told, dict)
    output.give(told, text=f"{told['names']:,} names looked at, {told['documents']:,} documents read.")


def found_by_server(question: str, folder: str, limit: int) -> None:
    """Print what the server's index finds. Raises: NotFound when that is nothing."""
    found, is_all, is_complete = session.run(_found(question, folder, min(limit, SEARCH_HITS_MAX)))
    output.give(found, text="\n".join(item.path for item in found))
    if not is_all or len(found) == limit:
        output.note(f"Only the best {len(found)} are shown; say more of the name.")
    if not is_complete:
        output.note("The server's index is being made; ask again a little later.")
    if not found:
        raise NotFound(f"Nothing below {folder} is called {question}.", path=folder)


async def _found(question: str, folder: str, limit: int) -> tuple[list[FoundItem], bool, bool]:
    async with session.api() as api:
        page = await api.search(question, folder, limit)
        return page.items, page.is_all and not page.after, page.is_complete
