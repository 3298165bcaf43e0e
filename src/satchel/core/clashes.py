"""Settles who keeps a name that several nodes of the target want. Invariant: then one node a name key and folder.

The holder of the name on the service keeps it. What exists only here is taken for the same node where it is equal, and
else steps aside under another name. Source: docs/design/040, docs/use/conflicts.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable

from satchel.core.conflicts import ClashReason, clash_names, clash_reason, conflicted_copy_names, original_name
from satchel.core.entries import Kind
from satchel.core.ids import Nid
from satchel.core.paths import name_key
from satchel.core.trees import Item

NameKey = tuple[Nid, str]
"""A folder and the key of a name in it."""

_COPY = Nid(-1)
_RULES: dict[ClashReason, str] = {
    "kind": "name clash",
    "case": "case clash",
    "unicode": "unicode clash",
    "excluded": "excluded name",
}


def key_of(item: Item) -> NameKey:
    """Return the folder and the name's key of an item."""
    return item.parent, name_key(item.name)


class Names:
    """Who holds which name in the target, and which names are in use on either side.

    clashes: the names that several nodes want, in the order of the nodes. excluded: nodes that are kept off this disk.
    The target is changed in place.
    """

    def __init__(
        self,
        target: dict[Nid, Item],
        remote: dict[Nid, Item],
        local: dict[Nid, Item],
        taken: Callable[[Nid, str], bool],
        excluded: Container[Nid] = (),
    ) -> None:
        self.target = target
        self.remote = remote
        self.local = local
        self.excluded = excluded
        self.holders: dict[NameKey, Nid] = {}
        self.clashes: dict[NameKey, list[Nid]] = {}
        self._taken = taken
        self._in_use: set[NameKey] | None = None
        holders = self.holders
        for nid, item in target.items():
            name = item.name
            key = (item.parent, name.lower() if name.isascii() else name_key(name))
            other = holders.setdefault(key, nid)
            if other != nid:
                self.clashes.setdefault(key, [other]).append(nid)

    def take_free(self, parent: Nid, candidates: Iterable[str]) -> str:
        """Return the first name that is free in the folder, in the target and on both sides, and take it."""
        if self._in_use is None:
            self._in_use = {key_of(item) for side in (self.remote, self.local) for item in side.values()}
        for name in candidates:
            key = (parent, name_key(name))
            if key not in self.holders and key not in self._in_use and not self._taken(*key):
                self.holders[key] = _COPY
                return name
        raise AssertionError("candidates never end")

    def put(self, nid: Nid, item: Item) -> NameKey | None:
        """Move the node in the target. Return the name's key when another node wants it too."""
        self.target[nid] = item
        key = key_of(item)
        holder = self.holders.get(key)
        if holder is None or holder == nid:
            self.holders[key] = nid
            return None
        members = self.clashes.setdefault(key, [holder])
        if nid not in members:
            members.append(nid)
        return key


def resolve_clashes(
    names: Names, adopted: dict[Nid, Nid], rules: dict[Nid, str], *, device_name: str, date: str
) -> None:
    """Settle all clashes of `names`; fills `adopted` (local-only nid → remote nid) and `rules`."""
    _Resolution(names, adopted, rules, device_name=device_name, date=date).run()


class _Resolution:
    def __init__(
        self, names: Names, adopted: dict[Nid, Nid], rules: dict[Nid, str], *, device_name: str, date: str
    ) -> None:
        self._names = names
        self._target = names.target
        self._adopted = adopted
        self._hosts: set[Nid] = set()
        self._rules = rules
        self._device_name = device_name
        self._date = date
        self._below: dict[Nid, list[Nid]] | None = None
        self._pending = deque(names.clashes)

    def run(self) -> None:
        while self._pending:
            key = self._pending.popleft()
            members = self._names.clashes.pop(key, [])
            wanting = [nid for nid in members if nid in self._target and key_of(self._target[nid]) == key]
            if wanting:
                self._settle(key, wanting)

    def _settle(self, key: NameKey, wanting: list[Nid]) -> None:
        first, *others = sorted(wanting, key=self._rank)
        self._names.holders[key] = first
        name = self._target[first].name
        for nid in sorted(others, key=lambda each: (*self._rank(each)[:1], self._target[each].name != name, each)):
            if first in self._names.excluded:
                # What is kept off this disk is never taken for what stands on it.
                self._step_aside(nid, "excluded")
            elif self._is_same_node(nid, first):
                self._adopt(nid, first)
            elif self._is_equal_file(nid, first):
                del self._target[nid]
                self._rules[nid] = "equal content"
            else:
                self._step_aside(nid, clash_reason(self._target[nid].name, name))

    def _rank(self, nid: Nid) -> tuple[int, Nid]:
        """The holder of the name on the service comes first, then what the service has, then what it does not."""
        remote = self._names.remote.get(nid)
        if remote is None:
            return 2, nid
        return (0 if remote.place == self._target[nid].place else 1), nid

    def _is_same_node(self, nid: Nid, first: Nid) -> bool:
        """A node that is only here and one that is only there are the same when they are folders or equal files."""
        names = self._names
        if nid in names.remote or first not in names.remote or first in names.local or first in self._hosts:
            return False
        return self._is_equal(nid, first)

    def _is_equal_file(self, nid: Nid, first: Nid) -> bool:
        """An equal file of that very name comes to this place anyway: the second one is no loss."""
        one, other = self._target[nid], self._target[first]
        is_only_here = nid not in self._names.remote and one.kind is not Kind.FOLDER
        return is_only_here and one.name == other.name and self._is_equal(nid, first)

    def _is_equal(self, nid: Nid, first: Nid) -> bool:
        one, other = self._target[nid], self._target[first]
        return one.kind is other.kind and one.content == other.content

    def _adopt(self, nid: Nid, first: Nid) -> None:
        """Take both for one node; what stands in the local folder comes along, and may clash in turn.

        Attributes that only the local one has are kept: they were never agreed on, so nobody removed them.
        """
        one, other = self._target[nid], self._target[first]
        if one.xattrs and not other.xattrs:
            self._target[first] = other.holding(other.content, is_executable=other.is_executable, xattrs=one.xattrs)
        self._adopted[nid] = first
        self._hosts.add(first)
        self._rules[first] = "equal create/create"
        del self._target[nid]
        for child in self._children(nid):
            item = self._target.get(child)
            if item is None or item.parent != nid:
                continue
            old = key_of(item)
            if self._names.holders.get(old) == child:
                del self._names.holders[old]
            clash = self._names.put(child, item.at(first, item.name))
            self._children(first).append(child)
            if clash is not None:
                self._pending.append(clash)

    def _children(self, nid: Nid) -> list[Nid]:
        if self._below is None:
            self._below = {}
            for child, item in self._target.items():
                self._below.setdefault(item.parent, []).append(child)
        return self._below.setdefault(nid, [])

    def _step_aside(self, nid: Nid, reason: ClashReason) -> None:
        """Give the node another name beside its own."""
        item = self._target[nid]
        is_folder = item.kind is Kind.FOLDER
        if reason == "kind" and not is_folder:
            candidates = conflicted_copy_names(original_name(item.name), self._device_name, self._date)
        else:
            candidates = clash_names(item.name, reason, is_folder)
        free = self._names.take_free(item.parent, candidates)
        self._target[nid] = item.at(item.parent, free)
        self._names.holders[item.parent, name_key(free)] = nid
        self._rules[nid] = _RULES[reason]
