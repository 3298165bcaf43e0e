// Which rows of a list are chosen, and which one the keys act on. Rows are known by id, so that sorting keeps them.
import type { Item } from '../api/types';

export class Selection {
  ids = $state.raw<ReadonlySet<string>>(new Set());
  activeId = $state('');
  #anchor = '';

  constructor(readonly rows: () => readonly Item[]) {}

  readonly items = $derived.by(() => (this.ids.size ? this.rows().filter((item) => this.ids.has(item.id)) : []));

  get active(): number {
    return this.rows().findIndex((item) => item.id === this.activeId);
  }

  /** Return what an action is for: the chosen rows, or else the one that the keys act on. */
  get aimed(): readonly Item[] {
    if (this.items.length) return this.items;
    const active = this.rows()[this.active];
    return active ? [active] : [];
  }

  /** Go to a row; with `isExtending` all rows from where the selection began are chosen. */
  goTo(at: number, isExtending = false): number {
    const rows = this.rows();
    const to = Math.max(0, Math.min(rows.length - 1, at));
    const row = rows[to];
    if (!row) return 0;
    if (isExtending) {
      const from = rows.findIndex((item) => item.id === (this.#anchor || this.activeId));
      const [first, last] = [Math.min(from < 0 ? to : from, to), Math.max(from, to)];
      this.#anchor ||= this.activeId || row.id;
      this.ids = new Set(rows.slice(first, last + 1).map((item) => item.id));
    } else {
      this.#anchor = row.id;
    }
    this.activeId = row.id;
    return to;
  }

  toggle(id: string): void {
    const ids = new Set(this.ids);
    if (!ids.delete(id)) ids.add(id);
    this.ids = ids;
    this.activeId = id;
    this.#anchor = id;
  }

  only(id: string): void {
    this.ids = new Set([id]);
    this.activeId = id;
    this.#anchor = id;
  }

  all(): void {
    this.ids = new Set(this.rows().map((item) => item.id));
  }

  none(): void {
    this.ids = new Set();
    this.#anchor = '';
  }

  /** Let go of what is not there any more; the keys go on at the row that took its place. */
  drop(gone: ReadonlySet<string>): void {
    const at = this.active;
    const rows = this.rows();
    const next = rows.slice(at).find((item) => !gone.has(item.id)) ?? rows.slice(0, at).findLast((item) => !gone.has(item.id));
    if (gone.has(this.activeId)) this.activeId = next?.id ?? '';
    this.ids = new Set([...this.ids].filter((id) => !gone.has(id)));
  }
}
