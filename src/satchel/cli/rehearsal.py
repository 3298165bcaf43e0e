"""`satchel sync --dry-run`: what a sync would do now. Invariant: nothing is done, on neither side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from satchel.cli import output, session
from satchel.device.links import Link, index_folder

if TYPE_CHECKING:
    from satchel.device.rehearsing import Rehearsed
    from satchel.device.status import PlannedChange

SHOWN_MAX = 200


def show_plans(links: Sequence[Link]) -> None:
    """Print the plan of each link. Raises: NotFound (never synced), Unavailable, RootMissing."""
    plans = session.run(_rehearsed(links))
    output.give(plans, text=lambda: "\n".join(_text(plan) for plan in plans) or "No folder is linked.")


async def _rehearsed(links: Sequence[Link]) -> list[Rehearsed]:
    from satchel.device.clock import MachineClock
    from satchel.device.rehearsing import rehearse
    from satchel.device.remote import HttpRemote

    known, clock, home = session.credentials(), MachineClock(), session.home()
    remote = HttpRemote(known.url, known.token, clock=clock)
    try:
        return [
            await rehearse(
                link, remote, device=known.device, state_folder=index_folder(home, link.link_id), clock=clock
            )
            for link in links
        ]
    finally:
        await remote.close()


def _text(plan: Rehearsed) -> str:
    head = f"{plan.local}  ->  {plan.remote}"
    if not plan.changes:
        return f"{head}  in sync, nothing to do"
    lines = [f"{head}  {len(plan.changes) + plan.more:,} to do"]
    rows = [_row(change) for change in plan.changes[:SHOWN_MAX]]
    lines += [f"  {line}" for line in output.table(("", "WHAT", "SIZE", "PATH", "WHY"), rows, right=(2,)).split("\n")]
    left = len(plan.changes) - len(rows) + plan.more
    if left:
        lines.append(f"  ... and {left:,} more")
    return "\n".join(lines)


def _row(change: PlannedChange) -> tuple[str, str, str, str, str]:
    path = f"{change.path} -> {change.target}" if change.target else change.path
    size = output.size_text(change.size) if change.size else f"{change.count} items" if change.count > 1 else ""
    return change.direction, change.what, size, path, change.held or change.rule
