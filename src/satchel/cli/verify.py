"""`satchel verify`: reads everything again and compares. Invariant: changes nothing; exit code 28 when bytes are
damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import exit_codes, output, session
from satchel.core.errors import Fault
from satchel.device.links import Link, index_folder

if TYPE_CHECKING:
    from satchel.device.verifying import Verified

FINDINGS_MAX = 1_000


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(verify)


def verify(
    path: Annotated[str, typer.Argument(help="A linked folder; all when left out.")] = "",
    local: Annotated[bool, typer.Option("--local", help="Read every file here (the default).")] = False,
    remote: Annotated[bool, typer.Option("--remote", help="Fetch every block from the server.")] = False,
) -> None:
    """Compare every byte with its hash: of the files here, or of what the server holds for them."""
    if local and remote:
        raise Fault("Say --local or --remote, not both.")
    links = session.links_in(session.link_of(path).local if path else "")
    found = session.run(_remote(links)) if remote else [_local(link) for link in links]
    output.give(found, text=lambda: "\n".join(_text(one) for one in found) or "No folder is linked.")
    if any(one.damaged for one in found):
        raise typer.Exit(exit_codes.DAMAGED)


def _local(link: Link) -> Verified:
    from satchel.device.clock import MachineClock
    from satchel.device.verifying import verify_local

    with session.view(link) as view:
        _, total = view.file_count()
    folder = index_folder(session.home(), link.link_id)
    with output.progress("Reading", total) as advance:
        return verify_local(link, folder, MachineClock(), shown_max=FINDINGS_MAX, progress=advance)


async def _remote(links: Sequence[Link]) -> list[Verified]:
    from satchel.device.clock import MachineClock
    from satchel.device.remote import HttpRemote
    from satchel.device.verifying import verify_remote

    known, home, found = session.credentials(), session.home(), []
    remote = HttpRemote(known.url, known.token, clock=MachineClock())
    try:
        for link in links:
            with session.view(link) as view:
                total = view.remote_bytes()
            with output.progress("Fetching", total) as advance:
                folder = index_folder(home, link.link_id)
                found.append(await verify_remote(link, folder, remote, shown_max=FINDINGS_MAX, progress=advance))
    finally:
        await remote.close()
    return found


def _text(one: Verified) -> str:
    lines = [f"{one.local}: {one.files:,} files, {output.size_text(one.bytes)} read, {one.damaged:,} damaged"]
    lines += [f"  {finding.verdict} {finding.path}: {finding.why}" for finding in one.findings]
    if one.count > len(one.findings):
        lines.append(f"  ... and {one.count - len(one.findings):,} more")
    return "\n".join(lines)
