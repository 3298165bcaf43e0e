// A unified diff as rows: what stood on the left, what stands on the right.

/** A line: its number, its text, and from where to where it differs from the line that it stands beside. */
export interface Cell {
  number: number;
  text: string;
  from: number;
  to: number;
}
export type DiffRow =
  | { kind: 'gap'; left: null; right: null }
  | { kind: 'same'; left: Cell; right: Cell }
  | { kind: 'changed'; left: Cell | null; right: Cell | null };

/** Return the rows of a unified diff (its first two lines name the sides); lines that were left out are a gap. */
export function rowsOf(lines: readonly string[]): DiffRow[] {
  const rows: DiffRow[] = [];
  let removed: Cell[] = [];
  let added: Cell[] = [];
  let [left, right] = [1, 1];
  const flush = (): void => {
    for (let at = 0; at < Math.max(removed.length, added.length); at += 1) {
      rows.push({ kind: 'changed', ...marked(removed[at] ?? null, added[at] ?? null) });
    }
    removed = [];
    added = [];
  };
  for (const line of lines.slice(2)) {
    const text = line.slice(1);
    const cell = (number: number): Cell => ({ number, text, from: 0, to: 0 });
    if (line.startsWith('@@')) {
      flush();
      const found = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/.exec(line);
      // Of an empty range it is the line before that is named.
      const begin = (at: number): number => Number(found?.[at] ?? 1) + (found?.[at + 1] === '0' ? 1 : 0);
      const isGap = begin(1) > left || begin(3) > right;
      [left, right] = [begin(1), begin(3)];
      if (isGap) rows.push({ kind: 'gap', left: null, right: null });
    } else if (line.startsWith('-')) removed.push(cell(left++));
    else if (line.startsWith('+')) added.push(cell(right++));
    else {
      flush();
      rows.push({ kind: 'same', left: cell(left++), right: cell(right++) });
    }
  }
  flush();
  return rows;
}

/** Return the rows one under the other: what was removed before what was added. */
export function unifiedRows(rows: readonly DiffRow[]): DiffRow[] {
  const found: DiffRow[] = [];
  let added: DiffRow[] = [];
  for (const row of rows) {
    if (row.kind !== 'changed') {
      found.push(...added, row);
      added = [];
      continue;
    }
    if (row.left) found.push({ kind: 'changed', left: row.left, right: null });
    if (row.right) added.push({ kind: 'changed', left: null, right: row.right });
  }
  return [...found, ...added];
}

export function countsOf(rows: readonly DiffRow[]): { added: number; removed: number } {
  const changed = rows.filter((row) => row.kind === 'changed');
  return { added: changed.filter((row) => row.right).length, removed: changed.filter((row) => row.left).length };
}

function marked(left: Cell | null, right: Cell | null): { left: Cell | null; right: Cell | null } {
  if (!left || !right) return { left, right };
  const [one, other] = [left.text, right.text];
  const most = Math.min(one.length, other.length);
  let head = 0;
  while (head < most && one[head] === other[head]) head += 1;
  let tail = 0;
  while (tail < most - head && one[one.length - 1 - tail] === other[other.length - 1 - tail]) tail += 1;
  // Lines that share nothing are marked by their ground alone.
  if (head + tail === 0) return { left, right };
  return { left: { ...left, from: head, to: one.length - tail }, right: { ...right, from: head, to: other.length - tail } };
}
