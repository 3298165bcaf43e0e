"""`satchel explain|activity`: why something is as it is, and what was done here. Invariant: only tells; needs no daemon
and no server, though with the server it tells who stored which version too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from satchel.cli import output, session
from satchel.core.errors import Fault, NotFound

if TYPE_CHECKING:
    from satchel.device.api import Version
    from satchel.device.api_history import Activity
    from satchel.device.explaining import Event, Explained, SideTold

VERSIONS_SHOWN_MAX = 10
EVENTS_SHOWN_MAX = 10
PAGE_MAX = 1_000
SERVER_ROWS_MAX = 500


class _Told(msgspec.Struct, frozen=True):
    """What `explain --json` prints. versions: None when the server could not be asked."""

    link: str
    explained: object
    versions: list[object] | None


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(explain)
    app.command()(activity)


def explain(
    path: Annotated[str, typer.Argument(help="A path in a linked folder, or the remote path of one.")],
) -> None:
    """Tell why a file is as it is: all three sides, what was decided, by which rule, when, and by whom."""
    from satchel.device.explaining import explain as explain_names

    link, names = session.in_link(path)
    if not names:
        raise Fault("Name something in the linked folder; for the folder itself see 'satchel status'.")
    with session.view(link) as view:
        told = explain_names(view, names)
    if not (told.node_id or told.events or told.held_code):
        raise NotFound(f"Nothing is known of {path}; a new file is known after the next look at the disk.", path=path)
    versions = _versions(told.node_id) if told.node_id and _is_file(told) else None
    output.give(_Told(link.local, told, versions), text=lambda: _explained_text(told, versions))  # type: ignore[arg-type]


def _is_file(told: Explained) -> bool:
    return "file" in (told.remote.kind, told.base.kind, told.local.kind)


def _versions(node_id: str) -> list[Version] | None:
    """Return the newest versions on the server, None when it cannot be asked or does not know the file."""

    async def ask() -> list[Version]:
        async with session.api() as api:
            return (await api.versions(node_id=node_id)).versions[:VERSIONS_SHOWN_MAX]

    try:
        return session.run(ask())
    except Fault:
        return None


def _explained_text(told: Explained, versions: Sequence[Version] | None) -> str:
    lines = [told.path, f"  {told.told}"]
    if told.copy_of:
        lines.append(f"  This is a conflicted copy of {told.copy_of}: satchel conflicts")
    if told.next_try_ms:
        lines.append(f"  next try {output.time_text(told.next_try_ms)}")
    sides = [("last agreed", told.base), ("here", told.local), ("on the server", told.remote)]
    if told.node_id:
        lines += _indented(output.table(("SIDE", "KIND", "CONTENT", "PATH"), [_side_row(*each) for each in sides]))
    for event in told.events[:EVENTS_SHOWN_MAX]:
        lines += _event_lines(event)
    if len(told.events) > EVENTS_SHOWN_MAX:
        lines.append(f"... {len(told.events) - EVENTS_SHOWN_MAX} older: satchel explain --json")
    if versions:
        rows = [
            (str(one.rev), output.time_text(one.created_ms), one.device or one.author, one.content_hash[:12])
            for one in versions
        ]
        lines += ["Versions on the server:", *_indented(output.table(("REV", "STORED", "BY", "CONTENT"), rows))]
    elif versions is None and told.node_id and _is_file(told):
        lines.append("The server could not be asked who stored which version.")
    return "\n".join(lines)


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.split("\n")]


def _side_row(name: str, side: SideTold) -> tuple[str, str, str, str]:
    if side.state != "present":
        return name, side.state, "", ""
    content = side.content[:12] if side.kind == "file" else side.content
    return name, side.kind + ("*" if side.is_executable else ""), content, side.path


def _event_lines(event: Event) -> list[str]:
    lines = [f"{output.time_text(event.at_ms)}  {event.what} on {event.device or 'this device'}: {event.rule}"]
    lines.append(f"  {event.told}")
    if event.local is not None and event.base is not None and event.remote is not None:
        sides = [("last agreed", event.base), ("here", event.local), ("on the server", event.remote)]
        lines += _indented(output.table(("SIDE", "KIND", "CONTENT", "PATH"), [_side_row(*each) for each in sides]))
    if event.was_path:
        lines.append(f"  {event.was_path} -> {event.path}")
    if event.beside:
        lines.append(f"  kept beside: {event.beside}")
    if event.trashed:
        lines.append(f"  what was here before ({event.was_content[:12] or event.what}) is in the local trash")
    return lines


def activity(
    path: Annotated[str, typer.Argument(help="A linked folder; the only one when left out.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=PAGE_MAX, help="How many.")] = 50,
    before: Annotated[int, typer.Option("--before", min=0, help="Only what is older than this number.")] = 0,
    server: Annotated[
        bool, typer.Option("--server", help="What anyone did in a folder on the server; in all of it when left out.")
    ] = False,
) -> None:
    """Show what was decided and what was done to a linked folder, the newest first."""
    if server:
        _show_server(session.remote_path(path) if path else "/", limit, before)
        return
    from satchel.device.explaining import event_of

    link = session.link_of(path)
    with session.view(link) as view:
        found = [event_of(row) for row in view.activity.newest(limit, before=before)]
    rows = [
        (str(event.number), output.time_text(event.at_ms), event.what, event.rule, _shown_path(event))
        for event in found
    ]
    more = f"\nOlder: satchel activity --before {found[-1].number}" if len(found) == limit else ""
    head = ("NUMBER", "TIME", "WHAT", "RULE", "PATH")
    output.give(found, text=lambda: output.table(head, rows, right=(0,)) + more if rows else "Nothing yet.")


def _show_server(path: str, limit: int, before: int) -> None:
    from satchel.device.api_history import activity as activity_of

    async def ask() -> Activity:
        async with session.api() as api:
            return await activity_of(api, path, before=before, limit=min(limit, SERVER_ROWS_MAX))

    page = session.run(ask())
    rows = [
        (
            output.time_text(row.at_ms),
            row.device or row.account,
            f"rewind: {row.does}" if row.rewind else row.does,
            f"{row.entries:,}" if row.entries > 1 else "",
            f"{row.path_before} -> {row.path}" if row.path_before else row.path,
        )
        for row in page.rows
    ]
    more = f"\nOlder: satchel activity --server {path} --before {page.before}" if page.before else ""
    head = ("TIME", "BY", "WHAT", "COUNT", "PATH")
    output.give(page, text=lambda: (output.table(head, rows, right=(3,)) or "Nothing here.") + more)


def _shown_path(event: Event) -> str:
    path = f"{event.was_path} -> {event.path}" if event.was_path else event.path
    return f"{path} (kept beside: {event.beside})" if event.beside else path
