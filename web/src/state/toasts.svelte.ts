// Short news. What went well leaves by itself; what went wrong stays until it is dismissed.
import { Refusal } from '../api/client';
import { isKey, t } from '../text/index.svelte';

export interface Toast {
  id: number;
  kind: 'good' | 'bad';
  text: string;
  hint: string;
  action?: { label: string; act: () => void };
}

const STAYS_MS = 8_000;
const TOASTS_MAX = 5;
let next = 1;
const state = $state<{ toasts: Toast[]; hosts: readonly symbol[] }>({ toasts: [], hosts: [] });

export function toasts(): readonly Toast[] {
  return state.toasts;
}

/** Show the news from now on in this place, until the function that is returned is called: what is outside of an open
 * dialog is out of reach. */
export function host(place: symbol): () => void {
  state.hosts = [...state.hosts, place];
  return () => (state.hosts = state.hosts.filter((one) => one !== place));
}

export function isHost(place: symbol): boolean {
  return state.hosts.at(-1) === place;
}

export function dismiss(id: number): void {
  state.toasts = state.toasts.filter((toast) => toast.id !== id);
}

export function tell(text: string, action?: Toast['action']): void {
  const id = next++;
  add({ id, kind: 'good', text, hint: '', ...(action ? { action } : {}) });
  setTimeout(() => dismiss(id), STAYS_MS);
}

export function tellRefusal(error: unknown, action?: Toast['action']): void {
  const { text, hint } = wordsFor(error);
  add({ id: next++, kind: 'bad', text, hint, ...(action ? { action } : {}) });
}

/** Return what to say of something that went wrong: ours where the code is known, the server's own words else. */
export function wordsFor(error: unknown): { text: string; hint: string } {
  if (!(error instanceof Refusal)) return { text: String(error), hint: '' };
  const key = `error.${error.code}`;
  const hintKey = `${key}.hint`;
  const id = error.status >= 500 && error.id ? t('error.id', { id: error.id }) : '';
  return { text: isKey(key) ? t(key) : error.message, hint: isKey(hintKey) ? t(hintKey) : isKey(key) ? id : error.hint };
}

function add(toast: Toast): void {
  state.toasts = [...state.toasts.slice(-(TOASTS_MAX - 1)), toast];
}
