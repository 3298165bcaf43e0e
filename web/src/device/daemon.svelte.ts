// What the daemon says and does. The types are those of satchel.device.status and explaining, which travel as JSON.
import { Refusal } from '../api/client';
import { tellRefusal } from '../state/toasts.svelte';

export type LinkState = 'in_sync' | 'syncing' | 'attention' | 'offline' | 'halted' | 'paused';

export interface Transfer {
  path: string;
  direction: 'up' | 'down';
  done: number;
  total: number;
}
export interface HeldItem {
  path: string;
  code: string;
  reason: string;
  next_try_ms: number;
  needs_consent: boolean;
  direction: 'up' | 'down' | '';
}
export interface LinkStatus {
  local: string;
  remote: string;
  state: LinkState;
  link_id: string;
  to_upload: number;
  to_download: number;
  bytes_up_todo: number;
  bytes_up_done: number;
  bytes_down_todo: number;
  bytes_down_done: number;
  held: number;
  transfers: Transfer[];
  held_items: HeldItem[];
  message: string;
  degraded: string;
  last_sync_ms: number;
  notice: string;
  excluded: number;
  notes: string[];
  conflicts: number;
}
export interface Limits {
  up: number | null;
  down: number | null;
}
export interface DaemonStatus {
  version: string;
  server: string;
  account: string;
  device: string;
  links: LinkStatus[];
  limits: Limits;
}
export interface Conflict {
  copy: string;
  original: string;
  made_by: string;
  is_mine: boolean;
  copy_size: number;
  copy_changed_ms: number;
  original_size: number;
  original_changed_ms: number;
}
export interface Excluded {
  path: string;
  state: 'leaving' | 'out' | 'returning' | 'deleted';
  kind: string;
}
export interface Amended {
  path: string;
  told: string;
  is_done: boolean;
}
export interface Wish {
  do: string;
  local?: string;
  timeout_s?: number;
  paths?: readonly string[];
  keep?: string;
  limits?: readonly string[];
}

const STORED = 'satchel.page';
const LOOK_MS = 1_000;
const LOOK_AWAY_MS = 15_000;
const ANSWER_MS = 60_000;
const state = $state<{ status: DaemonStatus | null; isEnded: boolean; isLost: boolean }>({
  status: null,
  isEnded: false,
  isLost: false,
});
let token = '';
let nextLook: ReturnType<typeof setTimeout> | undefined;

export function status(): DaemonStatus | null {
  return state.status;
}
/** True when the page has no right any more: it is opened anew from the command line. */
export function isEnded(): boolean {
  return state.isEnded;
}
/** True while the daemon does not answer. */
export function isLost(): boolean {
  return state.isLost;
}

/** Take the code of the address for a token, which a reload keeps, then look again and again. */
export async function beginDaemon(): Promise<void> {
  const code = location.hash.slice(1);
  history.replaceState(null, '', '/');
  token = sessionStorage.getItem(STORED) ?? '';
  try {
    if (code) {
      token = (await posted<{ token: string }>('/session', { code }, ANSWER_MS)).token;
      sessionStorage.setItem(STORED, token);
    }
    await look();
  } catch (error) {
    fail(error);
  }
  document.addEventListener('visibilitychange', () => void again());
  void again();
}

/** Ask the daemon for something. Throws: Refusal. */
export async function daemonAsk<T>(wish: Wish): Promise<T> {
  return posted<T>('/ask', wish, ANSWER_MS + (wish.timeout_s ?? 0) * 1_000);
}

/** Do something, then show what has become of it; what is refused is told. Result: whether it was done. */
export async function act(wish: Wish): Promise<boolean> {
  try {
    await daemonAsk(wish);
    await look();
    return true;
  } catch (error) {
    tellRefusal(error);
    return false;
  }
}

async function again(): Promise<void> {
  clearTimeout(nextLook);
  if (state.isEnded) return;
  try {
    await look();
  } catch (error) {
    fail(error);
  }
  clearTimeout(nextLook);
  if (!state.isEnded) nextLook = setTimeout(() => void again(), document.hidden ? LOOK_AWAY_MS : LOOK_MS);
}

async function look(): Promise<void> {
  state.status = await daemonAsk<DaemonStatus>({ do: 'status' });
  state.isLost = false;
}

function fail(error: unknown): void {
  if (error instanceof Refusal && error.code === 'unauthenticated') state.isEnded = true;
  else state.isLost = true;
}

async function posted<T>(address: string, body: object, timeoutMs: number): Promise<T> {
  let response: Response;
  try {
    response = await fetch(address, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
      credentials: 'omit',
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch {
    throw new Refusal(0, 'unreachable', '', '', '');
  }
  const told = (await response.json()) as { value: T; fault: { code: string; message: string } | null };
  if (told.fault) throw new Refusal(response.status, told.fault.code, told.fault.message, '', '');
  return told.value;
}
