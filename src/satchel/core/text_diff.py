"""What changed between two texts, line by line, as a unified diff. Invariant: its cost is bounded, whatever the texts.

Lines that stand once in each text, in the same order in both, are taken as the same ones (a patience diff); what is
between two of them is compared as long as that is not too much. Past that it is told as replaced whole, which is true,
only not as short as it could be.
"""

from __future__ import annotations

import bisect
import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

COMPARED_PAIRS_MAX = 4_000_000
"""Lines of one text times lines of the other: some milliseconds of work, and some seconds for the worst of texts."""
CONTEXT_LINES = 3
LINE_CHARS_MAX = 4_000


class Diff(NamedTuple):
    """lines: a unified diff without line ends, empty when the texts are equal; is_whole: nothing was left out;
    is_short: the parts that differ were compared, not told as replaced whole."""

    lines: list[str]
    is_whole: bool
    is_short: bool


def text_of(raw: bytes) -> str | None:
    """Return the bytes as text (UTF-8, or UTF-16 with its mark); None for what is binary."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\0" in raw:
        return None
    else:
        encoding = "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


def unified(old: str, new: str, *, old_name: str, new_name: str, lines_max: int) -> Diff:
    """Return the unified diff of two texts, at most `lines_max` lines of it. Long lines are cut in the end."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    if before == after:
        return Diff([], True, True)
    parts, is_short = _parts(before, after)
    lines = [f"--- {old_name}", f"+++ {new_name}"]
    is_whole = True
    for line in _hunks(before, after, parts):
        if len(lines) >= lines_max:
            is_whole = False
            break
        lines.append(line)
    return Diff(lines, is_whole, is_short)


class _Part(NamedTuple):
    """Lines of the old text that other lines stand for in the new one; either may be none."""

    old_from: int
    old_to: int
    new_from: int
    new_to: int


def _parts(before: Sequence[str], after: Sequence[str]) -> tuple[list[_Part], bool]:
    """Return what differs, in order, and whether all of it was compared."""
    parts: list[_Part] = []
    left, at_old, at_new = COMPARED_PAIRS_MAX, 0, 0
    for old_to, new_to in [*_anchors(before, after), (len(before), len(after))]:
        old, new = before[at_old:old_to], after[at_new:new_to]
        head = _common(old, new)
        tail = _common(reversed(old[head:]), reversed(new[head:]))
        old, new = old[head : len(old) - tail], new[head : len(new) - tail]
        begin_old, begin_new, pairs = at_old + head, at_new + head, len(old) * len(new)
        left -= pairs
        if pairs and left >= 0:
            codes = difflib.SequenceMatcher(None, old, new).get_opcodes()
        else:
            codes = [("replace", 0, len(old), 0, len(new))] if old or new else []
        for tag, i, j, k, m in codes:
            if tag != "equal":
                parts.append(_Part(begin_old + i, begin_old + j, begin_new + k, begin_new + m))
        at_old, at_new = old_to + 1, new_to + 1
    return parts, left >= 0


def _anchors(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of lines that stand once in each text: the longest row of them that rises in both."""
    once_old, once_new = _once(before), _once(after)
    ends: list[int] = []
    """The new place of the last line of the best row of each length."""
    rows: list[tuple[int, int, int]] = []
    """(old place, new place, what is before it in its row, or -1), for each line that was put at a row's end."""
    last: list[int] = []
    for line, old_at in once_old.items():
        new_at = once_new.get(line)
        if new_at is None:
            continue
        length = bisect.bisect_left(ends, new_at)
        rows.append((old_at, new_at, last[length - 1] if length else -1))
        if length == len(ends):
            ends.append(new_at)
            last.append(len(rows) - 1)
        else:
            ends[length], last[length] = new_at, len(rows) - 1
    found: list[tuple[int, int]] = []
    at = last[-1] if last else -1
    while at >= 0:
        old_at, new_at, at = rows[at]
        found.append((old_at, new_at))
    return found[::-1]


def _once(lines: Sequence[str]) -> dict[str, int]:
    """Return the place of each line that stands there once, in order."""
    counts = Counter(lines)
    return {line: at for at, line in enumerate(lines) if counts[line] == 1}


def _common(old: Iterable[str], new: Iterable[str]) -> int:
    count = 0
    for one, other in zip(old, new, strict=False):
        if one != other:
            break
        count += 1
    return count


def _hunks(before: Sequence[str], after: Sequence[str], parts: Sequence[_Part]) -> Iterator[str]:
    """Yield the hunks of the parts that differ, with their context; parts that are near each other share one."""
    groups: list[list[_Part]] = []
    for part in parts:
        if groups and part.old_from - groups[-1][-1].old_to <= 2 * CONTEXT_LINES:
            groups[-1].append(part)
        else:
            groups.append([part])
    for group in groups:
        first, last = group[0], group[-1]
        begin = max(0, first.old_from - CONTEXT_LINES), max(0, first.new_from - CONTEXT_LINES)
        end = min(len(before), last.old_to + CONTEXT_LINES), min(len(after), last.new_to + CONTEXT_LINES)
        yield f"@@ -{_span(begin[0], end[0])} +{_span(begin[1], end[1])} @@"
        at = begin[0]
        for old_from, old_to, new_from, new_to in group:
            yield from (_shown(" ", line) for line in before[at:old_from])
            yield from (_shown("-", line) for line in before[old_from:old_to])
            yield from (_shown("+", line) for line in after[new_from:new_to])
            at = old_to
        yield from (_shown(" ", line) for line in before[at : end[0]])


def _span(begin: int, end: int) -> str:
    """Return a range of lines as unified diffs write it."""
    count = end - begin
    if count == 1:
        return str(begin + 1)
    return f"{begin + 1 if count else begin},{count}"


def _shown(mark: str, line: str) -> str:
    text = line.rstrip("\r\n")
    return mark + (text if len(text) <= LINE_CHARS_MAX else text[:LINE_CHARS_MAX] + "…")
