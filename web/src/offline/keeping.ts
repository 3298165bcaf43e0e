// Brings a pin up to date: looks at all that is in it, and fetches the contents that are not kept yet, each checked against
// its hash before it counts. Nothing is dropped before what takes its place is here.
import { ask, bytesOf, contentAddress, Refusal } from '../api/client';
import type { Item } from '../api/types';
import { joined, nameOf, parentOf } from '../state/paths';
import { isContent } from '../uploading/cutter';
import { keptHashes, putContent, putKept, type KeptRow, type Pin } from './store';

export const ENTRIES_MAX = 5_000;
const AT_ONCE = 3;
/** Left free of what the browser grants, for its own books. */
const SPARED_PART = 0.05;
const TRIES = 2;

class TooMany extends Error {}

export interface Told {
  signal: AbortSignal;
  onProgress: (doneBytes: number, allBytes: number) => void;
}

/** Return what is left of the room that the browser grants, in bytes. */
export async function roomLeft(): Promise<number> {
  const { quota = 0, usage = 0 } = await navigator.storage.estimate();
  return Math.max(0, quota * (1 - SPARED_PART) - usage);
}

/** Bring a pin up to date, and return it as it is then. Throws: Refusal when the service was not reached, AbortError,
 *  NotKept. */
export async function bringUpToDate(account: string, pin: Pin, told: Told): Promise<Pin> {
  const found = await look(pin);
  if (!found) return noted(account, { ...pin, state: 'gone', files: 0, bytes: 0, lacksBytes: 0 }, []);
  const [path, top] = found;
  let rows: KeptRow[];
  try {
    rows = [...(await leading(pin, path)), ...(await below(pin, path, top, told.signal))];
  } catch (error) {
    if (error instanceof TooMany) return noted(account, { ...pin, path, state: 'many' }, null);
    // Something went away while it was looked at: the change is told, and all of it looked at again.
    if (error instanceof Refusal && error.status === 404) return noted(account, { ...pin, path, state: 'waiting' }, null);
    throw error;
  }
  const files = [...new Map(rows.filter((row) => row.item.kind === 'file').map((row) => [row.item.content_hash, row.item])).values()];
  const kept = await keptHashes(account);
  const missing = files.filter((file) => !kept.has(file.content_hash));
  const facts = { path, files: rows.filter((row) => row.item.kind === 'file').length, bytes: sizeOf(files), lacksBytes: 0 };
  const lacksBytes = sizeOf(missing) - (await roomLeft());
  if (missing.length && lacksBytes > 0) return noted(account, { ...pin, ...facts, state: 'room', lacksBytes }, null);
  try {
    const bad = await fetchAll(account, missing, told);
    const whole = rows.filter((row) => !bad.has(row.item.content_hash) || row.item.kind !== 'file');
    return await noted(account, { ...pin, ...facts, state: bad.size ? 'unchecked' : 'whole', checkedMs: Date.now() }, whole);
  } catch (error) {
    if (!(error instanceof DOMException && error.name === 'QuotaExceededError')) throw error;
    return noted(account, { ...pin, ...facts, state: 'room', lacksBytes: 0 }, null);
  }
}

async function noted(account: string, pin: Pin, rows: readonly KeptRow[] | null): Promise<Pin> {
  await putKept(account, pin, rows);
  return pin;
}

/** Return where a pin is, and what; null where it is no more. It may have been moved while nobody listened. */
async function look(pin: Pin): Promise<[string, Item] | null> {
  const there = await entryAt(pin.path);
  if (there?.id === pin.id) return [pin.path, there];
  const kind = pin.kind === 'mount' ? '' : (pin.kind as 'file' | 'folder');
  const { items } = await ask('GET /api/v1/search', { query: { q: nameOf(pin.path), kind } });
  const found = items.find((item) => item.id === pin.id);
  const item = found ? await entryAt(found.path) : null;
  return found && item?.id === pin.id ? [found.path, item] : null;
}

async function entryAt(path: string): Promise<Item | null> {
  try {
    return await ask('GET /api/v1/entry', { query: { path } });
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return null;
    throw error;
  }
}

async function leading(pin: Pin, path: string): Promise<KeptRow[]> {
  const rows: KeptRow[] = [];
  for (let folder = parentOf(path); folder !== '/'; folder = parentOf(folder)) {
    rows.push(rowOf(pin, folder, await ask('GET /api/v1/entry', { query: { path: folder } })));
  }
  return rows;
}

async function below(pin: Pin, path: string, top: Item, signal: AbortSignal): Promise<KeptRow[]> {
  const rows = [rowOf(pin, path, top)];
  const folders = top.kind === 'file' ? [] : [path];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (let after = ''; ; ) {
      const page = await ask('GET /api/v1/files', { query: { path: folder, after }, signal });
      for (const item of page.items) {
        rows.push(rowOf(pin, joined(folder, item.name), item));
        if (item.kind === 'folder' || item.kind === 'mount') folders.push(joined(folder, item.name));
      }
      if (rows.length > ENTRIES_MAX) throw new TooMany();
      after = page.after;
      if (!after) break;
    }
  }
  return rows;
}

function rowOf(pin: Pin, path: string, item: Item): KeptRow {
  return { key: `${pin.id}\n${path}`, pin: pin.id, path, folder: parentOf(path), item };
}

function sizeOf(items: readonly Item[]): number {
  return items.reduce((sum, item) => sum + item.size, 0);
}

/** Fetch contents, some at once; return the hashes of those that were not what their hash says. */
async function fetchAll(account: string, files: readonly Item[], { signal, onProgress }: Told): Promise<Set<string>> {
  const bad = new Set<string>();
  const all = sizeOf(files);
  let at = 0;
  let doneBytes = 0;
  const one = async (): Promise<void> => {
    for (let file = files[at++]; file; file = files[at++]) {
      signal.throwIfAborted();
      if (!(await fetched(account, file, signal))) bad.add(file.content_hash);
      doneBytes += file.size;
      onProgress(doneBytes, all);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return bad;
}

async function fetched(account: string, file: Item, signal: AbortSignal): Promise<boolean> {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const bytes = await bytesOf(contentAddress({ id: file.id, namespace: file.namespace ?? '' }), signal).catch((error: unknown) => {
      // Deleted since, or one's right to it is gone.
      if (error instanceof Refusal && error.status === 404) return null;
      throw error;
    });
    if (!bytes) return false;
    if (bytes.size === file.size && (await isContent(bytes, file.content_hash))) {
      await putContent(account, { hash: file.content_hash, bytes });
      return true;
    }
  }
  return false;
}
