// What happens elsewhere, told as soon as it happened: one request that waits, begun again from where it ended.
import { ask, Refusal } from '../api/client';
import type { SeedEntry } from '../api/types';
import { isStillSignedIn } from './session.svelte';

/** isReset: what was shown may be old, look anew. */
export type Listener = (entries: readonly SeedEntry[], isReset: boolean) => void;

const WAIT_S = 50;
const TOGETHER_MS = 250;
const PAUSE_MS_MIN = 1_000;
const PAUSE_MS_MAX = 30_000;
const listeners = new Set<Listener>();
const state = $state({ isLost: false });

export function isLost(): boolean {
  return state.isLost;
}

/** Hear of changes until the function that is returned is called. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
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
      if (state.isLost) tellAll([], true);
      state.isLost = false;
      const page = await ask('GET /api/v1/sync/longpoll', { query: { cursor, timeout: WAIT_S }, signal });
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
      await pause(pauseMs * (0.5 + Math.random()), signal);
      pauseMs = Math.min(PAUSE_MS_MAX, pauseMs * 2);
    }
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
      done();
    };
    signal.addEventListener('abort', now, { once: true });
    addEventListener('online', now, { once: true });
  });
}
