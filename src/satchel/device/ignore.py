"""Which names are not synced. Invariant: what is ignored is unknown, never deleted, and nothing a person would miss is
ignored unless a person said so.

The built-in list holds only what programs leave behind for themselves; `.satchelignore` files, in gitignore's syntax,
add to it or take back (`!name`). A deeper file decides over a higher one, a later line over an earlier. The ignore
files themselves are synced. Source: docs/use/ignore.md.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from satchel.core.entries import Kind
from satchel.core.errors import Fault
from satchel.core.limits import MIB
from satchel.device.ports import ROOT_PATH, DiskPath, FileSystem, Stat, joined

IGNORE_FILE = b".satchelignore"
STATE_FOLDER = b".satchel"
BUILT_IN = (
    ".DS_Store",
    "[Tt]humbs.db",
    "[Dd]esktop.ini",
    "~$*",
    ".~lock.*#",
    ".*.sw[op]",
    ".goutputstream-??????",
    ".fuse_hidden*",
    ".nfs????????????????????????",
)
"""Files (never folders) that no person makes. Listed with their reasons in docs/use/ignore.md."""

RULES_BYTES_MAX = MIB
CACHED_FILES_MAX = 4096
LEARNT_BYTES_MAX = 8 * MIB

BUILT_IN_SIGNS = b".~TtDd"
"""What is ignored without anybody saying so begins with one of these, and few other names do."""

_built_in = re.compile("|".join(fnmatch.translate(pattern) for pattern in BUILT_IN).encode())


def is_built_in(name: bytes, *, is_folder: bool) -> bool:
    """Tell whether the name is ignored without anybody saying so."""
    if name == STATE_FOLDER:
        return True
    return not is_folder and name[:1] in BUILT_IN_SIGNS and _built_in.match(name) is not None


@dataclass(frozen=True, slots=True)
class FolderRules:
    """The rules of one `.satchelignore`, for all below its folder."""

    folder: DiskPath
    spec: GitIgnoreSpec

    def decides(self, path: DiskPath, is_folder: bool) -> bool | None:
        """Return True (ignored), False (taken back) or None (these rules say nothing)."""
        relative = path[len(self.folder) + 1 :] if self.folder else path
        text = relative.decode(errors="surrogateescape")
        return self.spec.check_file(text + "/" if is_folder else text).include


@dataclass(frozen=True, slots=True)
class RulesText:
    """A `.satchelignore` as it was last read. stat: its own; text: its bytes."""

    folder: DiskPath
    stat: Stat
    text: bytes


@dataclass(frozen=True, slots=True)
class Scope:
    """The rules in force inside one folder, the highest first."""

    rules: tuple[FolderRules, ...] = ()

    def hides(self, folder: DiskPath, name: bytes, *, is_folder: bool) -> bool:
        """Tell whether `name` in `folder` is ignored; the folders above are taken as not ignored."""
        if name == STATE_FOLDER:
            return True
        if self.rules and name != IGNORE_FILE:
            path = joined(folder, name)
            for rules in reversed(self.rules):
                decision = rules.decides(path, is_folder)
                if decision is not None:
                    return decision
        return is_built_in(name, is_folder=is_folder)


def parse_rules(folder: DiskPath, text: bytes) -> FolderRules | None:
    """Return the rules of a file's text, None when it has none. A line that is no pattern is passed over."""
    lines = []
    for line in text.decode(errors="surrogateescape").splitlines():
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:
            continue
        if line.strip() and not line.startswith("#"):
            lines.append(line)
    return FolderRules(folder, GitIgnoreSpec.from_lines(lines)) if lines else None


class IgnoreRules:
    """Reads ignore files by way of the FileSystem port, and again only when their stat changed."""

    def __init__(self, extra: Sequence[str] = ()) -> None:
        """extra: patterns of the settings; a `.satchelignore` decides over them."""
        own = parse_rules(ROOT_PATH, "\n".join(extra).encode())
        self.base = Scope((own,) if own else ())
        """The rules in force above the linked folder."""
        self._cache: dict[DiskPath, tuple[RulesText, FolderRules | None]] = {}

    async def inside(self, fs: FileSystem, above: Scope | None, folder: DiskPath, stat: Stat | None) -> Scope:
        """Return the rules in force in `folder`. above: those of its parent, None for the root.

        stat: of the folder's own ignore file, None when it has none. One that cannot be read keeps the rules it had.
        """
        above = self.base if above is None else above
        if stat is None or stat.kind is not Kind.FILE or stat.size > RULES_BYTES_MAX:
            return above
        rules = await self._read(fs, folder, stat)
        return Scope((*above.rules, rules)) if rules else above

    async def scope(self, fs: FileSystem, folder: DiskPath) -> Scope:
        """Return the rules in force in `folder`, by looking at the ignore files of all folders above it too."""
        scope, path = await self._inside_stat(fs, None, ROOT_PATH), ROOT_PATH
        for name in folder.split(b"/") if folder else ():
            path = joined(path, name)
            scope = await self._inside_stat(fs, scope, path)
        return scope

    async def _inside_stat(self, fs: FileSystem, above: Scope | None, folder: DiskPath) -> Scope:
        try:
            stat = await fs.stat(joined(folder, IGNORE_FILE))
        except Fault:
            stat = None
        return await self.inside(fs, above, folder, stat)

    async def _read(self, fs: FileSystem, folder: DiskPath, stat: Stat) -> FolderRules | None:
        cached = self._cache.get(folder)
        if cached and _same(cached[0].stat, stat):
            return cached[1]
        try:
            file = await fs.open_file(joined(folder, IGNORE_FILE))
            try:
                text = await file.read(0, RULES_BYTES_MAX)
            finally:
                await file.close()
        except Fault:
            # What was ignored a moment ago stays so: a file that cannot be read now takes nothing back.
            return cached[1] if cached else None
        return self._keep(RulesText(folder, stat, text))

    def _keep(self, read: RulesText) -> FolderRules | None:
        rules = parse_rules(read.folder, read.text)
        if len(self._cache) >= CACHED_FILES_MAX:
            self._cache.clear()
        self._cache[read.folder] = (read, rules)
        return rules

    def learnt(self) -> tuple[RulesText, ...]:
        """Return the ignore files as they were last read, 8 MiB of them at most; what is left out is read again."""
        told: list[RulesText] = []
        size = 0
        for read, _ in self._cache.values():
            size += len(read.text)
            if size > LEARNT_BYTES_MAX:
                break
            told.append(read)
        return tuple(told)

    def learn(self, read: Sequence[RulesText]) -> None:
        """Take what another one has `learnt`, so that a file that cannot be read now takes nothing back here either."""
        for one in read:
            if one.folder not in self._cache or self._cache[one.folder][0] != one:
                self._keep(one)


def _same(one: Stat, other: Stat) -> bool:
    return (one.inode, one.ctime_ns, one.size) == (other.inode, other.ctime_ns, other.size)
