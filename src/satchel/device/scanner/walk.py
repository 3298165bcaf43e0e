"""Walks hinted folders and compares them with the known tree. Invariant: unknown never means gone, and nothing is gone
before the whole scan has failed to find it elsewhere.

One look compares one folder. New names come first, since they may be known files that left another name free; names
that something else has taken wait until the walk is over. Source: docs/design/040 (rules 3 to 6, scanning).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileChanging, NameInvalid, NotFound, RootMissing
from satchel.core.ids import Nid
from satchel.core.limits import DEPTH_MAX, MIB, PATH_BYTES_MAX, SINGLE_BLOCK_BYTES_MAX
from satchel.core.paths import validate_name
from satchel.device.hashing_files import FileRead, read_file
from satchel.device.ignore import IGNORE_FILE, IgnoreRules, Scope
from satchel.device.index.rows import LocalRow
from satchel.device.ports import ROOT_PATH, Brief, DiskPath, FileSystem, Listed, Stat, Times, joined, split
from satchel.device.scanner.beside import Looker, Shared
from satchel.device.scanner.comparing import Seen, compare
from satchel.device.scanner.hints import Hints
from satchel.device.scanner.known import KnownTree
from satchel.device.scanner.looks import Look, Missing, Taken
from satchel.device.scanner.parts import Parts
from satchel.device.scanner.places import Parent, Places, Step, is_identity
from satchel.device.short_files import TakesShort
from satchel.device.tasks import NewParent, SeenChanged, SeenGone, SeenMoved, SeenNew, SeenUnknown
from satchel.device.turns import Turns

UNREAD_MOVE_BYTES_MIN = 16 * MIB
"""A moved file from this size on is not read again when size and mtime are the known ones; the next scan does."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading files shares with the rest of the device. short: takes the bytes of short files.

    turns: None where no engine works beside the scan. looker: looks at folders beside this walk, if there is one.
    """

    short: TakesShort
    turns: Turns | None
    looker: Looker | None = None


class Walk:
    """One scan."""

    def __init__(
        self,
        fs: FileSystem,
        known: KnownTree,
        clock: Times,
        ignore: IgnoreRules,
        hints: Hints,
        parts: Parts,
        reading: Reading,
    ) -> None:
        self._fs = fs
        self._known = known
        self._clock = clock
        self._ignore = ignore
        self._hints = hints
        self._parts = parts
        self._reading = reading
        self._places = Places(fs, known)
        self._shared = Shared(reading.looker, known, self._places.placed)
        self._leaves = known.mounts()
        self._device = 0
        self._stack: list[Look] = []
        self._taken: list[Taken] = []
        self._unclaimed: list[Taken] = []
        self._missing: dict[Nid, Missing] = {}
        self._left: set[Nid] = set()
        """Known folders that went from their path during the walk, and may yet be found."""
        self._handled: set[DiskPath] = set()
        self._doubtful_inodes: set[int] = set()

    # -- the way -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at all that is hinted and at what follows from it. Raises: RootMissing."""
        root = await self._places.stat(ROOT_PATH)
        if root is None:
            raise RootMissing("The linked folder is not there.", path=ROOT_PATH, reason="unreadable")
        self._device = root.device
        await self._hints.lift(self._places)
        while True:
            self._parts.saw(self._shared.exchange(self._stack, is_waited=not self._stack))
            if self._stack:
                await self._compare(self._stack.pop())
            elif self._shared.is_due:
                continue
            elif (folder := self._hints.next_folder()) is not None:
                await self._start(folder)
            elif self._taken:
                await self._settle_claimed(self._taken.pop())
            elif self._unclaimed:
                await self._settle(self._unclaimed.pop())
            else:
                return

    async def _start(self, folder: DiskPath) -> None:
        standing = await self._places.standing(folder)
        if standing is None:
            stood = self._hints.put_off(folder)
            if stood is not None:
                self._left_meanwhile(stood, folder)
            return
        names, is_deep = self._hints.take(folder, frozenset(), is_deep=False)
        self._stack.append(Look(standing[0], folder, standing[1].inode, names=names, is_deep=is_deep))

    def _left_meanwhile(self, nid: Nid, folder: DiskPath) -> None:
        """A hinted folder stood in its place when the walk began. Unless it is found, nobody else tells."""
        row = self._known.local(nid)
        if row is not None and nid not in self._places.placed and self._places.path_now(row) == folder:
            self._left.add(nid)

    async def _compare(self, look: Look) -> None:
        look.names, look.is_deep = self._hints.take(look.path, look.names, is_deep=look.is_deep)
        if look.parent in self._leaves:
            await self._sure_again(look)
            return
        if look.names is not None and IGNORE_FILE in look.names:
            look.names, look.is_deep = None, True
        seen = await (self._list_all(look) if look.names is None else self._list_named(look, look.names))
        if seen is None:
            return
        if (look.names or seen.listed or seen.rows) and not await self._is_still(look):
            # What was listed is in another folder, that has the name by now.
            self._closed(look, FileChanging("A folder moved away."))
            return
        self._parts.saw(len(seen.listed) + seen.same)
        await self._sure_again(look)
        if look.names is None and not (seen.listed or seen.rows):
            # As nearly every folder of a full scan: all is as it was, and so are the rules.
            self._go_into(look, look.above, [], seen.folders)
            return
        listed, rows = seen.listed, self._by_name(look, seen)
        scope = await self._scope(look, listed, rows)
        fresh, taken, touched, folders = self._sort_out(look, scope, listed, rows)
        self._places.expect([item.stat for item in fresh])
        turns = self._reading.turns
        for item in fresh:
            if turns is not None and item.stat.kind is Kind.FILE and item.stat.size <= SINGLE_BLOCK_BYTES_MAX:
                await self._fresh_in_turn(turns, look, scope, item)
            else:
                await self._fresh(look, scope, item)
        self._places.expect(())
        for entry in taken:
            await self._replaced(entry)
        for item, row in touched:
            await self._edited(look, item, row)
        self._go_into(look, scope, folders, seen.folders)
        for row in rows.values():
            if row.nid in self._places.placed:
                continue
            if scope.hides(look.path, row.name, is_folder=row.kind is Kind.FOLDER):
                self._unknown(row, *_IGNORED, retry=False)
            else:
                self._missing[row.nid] = Missing(row, look.path, look.inode)

    async def _is_still(self, look: Look, listed: Stat | None = None, stat: Stat | None = None) -> bool:
        """Tell whether the folder stands at its path; without asking when what was listed in it does so."""
        if look.path == ROOT_PATH or (listed is not None and stat is not None and listed.inode == stat.inode):
            return True
        folder = await self._places.stat(look.path)
        return folder is not None and folder.inode == look.inode

    def _go_into(self, look: Look, scope: Scope | None, rows: list[LocalRow], briefs: list[Brief]) -> None:
        """Let the known folders in a folder be looked at next, in the order of their names."""
        down = [(row.name, row.nid, row.stat.inode) for row in rows]
        if look.is_deep:
            down += [(name.encode(), nid, inode) for name, _, _, _, inode, nid, _ in briefs]
        self._stack += [
            Look(nid, joined(look.path, name), inode, above=scope) for name, nid, inode in sorted(down, reverse=True)
        ]

    async def _sure_again(self, look: Look) -> None:
        stat = None if look.unsure is None else await self._places.stat(look.path)
        if look.unsure is not None and stat is not None:
            self._parts.add(SeenChanged(look.unsure.nid, look.unsure.version, stat, b"", b""))

    # -- what stands there -------------------------------------------------------------------------------------------

    async def _list_all(self, look: Look) -> Seen | None:
        if look.above is None:
            look.above = await self._ignore.scope(self._fs, split(look.path)[0]) if look.path else self._ignore.base
        known, parent, placed = self._known, look.parent, self._places.placed
        try:
            if not isinstance(parent, NewParent) and not look.above.rules:
                seen = await compare(self._fs, known, folder=parent, path=look.path, placed=placed)
                if seen is not None:
                    return seen
            listed = await self._fs.list_folder(look.path)
        except Fault as fault:
            self._closed(look, FileChanging("A folder moved away.") if isinstance(fault, NotFound) else fault)
            return None
        return Seen(listed, [] if isinstance(parent, NewParent) else known.children(parent))

    def _by_name(self, look: Look, seen: Seen) -> dict[bytes, LocalRow]:
        rows: dict[bytes, LocalRow] = {}
        for row in seen.rows:
            if row.name in rows:
                stands = next((item.stat.inode for item in seen.listed if item.name == row.name), 0)
                row = self._standing_twin(look, rows[row.name], row, stands)
            rows[row.name] = row
        return rows

    async def _list_named(self, look: Look, names: frozenset[bytes]) -> Seen:
        assert not isinstance(look.parent, NewParent)
        listed: list[Listed] = []
        rows: list[LocalRow] = []
        for name in sorted(names):
            named = self._known.named(look.parent, name)
            row = named[0] if named else None
            try:
                stat = await self._fs.stat(joined(look.path, name))
            except Fault as fault:
                if row is not None:
                    self._unknown(row, fault.code, fault.message, retry=True)
                continue
            rows += named
            if stat is not None:
                listed.append(Listed(name, stat))
        return Seen(listed, rows)

    def _standing_twin(self, look: Look, one: LocalRow, other: LocalRow, inode: int) -> LocalRow:
        """Two rows are recorded at one name: return the one that stands there; the other has left it."""
        stands, left = (other, one) if other.stat.inode == inode else (one, other)
        if left.nid not in self._places.placed:
            is_double = is_identity(left.stat, stands.stat)
            self._missing[left.nid] = Missing(left, look.path, look.inode, is_shadowed=True, is_double=is_double)
        return stands

    def _closed(self, look: Look, fault: Fault) -> None:
        """Report a folder that cannot be looked into; what is below it is unknown."""
        if look.path == ROOT_PATH:
            raise RootMissing("The linked folder cannot be read.", path=ROOT_PATH, reason=fault.code) from fault
        if isinstance(look.parent, NewParent):
            name = split(look.path)[1]
            self._parts.add(SeenUnknown(None, look.container, name, fault.code, fault.message, True))
            return
        if fault.code == "file_changing":
            self._left.add(look.parent)
            return
        self._places.placed.add(look.parent)
        self._parts.add(SeenUnknown(look.parent, None, split(look.path)[1], fault.code, fault.message, True))

    async def _scope(self, look: Look, listed: list[Listed], rows: dict[bytes, LocalRow]) -> Scope:
        """Return the rules inside the folder; when they changed, everything below has to be looked at."""
        if look.names is not None:
            return await self._ignore.scope(self._fs, look.path)
        stat = next((item.stat for item in listed if item.name == IGNORE_FILE), None)
        row = rows.get(IGNORE_FILE)
        if (row is None) != (stat is None) or (
            row is not None and stat is not None and not is_unchanged(stat, row.stat)
        ):
            look.is_deep = True
        return await self._ignore.inside(self._fs, look.above, look.path, stat)

    def _sort_out(
        self, look: Look, scope: Scope, listed: list[Listed], rows: dict[bytes, LocalRow]
    ) -> tuple[list[Listed], list[Taken], list[tuple[Listed, LocalRow]], list[LocalRow]]:
        """Return what is new, taken by something else, touched, and the known folders to go into; drop it from `rows`.

        What is left in `rows` is missing here. This loop runs over every name of a full scan.
        """
        fresh: list[Listed] = []
        taken: list[Taken] = []
        touched: list[tuple[Listed, LocalRow]] = []
        folders: list[LocalRow] = []
        placed, path, device = self._places.placed, look.path, self._device
        for item in listed:
            stat = item.stat
            row = rows.pop(item.name, None)
            if stat.kind is None or (stat.device != device and stat.device):
                self._not_ours(look, item, row)
            elif scope.hides(path, item.name, is_folder=stat.kind is Kind.FOLDER):
                if row is not None and row.nid not in placed:
                    self._unknown(row, *_IGNORED, retry=False)
            elif row is None or row.nid in placed:
                fresh.append(item)
            elif row.kind is stat.kind and is_unchanged(stat, row.stat):
                if look.is_deep and stat.kind is Kind.FOLDER:
                    folders.append(row)
            elif row.kind is not stat.kind or row.stat.inode != stat.inode or stat.kind is Kind.FOLDER:
                taken.append(Taken(look, scope, item, row))
            else:
                touched.append((item, row))
        return fresh, taken, touched, folders

    # -- names that no row has ---------------------------------------------------------------------------------------

    async def _fresh(self, look: Look, scope: Scope, item: Listed) -> None:
        path = joined(look.path, item.name)
        if path in self._handled or not self._is_valid(look, item, path):
            return
        if item.stat.kind is Kind.FOLDER:
            await self._fresh_folder(look, scope, item, path)
        else:
            await self._fresh_file(look, item, path)

    async def _fresh_in_turn(self, turns: Turns, look: Look, scope: Scope, item: Listed) -> None:
        """As `_fresh` for a short file, of which there may be very many."""
        self._parts.is_holding = True
        try:
            with turns.patient:
                await self._fresh(look, scope, item)
        finally:
            self._parts.is_holding = False
        self._parts.send_due()

    def _is_valid(self, look: Look, item: Listed, path: DiskPath) -> bool:
        try:
            validate_name(item.name.decode(errors="surrogateescape"))
        except NameInvalid as fault:
            self._unknown_at(look, item, fault.code, fault.message, retry=False)
            return False
        if len(path) >= PATH_BYTES_MAX or path.count(b"/") >= DEPTH_MAX:
            self._unknown_at(look, item, "limit_exceeded", "The path is too long or too deep.", retry=False)
            return False
        return True

    async def _fresh_folder(self, look: Look, scope: Scope, item: Listed, path: DiskPath) -> None:
        stat = await self._places.stat(path)
        if stat is None or stat.kind is not Kind.FOLDER or not await self._is_still(look, item.stat, stat):
            self._unknown_at(look, item, "file_changing", "It was replaced during the scan.", retry=True)
            return
        row = await self._places.moved_folder(stat)
        if row is None:
            order = self._parts.next_order()
            self._parts.add(SeenNew(order, look.parent, item.name, stat, b"", b""))
            self._places.folder_made(path, order)
            self._stack.append(Look(NewParent(order), path, stat.inode, look.parent, above=scope))
            return
        self._follow_folder(row, path)
        self._parts.add(SeenMoved(row.nid, row.version, look.parent, item.name, stat, b"", b""))
        # Of one that the index was not sure of, nobody knows either what is in it.
        is_deep = look.is_deep or not row.stat.ctime_ns
        self._stack.append(Look(row.nid, path, stat.inode, is_deep=is_deep, above=scope))

    def _follow_folder(self, row: LocalRow, path: DiskPath) -> None:
        self._hints.follow(self._places.path_now(row), path)
        self._place(row)
        self._places.folder_moved(row.nid, path)

    async def _fresh_file(self, look: Look, item: Listed, path: DiskPath) -> None:
        unread = await self._read_moved(path, item.stat)
        moved = None if unread is None else await self._places.moved_file(unread.stat)
        read = unread if moved is not None else await self._read(look, item, path)
        if read is None:
            return
        if not await self._is_still(look, item.stat, read.stat):
            self._unknown_at(look, item, "file_changing", "It was replaced during the scan.", retry=True)
            return
        moved = moved or await self._places.moved_file(read.stat)
        if moved is None:
            fact = SeenNew(self._parts.next_order(), look.parent, item.name, read.stat, read.content, read.blocks)
            self._parts.add(fact)
            return
        row, steps = moved
        self._place(row)
        self._parts.add(_moved(row, look.parent, item.name, read))
        await self._apply(steps)

    async def _read_moved(self, path: DiskPath, listed: Stat) -> FileRead | None:
        """Return a long file's known content when it only moved: the same file with the same size and mtime."""
        if listed.kind is not Kind.FILE or listed.size < UNREAD_MOVE_BYTES_MIN:
            return None
        stat = await self._places.stat(path)
        row = None if stat is None else self._places.row_of(stat)
        if stat is None or row is None or not row.stat.same_file(stat):
            return None
        # A rename changes the ctime, so that alone cannot tell; 0 makes the next scan read it in its own time.
        return FileRead(replace(stat, ctime_ns=0), row.content, b"")  # type: ignore[arg-type]  # a file row's content is its content hash

    async def _apply(self, steps: list[Step]) -> None:
        """Report known nodes that took each other's names, those above first: a folder may have gone into another."""
        for step in steps:
            self._handled.add(step.path)
            if step.row.kind is Kind.FOLDER:
                self._follow_folder(step.row, step.path)
            else:
                self._place(step.row)
        for step in sorted(steps, key=lambda one: one.path.count(b"/")):
            parent = self._places.folder_at(split(step.path)[0], step.before.parent)
            name = step.before.name
            if step.row.kind is Kind.FOLDER:
                self._parts.add(SeenMoved(step.row.nid, step.row.version, parent, name, step.stat, b"", b""))
                # Hints below crossed over as well, so all of it is looked at.
                self._stack.append(Look(step.row.nid, step.path, step.stat.inode))
                continue
            try:
                read = await self._read_content(step.path, step.row.kind)
            except Fault as fault:
                self._unknown(step.row, fault.code, fault.message, retry=True)
                continue
            self._parts.add(_moved(step.row, parent, name, read))

    # -- names that a row has ----------------------------------------------------------------------------------------

    async def _replaced(self, entry: Taken) -> None:
        """Decide at once what is clear; the rest waits until the walk has seen where the rows' own files are."""
        item, row = entry.item, entry.row
        path = joined(entry.look.path, item.name)
        stat = await self._places.stat(path)
        if path in self._handled:
            return
        if stat is None or stat.kind is not item.stat.kind:
            self._unknown(row, "file_changing", "It was replaced during the scan.", retry=True)
        elif row.kind is Kind.FOLDER and is_identity(stat, row.stat):
            if stat.xattrs is not None and stat.xattrs != row.stat.xattrs:
                self._parts.add(SeenChanged(row.nid, row.version, stat, b"", b""))
            if not row.stat.ctime_ns:
                # The index was not sure of it: unreadable or ignored until now.
                self._stack.append(Look(row.nid, path, stat.inode, above=entry.scope, unsure=row))
            elif entry.look.is_deep:
                self._stack.append(Look(row.nid, path, stat.inode, above=entry.scope))
        elif row.kind is stat.kind and row.kind is not Kind.FOLDER and self._places.row_of(stat, but=row.nid) is None:
            await self._edited(entry.look, item, row)
        else:
            self._taken.append(entry)

    async def _settle_claimed(self, entry: Taken) -> None:
        """Settle a name where a known node stands now; where something new stands, its own row has time to be found."""
        stat = await self._places.stat(joined(entry.look.path, entry.item.name))
        if stat is not None and self._places.row_of(stat, but=entry.row.nid) is not None:
            await self._settle(entry)
        else:
            self._unclaimed.append(entry)

    async def _settle(self, entry: Taken) -> None:
        """Decide about a name that something else has taken, when the walk is over."""
        look, item, row = entry.look, entry.item, entry.row
        path = joined(look.path, item.name)
        if path in self._handled:
            return
        if row.nid in self._places.placed:
            await self._fresh(look, entry.scope, item)
        elif row.kind is not item.stat.kind:
            await self._gone_here(row)
            await self._fresh(look, entry.scope, item)
        elif steps := await self._places.cycle(row):
            await self._apply(steps)
        elif row.kind is Kind.FOLDER:
            await self._settle_folder(entry, path)
        else:
            await self._edited(look, item, row)

    async def _settle_folder(self, entry: Taken, path: DiskPath) -> None:
        look, row = entry.look, entry.row
        stat = await self._places.stat(path)
        if stat is None or stat.kind is not Kind.FOLDER:
            self._unknown(row, "file_changing", "It was replaced during the scan.", retry=True)
        elif await self._places.moved_folder(stat) is not None:
            await self._gone_here(row)
            await self._fresh(look, entry.scope, entry.item)
        else:
            self._place(row)
            self._places.folder_moved(row.nid, path)
            self._parts.add(SeenChanged(row.nid, row.version, stat, b"", b""))
            self._stack.append(Look(row.nid, path, stat.inode, above=entry.scope))

    async def _gone_here(self, row: LocalRow) -> None:
        """Report a row as gone whose name another node stands at, before that one takes it."""
        await self._fs.check_root()
        self._place(row)
        self._places.gone.add(row.nid)
        self._parts.add(SeenGone(row.nid, row.version))

    async def _edited(self, look: Look, item: Listed, row: LocalRow) -> None:
        path = joined(look.path, item.name)
        self._handled.add(path)
        self._parts.will_hash(item.stat.size)
        try:
            read = await self._read_content(path, row.kind)
        except Fault as fault:
            code = "file_changing" if isinstance(fault, NotFound) else fault.code
            self._unknown(row, code, fault.message, retry=True)
            return
        if not await self._is_still(look, item.stat, read.stat):
            self._unknown(row, "file_changing", "It was replaced during the scan.", retry=True)
            return
        self._place(row)
        self._parts.add(SeenChanged(row.nid, row.version, read.stat, read.content, read.blocks))

    # -- contents ----------------------------------------------------------------------------------------------------

    async def _read(self, look: Look, item: Listed, path: DiskPath) -> FileRead | None:
        assert item.stat.kind is not None
        self._parts.will_hash(item.stat.size)
        try:
            return await self._read_content(path, item.stat.kind)
        except NotFound:
            self._doubtful_inodes.add(item.stat.inode)
            if not await self._is_still(look):
                self._unknown_at(look, item, "file_changing", "A folder moved away.", retry=True)
            return None
        except Fault as fault:
            self._unknown_at(look, item, fault.code, fault.message, retry=fault.retryable)
            return None

    async def _read_content(self, path: DiskPath, kind: Kind) -> FileRead:
        if kind is Kind.FILE:
            return await read_file(self._fs, path, self._clock, self._reading.short)
        before = await self._fs.stat(path)
        target = await self._fs.read_link(path)
        after = await self._fs.stat(path)
        if after is None or before != after:
            raise FileChanging("A symlink changed while it was being read.", path=path)
        try:
            target.decode()
        except UnicodeDecodeError as error:
            raise NameInvalid("A symlink's target is not Unicode text.", path=path, reason="surrogate") from error
        return FileRead(after, target, b"")  # type: ignore[arg-type]  # a symlink's content is its target

    # -- reports -----------------------------------------------------------------------------------------------------

    def _place(self, row: LocalRow) -> None:
        self._places.placed.add(row.nid)
        self._missing.pop(row.nid, None)

    def _not_ours(self, look: Look, item: Listed, row: LocalRow | None) -> None:
        is_foreign = item.stat.device != self._device and item.stat.device
        code, reason = ("foreign_mount", "Another volume is mounted there.") if is_foreign else _SPECIAL
        if row is not None and row.nid not in self._places.placed:
            self._unknown(row, code, reason, retry=False)
        else:
            self._unknown_at(look, item, code, reason, retry=False)

    def _unknown(self, row: LocalRow, code: str, reason: str, *, retry: bool) -> None:
        self._place(row)
        self._parts.add(SeenUnknown(row.nid, None, row.name, code, reason, retry))

    def _unknown_at(self, look: Look, item: Listed, code: str, reason: str, *, retry: bool) -> None:
        self._doubtful_inodes.add(item.stat.inode)
        self._parts.add(SeenUnknown(None, look.parent, item.name, code, reason, retry))

    @property
    def has_missing(self) -> bool:
        """True when something was not found where it was."""
        return bool(self._missing)

    async def report_gone(self) -> None:
        """Report what was found nowhere. The caller has checked the root."""
        for nid in sorted(self._left - self._places.placed):
            if (left := self._known.local(nid)) is not None:
                self._unknown(left, "file_changing", "A folder moved away.", retry=True)
        missing = sorted(self._missing.values(), key=lambda one: one.row.nid)
        contents = Counter(one.row.content for one in missing if one.row.kind is Kind.FILE and one.row.stat.size)
        folders: dict[DiskPath, bool] = {}
        for one in missing:
            row = one.row
            if one.folder not in folders:
                folder = await self._places.stat(one.folder)
                folders[one.folder] = folder is not None and folder.inode == one.folder_inode
            if row.stat.inode in self._doubtful_inodes:
                # A look at its old name alone would find nothing there; the next look at the whole decides.
                self._unknown(row, "file_unreadable", "It stands under another name, which is held.", retry=False)
            elif not folders[one.folder] or await self._is_back(one):
                self._unknown(row, "file_changing", "It moved during the scan.", retry=True)
            elif not (contents[row.content] == 1 and row.kind is Kind.FILE and self._parts.adopt_new(row)):
                self._parts.add(SeenGone(row.nid, row.version))

    async def _is_back(self, one: Missing) -> bool:
        try:
            stat = await self._fs.stat(joined(one.folder, one.row.name))
            return stat is not None and not (one.is_double or (one.is_shadowed and stat.inode != one.row.stat.inode))
        except Fault:
            return True


_IGNORED = ("ignored", "An ignore rule names it.")
_SPECIAL = ("kind_unsupported", "It is neither a file, a folder nor a symlink.")


def is_unchanged(one: Stat, other: Stat) -> bool:
    """True when nothing was written: size, both times and inode are as they were."""
    return (
        one.ctime_ns == other.ctime_ns
        and one.mtime_ns == other.mtime_ns
        and one.size == other.size
        and one.inode == other.inode
    )


def _moved(row: LocalRow, parent: Parent, name: bytes, read: FileRead) -> SeenMoved:
    return SeenMoved(row.nid, row.version, parent, name, read.stat, read.content, read.blocks)
