// Edits of files and folders. Invariant: each is done at most once, in order, and only to what it was meant for: the rev
// goes with it, and a key under which the service does it once. What the service cannot be asked for waits, and what
// turned out otherwise meanwhile stays with its reason until the person decides.
import { ask, isUnreachable, Refusal } from '../api/client';
import type { Item } from '../api/types';
import { isToBe, waiting, type Edit, type EditKind } from '../offline/edits';
import { allEdits, dropEdit, isPossible, putEdit } from '../offline/store';
import { t, tn } from '../text/index.svelte';
import { isAway } from './connection.svelte';
import { lookAnew, whenReached } from './live.svelte';
import { account, whenLeaving } from './session.svelte';
import { tell, tellRefusal } from './toasts.svelte';

const TRIES_MAX = 4;
const EDITS_MAX = 500;
const LATER_MS = 20_000;
const LOCK = 'satchel.edits';
let queue = $state.raw<readonly Edit[]>([]);
let number = 0;
let timer = 0;
// Between the open pages: how many that waited one of them has done, none where only what waits has changed.
const others = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('satchel.edits');

/** Return all that wait, and those that could not be done, in order. */
export function edits(): readonly Edit[] {
  return queue;
}

export interface Wanted {
  kind: EditKind;
  path: string;
  to: string;
  item: Item;
}

/** Do one now, or, where the service is not reached, later. Return what the service made of it, or the edit that waits.
 *  Throws: Refusal. */
export async function perform(wanted: Wanted): Promise<{ item: Item | null } | { edit: Edit }> {
  const edit = editOf(wanted);
  if (!mayWait(wanted) || (!isAway() && !waiting(queue).length)) {
    try {
      return { item: await sent(edit) };
    } catch (error) {
      if (!isUnreachable(error) || !mayWait(wanted)) throw error;
    }
  }
  await wait(edit);
  return { edit };
}

/** Tell whether one may be done later. A folder is not deleted later: others may have put something in by then, and
 *  nobody saw that. What is to be made first has no rev yet. */
export function mayWait({ kind, item }: Wanted): boolean {
  if (!isPossible() || (isToBe(item) && kind !== 'folder')) return false;
  return kind !== 'delete' || item.kind === 'file' || item.kind === 'symlink';
}

/** Let go of one that is not done yet. */
export async function cancel(edit: Edit): Promise<void> {
  const isThere = await navigator.locks.request(LOCK, async () => {
    const found = (await allEdits(edit.account)).some((one) => one.key === edit.key);
    await dropEdit(edit.account, edit.key);
    return found;
  });
  await read();
  others?.postMessage(0);
  lookAnew();
  if (!isThere) tellRefusal(t('offline.tooLate'));
}

/** Do one that could not be done, for what it finds now. */
export async function again(edit: Edit): Promise<void> {
  const rev = edit.path ? (await entryAt(edit.path)).rev : 0;
  await putEdit(edit.account, { ...edit, rev, once: key(), problem: '' });
  await flush();
}

/** Know them from now on, and do them when the service is reached, until the function that is returned is called. */
export function followEdits(): () => void {
  if (!isPossible()) return () => undefined;
  if (others) others.onmessage = ({ data }: MessageEvent<number>) => void read().then(() => tellDone(data));
  void read().then(() => (isAway() ? undefined : flush()));
  const forget = whenReached(flush);
  return () => {
    forget();
    clearTimeout(timer);
    timer = 0;
  };
}

function editOf({ kind, path, to, item }: Wanted): Edit {
  const madeMs = Date.now();
  number += 1;
  const order = `${String(madeMs).padStart(15, '0')}-${String(number).padStart(6, '0')}`;
  return { key: order, account: account()?.account_id ?? '', kind, path, to, item, rev: item.rev, once: key(), madeMs, problem: '' };
}

function key(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function wait(edit: Edit): Promise<void> {
  if (queue.length >= EDITS_MAX) throw new Refusal(0, 'unreachable', '', '', '');
  await putEdit(edit.account, edit);
  await read();
  others?.postMessage(0);
  if (!isAway()) later();
}

async function read(): Promise<void> {
  const id = account()?.account_id;
  queue = id ? await allEdits(id).catch(() => []) : [];
}

/** Do all that wait, in their order; end at the first that the service cannot be asked for. */
async function flush(): Promise<void> {
  const id = account()?.account_id;
  if (!id) return;
  let count = 0;
  await navigator.locks.request(LOCK, async () => {
    try {
      for (const edit of waiting(await allEdits(id))) {
        const problem = await tried(edit);
        if (problem === null) break;
        if (problem) await putEdit(id, { ...edit, problem });
        else {
          count += 1;
          await dropEdit(id, edit.key);
        }
      }
    } catch {
      // Signed out meanwhile, and nothing is here any more.
    }
  });
  const before = queue.length;
  await read();
  tellDone(count);
  if (before || count) {
    others?.postMessage(count);
    lookAnew();
  }
}

/** Say how many were done. Each open page says it: any one of them does what waits, and the person looks at one. */
function tellDone(count: number): void {
  if (count) tell(tn('offline.done', count));
}

/** Return why one could not be done, empty if it was, null if it has to wait on. */
async function tried(edit: Edit): Promise<string | null> {
  try {
    await sent(edit, (now) => putEdit(now.account, now));
    return '';
  } catch (error) {
    const refusal = error instanceof Refusal ? error : null;
    if (refusal && (await isDone(edit, refusal).catch(() => false))) return '';
    // The page that sent it was left before it was answered: what comes of it is told when it is asked again.
    const isAtWork = refusal?.code === 'request_in_progress';
    if (refusal && !isAtWork && refusal.status > 0 && refusal.status < 500 && ![401, 408, 429].includes(refusal.status)) return refusal.code;
    if (refusal && !isUnreachable(refusal) && refusal.status !== 401) later(refusal.retryAfterS * 1_000);
    return null;
  }
}

/** Tell whether what was wanted is so already. */
async function isDone({ kind, to }: Edit, { code }: Refusal): Promise<boolean> {
  if (kind === 'folder' && code === 'already_exists') return ['folder', 'mount'].includes((await entryAt(to)).kind);
  return kind === 'delete' && code === 'not_found';
}

function later(ms = 0): void {
  timer ||= window.setTimeout(
    () => {
      timer = 0;
      void flush();
    },
    (ms || LATER_MS) * (1 + Math.random()),
  );
}

/** Send one. onNew: told before it is sent for another rev: what is deleted has to be what was seen, but what is moved may
 *  have another content by now. Throws: Refusal. */
async function sent(edit: Edit, onNew: (edit: Edit) => Promise<void> = () => Promise.resolve()): Promise<Item | null> {
  let now = edit;
  for (let tries = 1; ; tries += 1) {
    try {
      return await once(now);
    } catch (error) {
      const isOther = error instanceof Refusal && error.status === 412;
      if (!isOther || now.kind !== 'move' || tries === TRIES_MAX) throw error;
      const there = await entryAt(now.path);
      if (there.id !== now.item.id) throw error;
      now = { ...now, rev: there.rev, once: key() };
      await onNew(now);
    }
  }
}

async function once({ kind, path, to, rev, once }: Edit): Promise<Item | null> {
  const headers = { 'idempotency-key': once };
  if (kind === 'move') return ask('POST /api/v1/move', { body: { from: path, to }, headers, ifMatch: rev });
  if (kind === 'folder') return ask('POST /api/v1/folders', { body: { path: to }, headers });
  await ask('POST /api/v1/delete', { body: { path }, headers, ifMatch: rev });
  return null;
}

function entryAt(path: string): Promise<Item> {
  return ask('GET /api/v1/entry', { query: { path } });
}

/** Say of one that waits that it does, and offer to let go of it. */
export function tellWaiting(text: string, label: string, edit: Edit): void {
  tell(text, { label, act: () => void cancel(edit).catch(tellRefusal) });
}

whenLeaving(() => {
  queue = [];
});
