// What this browser keeps for reading without a network. One page of the app at a time brings it up to date: when it is
// asked to, when something in it changed, and when the service is reached again.
import { isUnreachable } from '../api/client';
import type { Item, SeedEntry } from '../api/types';
import { isMadeHere, pathAtService } from '../offline/edits';
import { bringUpToDate, ENTRIES_MAX } from '../offline/keeping';
import { allPins, allRows, collect, contentOf, dropPin, isPossible, NotKept, putPin, type Pin } from '../offline/store';
import { sizeText, t } from '../text/index.svelte';
import { isAway } from './connection.svelte';
import { listen } from './live.svelte';
import { joined } from './paths';
import { edits } from './queue.svelte';
import { account, whenLeaving } from './session.svelte';
import { tell, tellRefusal } from './toasts.svelte';

const TOGETHER_MS = 1_000;
const AGAIN_MS = 30_000;
const PINS_MAX = 100;
const LOCK = 'satchel.offline';

interface Work {
  id: string;
  doneBytes: number;
  allBytes: number;
}

let current = $state.raw<{ pins: readonly Pin[]; work: Work | null }>({ pins: [], work: null });
/** The ids of all that is in a pin or leads to it, and the paths that lead to it. */
let ids = new Map<string, Map<string, string>>();
let stop = new AbortController();
let wanted = new Set<string>();
let timer = 0;
let again = 0;
const others = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('satchel.pins');

export { isPossible };

export function pins(): readonly Pin[] {
  return current.pins;
}

/** What is fetched at the moment. */
export function work(): Work | null {
  return current.work;
}

/** Tell whether an item is kept offline: itself, or with a folder above it. */
export function isPinned(folder: string, item: Item): boolean {
  if (!current.pins.length) return false;
  const path = joined(folder, item.name);
  return current.pins.some((pin) => pin.id === item.id || path.startsWith(`${pin.path}/`));
}

export function pinOf(item: { id: string }): Pin | undefined {
  return current.pins.find((pin) => pin.id === item.id);
}

function me(): string {
  return account()?.account_id ?? '';
}

/** Keep a file or folder offline from now on. */
export async function pin(folder: string, item: Item): Promise<void> {
  if (current.pins.length >= PINS_MAX) return tellRefusal(t('offline.tooMany', { count: PINS_MAX }));
  // Asked where somebody clicked: a browser may drop all of it when its disk is full, unless it says it will not.
  void navigator.storage.persist().catch(() => false);
  const made: Pin = {
    ...{ id: item.id, namespace: item.namespace ?? '', path: joined(folder, item.name), kind: item.kind },
    ...{ state: 'waiting', files: 0, bytes: 0, lacksBytes: 0, checkedMs: 0 },
  };
  try {
    await putPin(me(), made);
    await read();
    others?.postMessage('changed');
    await update([item.id]);
    const now = pinOf(item);
    if (now?.state === 'whole') tell(t('offline.kept', { name: item.name }));
    else if (now && now.state !== 'waiting') tellRefusal(whyNot(now));
  } catch (error) {
    if (!(error instanceof NotKept)) tellRefusal(error);
  }
}

/** Keep it no more. What is fetched at the moment is let go of too, and begun anew for the others. */
export async function unpin(id: string): Promise<void> {
  stop.abort();
  stop = new AbortController();
  try {
    await dropPin(me(), id);
    await navigator.locks.request(LOCK, () => collect(me()));
    await read();
    others?.postMessage('changed');
  } catch (error) {
    if (!(error instanceof NotKept)) tellRefusal(error);
  }
  want(current.pins.map((pin) => pin.id));
}

/** Say why a pin is not whole. */
export function whyNot(pin: Pin): string {
  if (pin.state === 'room') return pin.lacksBytes ? t('offline.room', { size: sizeText(pin.bytes), lacks: sizeText(pin.lacksBytes) }) : t('offline.full');
  if (pin.state === 'many') return t('offline.many', { count: ENTRIES_MAX });
  return t(pin.state === 'gone' ? 'offline.gone' : pin.state === 'unchecked' ? 'offline.unchecked' : 'offline.waiting');
}

/** Bring pins up to date, all of them without a list. */
export async function update(which: readonly string[] = current.pins.map((one) => one.id)): Promise<void> {
  const id = me();
  const { signal } = stop;
  if (!id || isAway()) return;
  await navigator.locks.request(LOCK, async () => {
    try {
      for (const one of await allPins(id)) {
        if (!which.includes(one.id)) continue;
        signal.throwIfAborted();
        const onProgress = (doneBytes: number, allBytes: number): void => show({ work: { id: one.id, doneBytes, allBytes } });
        onProgress(0, 0);
        await bringUpToDate(id, one, { signal, onProgress });
        show({ pins: await allPins(id) });
      }
      await collect(id);
      await read();
    } catch (error) {
      // Signed out, removed, or without a network: it is tried again when that is over.
      if (!signal.aborted && !(error instanceof NotKept) && !isUnreachable(error)) throw error;
    } finally {
      show({ work: null });
    }
  });
  others?.postMessage('changed');
}

/** Follow what happens to all that is kept, until the function that is returned is called. */
export function followPins(): () => void {
  if (!isPossible()) return () => undefined;
  stop = new AbortController();
  const forget = listen(heard);
  if (others) others.onmessage = () => void read().catch(() => undefined);
  void read()
    .then(() => want(current.pins.map((pin) => pin.id)))
    .catch(() => undefined);
  return () => {
    forget();
    stop.abort();
    clearTimeout(timer);
    clearTimeout(again);
    timer = again = 0;
    wanted = new Set();
  };
}

function heard(entries: readonly SeedEntry[], isReset: boolean): void {
  if (isReset) return want(current.pins.map((pin) => pin.id));
  for (const pin of current.pins) {
    const known = ids.get(pin.id);
    const told = entries.filter((entry) => entry.id === pin.id || known?.has(entry.id) || within(entry.path, pin.path));
    if (!told.length) continue;
    // It, or a folder above it, stands elsewhere now: by its new place it is found.
    for (const entry of told) {
      const before = known?.get(entry.id);
      if (entry.action === 'update' && before && within(pin.path, before)) pin.path = entry.path + pin.path.slice(before.length);
    }
    void putPin(me(), pin).catch(() => undefined);
    want([pin.id]);
  }
}

function within(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

function want(which: readonly string[]): void {
  for (const id of which) wanted.add(id);
  if (!wanted.size) return;
  timer ||= window.setTimeout(() => {
    timer = 0;
    const now = [...wanted];
    wanted = new Set();
    // Whatever the service was too busy for is asked for again.
    void update(now).catch(() => void (again ||= window.setTimeout(() => ((again = 0), want(now)), AGAIN_MS)));
  }, TOGETHER_MS);
}

async function read(): Promise<void> {
  const found = await allPins(me());
  const rows = await allRows(me());
  ids = new Map(found.map((pin) => [pin.id, new Map()]));
  for (const row of rows) ids.get(row.pin)?.set(row.item.id, row.path);
  show({ pins: found });
}

function show(part: Partial<typeof current>): void {
  current = { ...current, ...part };
}

/** Return what is kept of a folder, as the service had it last, without what waits; null where nothing of it is kept. */
export async function keptFolder(path: string): Promise<readonly Item[] | null> {
  if (!isPossible() || !me()) return null;
  try {
    const at = pathAtService(path, edits());
    const rows = await allRows(me());
    if (at !== '/' && !rows.some((row) => row.path === at && row.item.kind !== 'file')) return isMadeHere(path, edits()) ? [] : null;
    return [...new Map(rows.filter((row) => row.folder === at).map((row) => [row.item.id, row.item])).values()];
  } catch {
    return null;
  }
}

/** Return the bytes of a file that is kept; null for one that is not. */
export async function keptContent(hash: string): Promise<Blob | null> {
  if (!hash || !isPossible() || !me()) return null;
  return contentOf(me(), hash).catch(() => null);
}

whenLeaving(() => {
  stop.abort();
  ids = new Map();
  show({ pins: [], work: null });
});
