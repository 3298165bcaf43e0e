"""`satchel share add|list|leave|…`: folders with people. Invariant: no command here deletes a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from satchel.cli import output, session, share_links
from satchel.core.errors import Fault, NotFound

if TYPE_CHECKING:
    from satchel.api import Client, Invitation, Person, Share

PATH_HELP = "The shared folder: a remote path, or a path in a linked folder."
USER_HELP = "The account's name."
NAME_HELP = "The folder's name, or the beginning of its id, as 'satchel share invitations' shows them."
T = TypeVar("T")

Path = Annotated[str, typer.Argument(help=PATH_HELP)]
User = Annotated[str, typer.Argument(help=USER_HELP)]
Name = Annotated[str, typer.Argument(help=NAME_HELP)]


def register(app: typer.Typer) -> None:
    """Add the group `share`, with people and by links."""
    group = typer.Typer(help="Share files and folders.", no_args_is_help=True)
    app.add_typer(group, name="share")
    for name, command in _COMMANDS.items():
        group.command(name)(command)
    share_links.add_to(group)


def add(
    path: Annotated[str, typer.Argument(help="The folder: a remote path, or a path in a linked folder.")],
    people: Annotated[
        list[str] | None, typer.Option("--with", help="USER, USER:view or USER:edit (the default); may come again.")
    ] = None,
) -> None:
    """Share a folder with people; they see it once they accept. No file of it moves."""
    wanted = [_person(text) for text in people or ()]
    shared = session.run(_added(session.remote_path(path), wanted))
    names = ", ".join(user for user, _ in wanted)
    output.give(
        shared, text="" if output.mode.quiet else f"{shared.path} is shared" + (f" with {names}." if names else ".")
    )


def list_shares() -> None:
    """Show the shared folders that you take part in."""
    found = session.run(_shares())
    rows = [(one.path, one.role, one.owner, output.size_text(one.used_bytes)) for one in found]
    output.give(
        found, text=lambda: output.table(("PATH", "ROLE", "OWNER", "SIZE"), rows, right=(3,)) or "Nothing is shared."
    )


def people(path: Path) -> None:
    """Show who takes part in a shared folder."""
    found = session.run(_with_share(path, lambda api, share: api.share_of(share.id)))
    rows = [(one.user, one.role, one.state, output.time_text(one.changed_ms)) for one in found.members]
    output.give(found.members, text=lambda: output.table(("USER", "ROLE", "STATE", "SINCE"), rows))


def leave(path: Path) -> None:
    """Leave a folder that others share with you: it goes from your files, and stays theirs."""
    session.run(_with_share(path, lambda api, share: api.leave_share(share.id)))
    output.say(f"You take part in {path} no more.")


def stop(
    path: Path,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End the parts of all others in a folder of yours. Its files stay with you."""
    if not yes and not output.ask_yes(f"End the sharing of {path} for everybody else?"):
        raise typer.Abort
    session.run(_with_share(path, lambda api, share: api.stop_share(share.id)))
    output.say(f"{path} is yours alone.")


def remove(path: Path, user: User) -> None:
    """End somebody's part in a folder of yours, or take the invitation back."""
    session.run(_with_person(path, user, lambda api, share, one: api.remove_person(share.id, one.account_id)))
    output.say(f"{user} takes part in {path} no more.")


def role(
    path: Path, user: User, wanted: Annotated[str, typer.Argument(metavar="view|edit", help="What they may do.")]
) -> None:
    """Let somebody edit a folder of yours, or only look."""
    told = _role(wanted)
    session.run(_with_person(path, user, lambda api, share, one: api.change_role(share.id, one.account_id, told)))
    output.say(f"{user} is {told} of {path}.")


def transfer(path: Path, user: User) -> None:
    """Make somebody else the owner of a folder: it counts against their room, and you become an editor."""
    session.run(_with_person(path, user, lambda api, share, one: api.hand_over(share.id, one.account_id)))
    output.say(f"{path} belongs to {user}.")


def invitations() -> None:
    """Show the invitations that wait for your answer."""
    found = session.run(_invitations())
    rows = [(one.name, one.role, one.invited_by, output.time_text(one.created_ms), one.id) for one in found]
    output.give(
        found, text=lambda: output.table(("NAME", "ROLE", "FROM", "SINCE", "ID"), rows) or "No invitation waits."
    )


def accept(name: Name) -> None:
    """Take an invitation up: the folder appears among your files."""
    shared = session.run(_answered(name, lambda api, one: api.accept(one.id)))
    output.give(shared, text="" if output.mode.quiet else f"It is at {shared.path}.")


def decline(name: Name) -> None:
    """Turn an invitation down."""
    session.run(_answered(name, lambda api, one: api.decline(one.id)))
    output.say(f"You turned {name} down.")


_COMMANDS: dict[str, Callable[..., None]] = {
    "add": add,
    "list": list_shares,
    "people": people,
    "role": role,
    "remove": remove,
    "transfer": transfer,
    "stop": stop,
    "leave": leave,
    "invitations": invitations,
    "accept": accept,
    "decline": decline,
}


# -- what they ask ----------------------------------------------------------------------------------------------------


async def _added(path: str, wanted: list[tuple[str, str]]) -> Share:
    async with session.api() as api:
        return await api.share(path, wanted)


async def _shares() -> list[Share]:
    async with session.api() as api:
        return [one async for one in api.shares()]


async def _invitations() -> list[Invitation]:
    async with session.api() as api:
        return [one async for one in api.invitations()]


async def _with_share(path: str, work: Callable[[Client, Share], Awaitable[T]]) -> T:
    wanted = session.remote_path(path)
    async with session.api() as api:
        async for one in api.shares():
            if one.path == wanted:
                return await work(api, one)
    raise NotFound(f"{wanted} is no shared folder; see 'satchel share list'.", path=wanted)


async def _with_person(path: str, user: str, work: Callable[[Client, Share, Person], Awaitable[None]]) -> None:
    async def find(api: Client, share: Share) -> None:
        for one in (await api.share_of(share.id)).members:
            if one.user.casefold() == user.casefold():
                await work(api, share, one)
                return
        raise NotFound(f"{user} takes no part in {path}; see 'satchel share people {path}'.", user=user)

    await _with_share(path, find)


async def _answered(name: str, work: Callable[[Client, Invitation], Awaitable[T]]) -> T:
    async with session.api() as api:
        found = [one async for one in api.invitations() if one.name == name or one.id.startswith(name)]
        if len(found) == 1:
            return await work(api, found[0])
    if found:
        raise Fault(f"Several invitations are called {name}; say the id of 'satchel share invitations'.")
    raise NotFound(f"No invitation is called {name}; see 'satchel share invitations'.", name=name)


def _person(text: str) -> tuple[str, str]:
    """Return name and role of `USER`, `USER:view` or `USER:edit`. Raises: Fault."""
    user, colon, told = text.rpartition(":")
    return (user, _role(told)) if colon else (text, "editor")


def _role(text: str) -> str:
    roles = {"view": "viewer", "viewer": "viewer", "edit": "editor", "editor": "editor"}
    if text not in roles:
        raise Fault(f"{text} is no role; say view or edit.")
    return roles[text]
