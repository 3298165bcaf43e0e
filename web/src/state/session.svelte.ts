// Who is signed in. The cookie is the browser's; the app knows only what the service says of it.
import { ask, Refusal, whenSignedOut } from '../api/client';
import type { AccountShown } from '../api/types';
import { go } from './route.svelte';

const state = $state<{ account: AccountShown | null; isKnown: boolean; problem: unknown }>({
  account: null,
  isKnown: false,
  problem: null,
});

export function account(): AccountShown | null {
  return state.account;
}

export function isKnown(): boolean {
  return state.isKnown;
}

export function problem(): unknown {
  return state.problem;
}

/** Ask who is signed in, and go where they can go on. */
export async function beginSession(): Promise<void> {
  whenSignedOut(() => void isStillSignedIn());
  state.problem = null;
  try {
    state.account = await signedIn();
    if (!state.account && (await ask('GET /api/v1/setup')).is_needed) go('/setup', true);
    state.isKnown = true;
  } catch (error) {
    state.problem = error;
  }
}

async function signedIn(): Promise<AccountShown | null> {
  try {
    return await ask('GET /api/v1/account');
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) return null;
    throw error;
  }
}

/** Find out whether the session goes on, and leave when it does not: what was asked with the cookie of before a new
 * password is refused, though the browser has another one since. */
export async function isStillSignedIn(): Promise<boolean> {
  if (!state.account) return false;
  try {
    state.account = await ask('GET /api/v1/account', { isProof: true });
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 401) return true;
    const wasSignedIn = state.account !== null;
    state.account = null;
    if (wasSignedIn) go('/sign-in');
    return false;
  }
  return true;
}

const RENEWED_MS = 1_500;
let renewing: Promise<void> | null = null;

/** Look anew, for what is used of the quota: once for all who ask within a moment. */
export function renewAccount(): Promise<void> {
  renewing ??= new Promise<void>((done) => setTimeout(done, RENEWED_MS)).then(async () => {
    renewing = null;
    if (state.account) state.account = await ask('GET /api/v1/account');
  });
  return renewing;
}

export async function signIn(user: string, password: string, code: string): Promise<void> {
  await ask('POST /api/v1/sessions', { body: { user, password, code, name: browserName() } });
  state.account = await ask('GET /api/v1/account');
}

export async function signOut(next = '/sign-in?left=now'): Promise<void> {
  await ask('POST /api/v1/logout');
  state.account = null;
  go(next);
}

function browserName(): string {
  const agent = navigator.userAgent;
  const browser = ['Firefox', 'Edg', 'Chrome', 'Safari'].find((name) => agent.includes(name)) ?? 'Browser';
  const system = ['Android', 'iPhone', 'iPad', 'Windows', 'Mac OS', 'Linux'].find((name) => agent.includes(name));
  return (browser === 'Edg' ? 'Edge' : browser) + (system ? `, ${system}` : '');
}
