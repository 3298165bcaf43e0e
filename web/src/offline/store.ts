// What is kept offline, in the browser's own database. Invariant: all of it belongs to one account, its owner: it is emptied
// before another account uses it, and who is not the owner neither reads nor writes. Without a database nothing is kept.
import type { AccountShown, Item } from '../api/types';
import { deleted } from './deleting';
import type { Edit } from './edits';

const NAME = 'satchel.offline';
const STORES = ['owner', 'pins', 'rows', 'contents', 'edits'] as const;
type Store = (typeof STORES)[number];

/** waiting: not looked at yet; room: the browser has too little; many: too much is in it; gone: it is not where it was;
 *  unchecked: some content was not what its hash says. */
export type PinState = 'waiting' | 'whole' | 'room' | 'many' | 'gone' | 'unchecked';
/** A file or folder that is kept offline, with all that is in it. */
export interface Pin {
  id: string;
  namespace: string;
  path: string;
  kind: string;
  state: PinState;
  files: number;
  bytes: number;
  /** What it would take more than there is, where that is why it is not whole. */
  lacksBytes: number;
  /** When it was last as the service has it; 0: never. */
  checkedMs: number;
}
/** One line of a listing. Of the folders that lead to a pin too, so that it is found where it stands. */
export interface KeptRow {
  key: string;
  pin: string;
  path: string;
  folder: string;
  item: Item;
}
interface Content {
  hash: string;
  bytes: Blob;
}

/** The database is not this account's, or there is none. */
export class NotKept extends Error {}

let database: Promise<IDBDatabase | null> | null = null;
/** The person signed out: nothing is made here again before somebody signs in. */
let isLeft = false;

/** Tell whether this browser keeps anything here: only for pages that came over TLS or from this machine. */
export function isPossible(): boolean {
  return isSecureContext && 'serviceWorker' in navigator && typeof indexedDB !== 'undefined';
}

/** Make an account the owner. What another one had here is gone before that; edits of its own are kept. */
export async function own(account: AccountShown): Promise<void> {
  isLeft = false;
  const opened = (await open()) ?? (await open(true));
  if (!opened) return;
  const stores = begin(opened, 'readwrite');
  const before = await done<{ account: AccountShown } | undefined>(stores.owner.get('owner'));
  if (before && before.account.account_id !== account.account_id) await emptied(stores);
  const edits = await done<Edit[]>(stores.edits.getAll());
  for (const edit of edits) if (edit.account !== account.account_id) stores.edits.delete(edit.key);
  await done(stores.owner.put({ key: 'owner', account }));
}

/** Return who was signed in here last, and did not sign out; null for nobody. */
export async function owner(): Promise<AccountShown | null> {
  const opened = await open();
  if (!opened) return null;
  return (await done<{ account: AccountShown } | undefined>(begin(opened, 'readonly').owner.get('owner')))?.account ?? null;
}

/** Drop all copies and the owner: the session ended, and not by the person. Edits that wait are kept for who made them. */
export async function dropCopies(): Promise<void> {
  const opened = await open();
  if (opened) await emptied(begin(opened, 'readwrite'));
}

/** Leave nothing here. */
export async function wipe(): Promise<void> {
  const opened = await open();
  isLeft = true;
  if (!opened) return;
  const stores = begin(opened, 'readwrite');
  await emptied(stores);
  await done(stores.edits.clear());
  opened.close();
  database = null;
  await deleted(NAME);
}

export function allPins(account: string): Promise<Pin[]> {
  return within(account, 'readonly', (stores) => done<Pin[]>(stores.pins.getAll()));
}

export function putPin(account: string, pin: Pin): Promise<void> {
  return within(account, 'readwrite', async (stores) => void (await done(stores.pins.put(pin))));
}

/** Take note of what came of a pin, with its rows, unless it was removed meanwhile. */
export function putKept(account: string, pin: Pin, rows: readonly KeptRow[] | null): Promise<void> {
  return within(account, 'readwrite', async (stores) => {
    if (!(await done(stores.pins.get(pin.id)))) return;
    if (rows) {
      for (const key of await done(stores.rows.index('pin').getAllKeys(pin.id))) stores.rows.delete(key);
      for (const row of rows) stores.rows.put(row);
    }
    await done(stores.pins.put(pin));
  });
}

export function dropPin(account: string, id: string): Promise<void> {
  return within(account, 'readwrite', async (stores) => {
    for (const key of await done(stores.rows.index('pin').getAllKeys(id))) stores.rows.delete(key);
    await done(stores.pins.delete(id));
  });
}

export function allRows(account: string): Promise<KeptRow[]> {
  return within(account, 'readonly', (stores) => done<KeptRow[]>(stores.rows.getAll()));
}

/** Return the hashes of all contents that are here. */
export function keptHashes(account: string): Promise<Set<string>> {
  return within(account, 'readonly', async (stores) => new Set((await done(stores.contents.getAllKeys())) as string[]));
}

export function putContent(account: string, content: Content): Promise<void> {
  return within(account, 'readwrite', async (stores) => void (await done(stores.contents.put(content))));
}

/** Return the bytes of a content; null where they are not kept. */
export function contentOf(account: string, hash: string): Promise<Blob | null> {
  return within(account, 'readonly', async (stores) => (await done<Content | undefined>(stores.contents.get(hash)))?.bytes ?? null);
}

/** Drop the contents that no row names. */
export function collect(account: string): Promise<void> {
  return within(account, 'readwrite', async (stores) => {
    const named = new Set((await done<KeptRow[]>(stores.rows.getAll())).map((row) => row.item.content_hash));
    for (const hash of await done(stores.contents.getAllKeys())) if (!named.has(String(hash))) stores.contents.delete(hash);
    await done(stores.contents.count());
  });
}

export function allEdits(account: string): Promise<Edit[]> {
  return within(account, 'readonly', (stores) => done<Edit[]>(stores.edits.getAll()));
}

export function putEdit(account: string, edit: Edit): Promise<void> {
  return within(account, 'readwrite', async (stores) => void (await done(stores.edits.put(edit))));
}

export function dropEdit(account: string, key: string): Promise<void> {
  return within(account, 'readwrite', async (stores) => void (await done(stores.edits.delete(key))));
}

type Stores = Record<Store, IDBObjectStore>;

/** Throws: NotKept. */
async function within<T>(account: string, mode: IDBTransactionMode, work: (stores: Stores) => Promise<T>): Promise<T> {
  const opened = await open();
  if (!opened) throw new NotKept();
  const stores = begin(opened, mode);
  const found = await done<{ account: AccountShown } | undefined>(stores.owner.get('owner'));
  if (found?.account.account_id !== account) throw new NotKept();
  const { transaction } = stores.owner;
  const isOver = new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error ?? new NotKept());
  });
  isOver.catch(() => undefined);
  const made = await work(stores);
  // What was asked to be written counts once all of it is.
  if (mode === 'readwrite') await isOver;
  return made;
}

function begin(opened: IDBDatabase, mode: IDBTransactionMode): Stores {
  const transaction = opened.transaction(STORES, mode);
  return Object.fromEntries(STORES.map((name) => [name, transaction.objectStore(name)])) as Stores;
}

async function emptied(stores: Stores): Promise<void> {
  for (const name of ['owner', 'pins', 'rows', 'contents'] as const) await done(stores[name].clear());
}

/** Open it. isMade: if there is none, for a new owner alone: who asks what is in it makes none. */
function open(isMade = false): Promise<IDBDatabase | null> {
  if (!isPossible() || isLeft) return Promise.resolve(null);
  database ??= new Promise((resolve) => {
    const none = (): void => {
      database = null;
      resolve(null);
    };
    try {
      const asked = indexedDB.open(NAME, 1);
      asked.onupgradeneeded = () => (isMade ? make(asked.result) : asked.transaction?.abort());
      asked.onsuccess = () => {
        const opened = asked.result;
        // Another page signs out: it may not be kept waiting.
        opened.onversionchange = opened.onclose = () => {
          opened.close();
          database = null;
        };
        resolve(opened);
      };
      asked.onerror = (event) => {
        event.preventDefault();
        none();
      };
      asked.onblocked = none;
    } catch {
      none();
    }
  });
  return database;
}

function make(made: IDBDatabase): void {
  const keys = { owner: 'key', pins: 'id', rows: 'key', contents: 'hash', edits: 'key' };
  for (const name of STORES) {
    const store = made.createObjectStore(name, { keyPath: keys[name] });
    if (name === 'rows') store.createIndex('pin', 'pin');
  }
}

function done<T>(asked: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error ?? new Error('database'));
  });
}
