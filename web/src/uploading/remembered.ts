// What is being uploaded, in the browser's own database, so that a reload or a crash ends nothing. Written a little later
// and together: a folder of a thousand files is a few transactions. Without a database nothing is remembered, no more.
import { deleted } from '../offline/deleting';

const NAME = 'satchel.uploads';
const STORE = 'uploads';
const FLUSH_MS = 300;
const AGE_MS_MAX = 7 * 24 * 3_600_000;
const KEPT_MAX = 20_000;

export interface Remembered {
  key: string;
  account: string;
  path: string;
  /** As it was chosen: below a folder, with the folder's name. */
  chosen: string;
  size: number;
  modifiedMs: number;
  isReplacing: boolean;
  session: string;
  thereBytes: number;
  addedMs: number;
  /** A short file itself, or what reads a file again where the browser has such a thing. */
  file?: File;
  handle?: FileSystemFileHandle;
}

let database: Promise<IDBDatabase | null> | null = null;
let ready: IDBDatabase | null = null;
const changes = new Map<string, Remembered | null>();
let timer = 0;
let kept = 0;
let flushedMs = 0;

export function remember(one: Remembered): void {
  if (kept + changes.size >= KEPT_MAX && !changes.has(one.key)) return;
  changes.set(one.key, { ...one });
  later();
}

export function forget(key: string): void {
  changes.set(key, null);
  later();
}

/** Return what an account was uploading, in the order in which it was added; what is too old is forgotten. */
export async function recall(account: string): Promise<Remembered[]> {
  const opened = await open();
  if (!opened) return [];
  try {
    const all = await done(opened.transaction(STORE).objectStore(STORE).getAll() as IDBRequest<Remembered[]>);
    // Another account signed in at this browser: what the one before left here is not for its eyes.
    for (const one of all) if (one.addedMs < Date.now() - AGE_MS_MAX || one.account !== account) forget(one.key);
    return all.filter((one) => one.account === account && changes.get(one.key) !== null).sort((one, other) => one.addedMs - other.addedMs);
  } catch {
    return [];
  }
}

/** Leave nothing here: the person signed out. */
export async function forgetAll(): Promise<void> {
  changes.clear();
  const opened = await open();
  opened?.close();
  database = ready = null;
  await deleted(NAME);
}

function later(): void {
  // At once after a quiet time: what was just chosen may be all there is of it when the page is left.
  timer ||= window.setTimeout(() => void flush(), Date.now() - flushedMs > FLUSH_MS ? 0 : FLUSH_MS);
}

async function flush(): Promise<void> {
  // Without a wait where there need be none: a page that is being left does nothing after one.
  const opened = ready ?? (await open());
  timer = 0;
  flushedMs = Date.now();
  const now = [...changes];
  changes.clear();
  if (!opened || !now.length) return;
  try {
    const work = opened.transaction(STORE, 'readwrite');
    const store = work.objectStore(STORE);
    for (const [key, one] of now) {
      if (one) store.put(one);
      else store.delete(key);
    }
    const counted = done(store.count());
    // Else it would wait for this page, which may be gone by then, and then nothing of it would count.
    work.commit();
    kept = await counted;
  } catch {
    // No room, or a file that cannot be kept: it is uploaded all the same.
  }
}

function open(): Promise<IDBDatabase | null> {
  database ??= new Promise((resolve) => {
    try {
      const asked = indexedDB.open(NAME, 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore(STORE, { keyPath: 'key' });
      asked.onsuccess = () => {
        const opened = (ready = asked.result);
        // Another page signs out: it may not be kept waiting.
        opened.onversionchange = () => {
          opened.close();
          database = ready = null;
        };
        resolve(opened);
      };
      asked.onerror = asked.onblocked = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
  return database;
}

function done<T>(asked: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(new Error(asked.error?.message ?? ''));
  });
}
addEventListener('pagehide', () => void flush());
