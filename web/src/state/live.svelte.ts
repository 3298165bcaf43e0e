// What happens elsewhere, told as soon as it happened: one request that waits, begun again from where it ended.
import { ask, isUnreachable, Refusal } from '../api/client';
import type { Routes, SeedEntry } from '../api/types';
import { isAway, setAway } from './connection.svelte';
import { isStillSignedIn } from './session.svelte';

/** isReset: what was shown may be old, look anew. */
export type Listener = (entries: readonly SeedEntry[], isReset: boolean) => void;

const WAIT_S = 50;
const TOGETHER_MS = 250;
const PAUSE_MS_MIN = 1_000;
const PAUSE_MS_MAX = 30_000;
const listeners = new Set<Listener>();
const onBack = new Set<() => Promise<void>>();
const state = $state({ isLost: false });
let hurry: () => void = () => undefined;

export function isLost(): boolean {
  return state.isLost;
}

/** Hear of changes until the function that is returned is called. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Say what is done first when the service is reached again, before all that is shown is looked at anew. */
export function whenReached(act: () => Promise<void>): () => void {
  onBack.add(act);
  return () => onBack.delete(act);
}

/** Ask again at once whether the service is there. */
export function tryNow(): void {
  hurry();
}

/** Have all that is shown looked at anew. */
export function lookAnew(): void {
  tellAll([], true);
}

/** Follow the account's changes until the function that is returned is called. */
export function follow(): () => void {
  const stop = new AbortController();
  void run(stop.signal);
  return () => stop.abort();
}

async function run(signal: AbortSignal): Promise<void> {
  let cursor = '';
  let pauseMs = PAUSE_MS_MIN;
  while (!signal.aborted) {
    try {
      if (!cursor) cursor = (await ask('GET /api/v1/sync/latest', { signal })).cursor;
      else if (state.isLost) await ask('GET /api/v1/account', { signal });
      const wasLost = state.isLost || isAway();
      setAway(false);
      if (wasLost) {
        state.isLost = false;
        for (const act of onBack) await act();
        tellAll([], true);
      }
      const page = await told(cursor, signal);
      cursor = page.cursor;
      pauseMs = PAUSE_MS_MIN;
      if (page.entries.length || page.is_reset) tellAll(page.entries, page.is_reset ?? false);
      // The first change is told at once; of many, those that come together are asked for together.
      if (page.backoff || page.entries.length) await pause(Math.max((page.backoff ?? 0) * 1_000, TOGETHER_MS), signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refusal && error.status === 401) {
        if (!(await isStillSignedIn())) return;
        await pause(PAUSE_MS_MIN, signal);
        continue;
      }
      // The cursor may be the reason: one of now is asked for, and what is shown is looked at anew.
      if (error instanceof Refusal && error.status !== 0) cursor = '';
      state.isLost = true;
      setAway(isUnreachable(error));
      await pause(pauseMs * (0.5 + Math.random()), signal);
      pauseMs = Math.min(PAUSE_MS_MAX, pauseMs * 2);
    }
  }
}

/** Wait for changes; when the browser says that its network is gone, the wait is cut short, and what is asked next tells. */
async function told(cursor: string, signal: AbortSignal): Promise<Routes['GET /api/v1/sync/longpoll']['answer']> {
  const cut = new AbortController();
  const end = (): void => cut.abort();
  signal.addEventListener('abort', end);
  addEventListener('offline', end);
  try {
    return await ask('GET /api/v1/sync/longpoll', { query: { cursor, timeout: WAIT_S }, signal: cut.signal });
  } catch (error) {
    if (!cut.signal.aborted || signal.aborted) throw error;
    await ask('GET /api/v1/account', { signal });
    return { entries: [], cursor, has_more: false };
  } finally {
    signal.removeEventListener('abort', end);
    removeEventListener('offline', end);
  }
}

function tellAll(entries: readonly SeedEntry[], isReset: boolean): void {
  for (const listener of listeners) listener(entries, isReset);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    const now = (): void => {
      clearTimeout(timer);
      removeEventListener('online', now);
      hurry = () => undefined;
      done();
    };
    hurry = now;
    signal.addEventListener('abort', now, { once: true });
    addEventListener('online', now, { once: true });
  });
}
