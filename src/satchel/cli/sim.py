"""`satchel sim replay`: one case of the deterministic simulation once more, as its failure was reported.

Invariant: touches no folder, no server and no setting of this device: all of it happens in memory. The simulation is
imported by this command alone, and only when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import exit_codes, output

if TYPE_CHECKING:
    from satchel.simulation.replaying import Replayed

OPERATIONS = 50
"""User actions of a case, at least, as in `make sim`: a case of another length is another case."""
OPERATIONS_MAX = 10_000

group = typer.Typer(help="Repeat a case of the deterministic simulation, in memory.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="sim")


@group.callback()
def _group() -> None:
    """Without it a group of one command would be that command."""


@group.command()
def replay(
    seed: Annotated[int, typer.Argument(min=0, help="The number that names the case.")],
    operations: Annotated[
        int, typer.Option("--operations", min=1, max=OPERATIONS_MAX, help="User actions, at least.")
    ] = OPERATIONS,
    minimise: Annotated[bool, typer.Option("--minimise", help="Shrink a case that fails (some minutes).")] = False,
    mounts: Annotated[bool, typer.Option("--mounts", help="With two people who share folders.")] = False,
) -> None:
    """Run the case of a seed: several devices, the service and faults. Says which claim fails, or that all hold."""
    from satchel.simulation.replaying import replay as again

    found = again(seed, operations=operations, is_minimised=minimise, has_mounts=mounts)
    output.give(found, text=lambda: _text(found))
    if not found.holds:
        raise typer.Exit(exit_codes.FAILED)


def _text(found: Replayed) -> str:
    how = "holds" if found.holds else f"FAILED: {found.detail}"
    lines = [
        f"seed {found.seed}: {how}",
        f"{found.operations} operations, {found.steps:,} steps, trace {found.trace}",
    ]
    if found.shortest:
        lines += ["the shortest script that fails alike:", *found.shortest]
    return "\n".join(lines)
