"""Says what backups a repository holds and what is wrong with them. Invariant: it writes nothing, and it never calls a
backup whole of which a part does not open.

The quick look compares lists and lengths; the thorough one reads every byte and hashes every block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from satchel.core.errors import StorageFailed
from satchel.core.ids import BlockHash
from satchel.server.ports import Clock, Workers
from satchel.server.upkeep.backup.bundles import block_files, blocks_in, named_in
from satchel.server.upkeep.backup.pages import unpacked
from satchel.server.upkeep.backup.repository import (
    METADATA,
    Backup,
    Repository,
    Secret,
    key_file_problems,
    open_repository,
)
from satchel.server.upkeep.backup.tables import BY_NAME

Progress = Callable[[str, int], None]
PROBLEMS_MAX = 1_000


@dataclass(slots=True)
class Checked:
    """One backup. missing: blocks that it names and the repository lacks; problem: why its rows cannot be read."""

    backup: Backup
    missing: int = 0
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        """Tell whether a restore would bring everything."""
        return not self.missing and not self.problem


@dataclass(slots=True)
class RepositoryCounts:
    """A repository. files: of blocks; stored_bytes: in them, read with `deep` only. problems: (file, what)."""

    encrypted: bool
    backups: list[Checked] = field(default_factory=list)
    files: int = 0
    blocks: int = 0
    stored_bytes: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems and all(checked.is_whole for checked in self.backups)


async def run(
    clock: Clock,
    workers: Workers,
    folder: str,
    secret: Secret,
    *,
    deep: bool = False,
    progress: Progress = lambda what, done: None,
) -> RepositoryCounts:
    """Look at all backups of a folder. deep: read everything. Raises: SettingInvalid, StorageFailed."""
    repository = await workers.run(lambda: open_repository(folder, secret, clock))
    counts = RepositoryCounts(encrypted=repository.keys.encryption != "none")
    for name, why in await workers.run(lambda: key_file_problems(folder)):
        _tell(counts, name, f"{why}; the next backup writes it anew from the other one")
    have = await _blocks(repository, workers, counts, progress, deep=deep)
    backups, damaged = await workers.run(repository.backups)
    for name in damaged:
        _tell(counts, name, "damaged: this backup cannot be restored")
    for backup in backups:
        checked = Checked(backup)
        counts.backups.append(checked)
        await _check(repository, workers, checked, have)
        if checked.problem:
            _tell(counts, f"{METADATA}/{backup.backup_id}", checked.problem)
    return counts


async def _blocks(
    repository: Repository, workers: Workers, counts: RepositoryCounts, progress: Progress, *, deep: bool
) -> set[BlockHash]:
    """Return which blocks the repository can give."""
    have: set[BlockHash] = set()
    for name in await workers.run(lambda: block_files(repository)):
        counts.files += 1
        names = await workers.run(lambda name=name: named_in(repository, name))  # type: ignore[misc]
        if names is None:
            _tell(counts, f"{name}.names", "its list is missing or does not fit; the next backup makes it anew")
        if names is None or deep:
            good, bad, size = await workers.run(lambda name=name: _read(repository, name))  # type: ignore[misc]
            lost = set(names or ()) - set(good)
            if bad or lost:
                told = "damaged: move this file away, then the next backup copies what the store still has"
                _tell(counts, name, f"{max(bad, len(lost))} blocks {told}")
            counts.stored_bytes += size
            progress("bytes", counts.stored_bytes)
            names = good
        have.update(names)
    counts.blocks = len(have)
    return have


def _read(repository: Repository, name: str) -> tuple[list[BlockHash], int, int]:
    """Return the good blocks of a file, how many parts are bad, and the bytes of the good ones."""
    good: list[BlockHash] = []
    bad = size = 0
    for one in blocks_in(repository, name):
        if one is None:
            bad += 1
        else:
            good.append(one.wire.hash)
            size += len(one.body)
    return good, bad, size


async def _check(repository: Repository, workers: Workers, checked: Checked, have: set[BlockHash]) -> None:
    """Read the rows of a backup, and look whether the blocks are there that they name."""
    name = f"{METADATA}/{checked.backup.backup_id}"
    place = BY_NAME["blocks"].columns.index("block_hash")
    seen: dict[str, int] = dict.fromkeys(BY_NAME, 0)
    pages = unpacked(repository.parts(name), name)
    try:
        while (page := await workers.run(lambda: next(pages, None))) is not None:
            table, rows = page
            seen[table.name] += len(rows)
            if table.name == "blocks":
                checked.missing += sum(row[place] not in have for row in rows)
    except StorageFailed as fault:
        checked.problem = str(fault.fields.get("reason", fault.message))
        return
    if seen != checked.backup.rows:
        checked.problem = "its rows are not those that it was taken with"


def _tell(counts: RepositoryCounts, name: str, what: str) -> None:
    if len(counts.problems) < PROBLEMS_MAX:
        counts.problems.append((name, what))
