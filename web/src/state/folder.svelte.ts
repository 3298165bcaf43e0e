// One folder as the files page shows it: read a page at a time, kept true by what is told of changes.
import { ask, isUnreachable, Refusal } from '../api/client';
import type { Item, SeedEntry } from '../api/types';
import { withEdits } from '../offline/edits';
import { isAway } from './connection.svelte';
import { parentOf } from './paths';
import { keptFolder } from './pins.svelte';
import { edits } from './queue.svelte';

export type SortBy = 'name' | 'size' | 'mtime_ns';
const ITEMS_MAX = 500_000;

export function isFolder(item: Item): boolean {
  return item.kind === 'folder' || item.kind === 'mount';
}

export class Folder {
  items = $state.raw<readonly Item[]>([]);
  isLoading = $state(true);
  isWhole = $state(false);
  isGone = $state(false);
  /** It is what this browser keeps of it: the service was not reached. */
  isKept = $state(false);
  problem = $state<unknown>(null);
  sortBy = $state<SortBy>('name');
  isDown = $state(false);
  filter = $state('');
  readonly shown = $derived.by(() => this.arranged());
  #stop = new AbortController();

  constructor(readonly path: string) {}

  /** Read the whole folder; the first page is shown at once. What was shown stays until the new is there. */
  async load(): Promise<void> {
    this.#stop.abort();
    this.#stop = new AbortController();
    const signal = this.#stop.signal;
    this.problem = null;
    this.isWhole = false;
    const isFirst = this.items.length === 0;
    const found: Item[] = [];
    if (isAway() && (await this.#takeKept(signal))) return;
    try {
      for (let after = ''; ; ) {
        const page = await ask('GET /api/v1/files', { query: { path: this.path, after }, signal });
        found.push(...page.items);
        // Shown when it has doubled: to arrange it for each page would cost more the longer it is.
        if (isFirst && found.length >= 2 * this.items.length) this.items = [...found];
        this.isLoading = false;
        after = page.after;
        if (!after || found.length >= ITEMS_MAX) break;
      }
      this.items = found;
      this.isWhole = true;
      this.isGone = this.isKept = false;
    } catch (error) {
      if (signal.aborted || (isUnreachable(error) && (await this.#takeKept(signal)))) return;
      this.isGone = error instanceof Refusal && error.status === 404;
      // What was shown stays, and with it the word that the service is away.
      if (!this.isGone && !(isUnreachable(error) && this.items.length)) this.problem = error;
    } finally {
      if (!signal.aborted) this.isLoading = false;
    }
  }

  /** Show what is kept; tell whether there is something. What was read from the service is more, and stays. */
  async #takeKept(signal: AbortSignal): Promise<boolean> {
    if (this.items.length && !this.isKept) {
      this.isLoading = false;
      return true;
    }
    const kept = await keptFolder(this.path);
    if (!kept || signal.aborted) return false;
    this.items = kept;
    this.isKept = true;
    this.isLoading = false;
    return true;
  }

  leave(): void {
    this.#stop.abort();
  }

  /** Apply what was told of changes. */
  apply(entries: readonly SeedEntry[], isReset: boolean): void {
    const isAbove = (entry: SeedEntry): boolean =>
      entry.type !== 'file' && (this.path === entry.path || this.path.startsWith(`${entry.path}/`));
    // What a mount leads to stands in no entry.
    const isMount = (entry: SeedEntry): boolean => entry.type === 'mount' && parentOf(entry.path) === this.path;
    if (isReset || !this.isWhole || entries.some((entry) => isAbove(entry) || isMount(entry))) {
      void this.load();
      return;
    }
    const byId = new Map(this.items.map((item) => [item.id, item]));
    let isChanged = false;
    for (const entry of entries) {
      const isHere = entry.action === 'update' && parentOf(entry.path) === this.path;
      if (!isHere && !byId.has(entry.id)) continue;
      isChanged = true;
      if (isHere) byId.set(entry.id, itemOf(entry, byId.get(entry.id)));
      else byId.delete(entry.id);
    }
    if (isChanged) this.items = [...byId.values()];
  }

  /** Put an item in, or change it, before anything is told of it. */
  put(item: Item): void {
    this.items = [...this.items.filter((one) => one.id !== item.id), item];
  }

  drop(ids: ReadonlySet<string>): void {
    this.items = this.items.filter((item) => !ids.has(item.id));
  }

  sort(by: SortBy): void {
    this.isDown = this.sortBy === by ? !this.isDown : by !== 'name';
    this.sortBy = by;
  }

  private arranged(): readonly Item[] {
    const wanted = this.filter.trim().toLowerCase();
    const items = withEdits(this.items, this.path, edits());
    const found = wanted ? items.filter((item) => item.name.toLowerCase().includes(wanted)) : [...items];
    const by = this.sortBy;
    const sign = this.isDown ? -1 : 1;
    const byName = new Intl.Collator(undefined, { numeric: true }).compare;
    return found.sort((one, other) => {
      const kinds = Number(isFolder(other)) - Number(isFolder(one));
      if (kinds) return kinds;
      return sign * (by === 'name' ? 0 : one[by] - other[by]) || (by === 'name' ? sign : 1) * byName(one.name, other.name);
    });
  }
}

function itemOf(entry: SeedEntry, before: Item | undefined): Item {
  return {
    target: '',
    mounts: '',
    ...before,
    id: entry.id,
    parent_id: entry.parent_id,
    name: entry.name,
    kind: entry.type,
    size: entry.size,
    mtime_ns: entry.mtime_ns,
    is_executable: entry.is_executable,
    rev: entry.rev,
    seq: entry.seq,
    content_hash: entry.content_hash,
    namespace: entry.namespace,
  };
}
