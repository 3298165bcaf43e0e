"""What is asked of a node beside its words: how its name ends, when it was changed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from satchel.server.metadata.nodes import Node
from satchel.server.search.grams import extension_of


@dataclass(frozen=True, slots=True)
class Within:
    """extensions: keys, without their dots; none: all. from_ns, until_ns: mtimes in ns; None for any."""

    extensions: frozenset[str] = frozenset()
    from_ns: int | None = None
    until_ns: int | None = None

    def holds(self, node: Node) -> bool:
        """Tell whether the node is one of those."""
        if self.extensions and extension_of(node.name_key) not in self.extensions:
            return False
        if self.from_ns is not None and node.mtime_ns < self.from_ns:
            return False
        return self.until_ns is None or node.mtime_ns < self.until_ns


ANY = Within()
