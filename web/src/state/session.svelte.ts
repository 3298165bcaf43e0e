// Who is signed in. The cookie is the browser's; the app knows only what the service says of it, and while that is not
// reached, who was signed in here last. Whoever signs out leaves nothing in the browser.
import { ask, isUnreachable, Refusal, whenSignedOut } from '../api/client';
import type { AccountShown } from '../api/types';
import { dropCopies, own, owner, wipe } from '../offline/store';
import { forgetAll } from '../uploading/remembered';
import { setAway } from './connection.svelte';
import { go } from './route.svelte';

const LEAVING = 'satchel.leaving';
const WAIT_MS = 6_000;
const state = $state<{ account: AccountShown | null; isKnown: boolean; problem: unknown }>({
  account: null,
  isKnown: false,
  problem: null,
});
/** The other pages of the app in this browser: what one of them ends is over in all. */
const others = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('satchel.session');
const leaving = new Set<() => void>();

export function account(): AccountShown | null {
  return state.account;
}

export function isKnown(): boolean {
  return state.isKnown;
}

export function problem(): unknown {
  return state.problem;
}

/** Say what is let go of when the person signs out. */
export function whenLeaving(act: () => void): void {
  leaving.add(act);
}

/** Ask who is signed in, and go where they can go on. */
export async function beginSession(): Promise<void> {
  whenSignedOut(() => void isStillSignedIn());
  if (others) others.onmessage = () => void (state.account && left('/sign-in'));
  state.problem = null;
  try {
    if (localStorage.getItem(LEAVING)) await leaveService();
    const found = await Promise.race([signedIn(), late()]);
    if (!found && (await ask('GET /api/v1/setup')).is_needed) go('/setup', true);
    if (!found) await dropCopies().catch(() => undefined);
    take(found);
    state.isKnown = true;
  } catch (error) {
    const last = isUnreachable(error) ? await owner().catch(() => null) : null;
    if (last) {
      setAway(true);
      state.account = last;
      state.isKnown = true;
    } else state.problem = error;
  }
}

/** A network that swallows all that is asked is none: who was signed in here last need not wait for its end. */
async function late(): Promise<never> {
  const last = await owner().catch(() => null);
  return new Promise((_, fail) => {
    if (last) setTimeout(() => fail(new Refusal(0, 'unreachable', '', '', '')), WAIT_MS);
  });
}

async function signedIn(): Promise<AccountShown | null> {
  try {
    return await ask('GET /api/v1/account');
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) return null;
    throw error;
  }
}

function take(found: AccountShown | null): void {
  const before = state.account;
  if (found && before && found.account_id !== before.account_id) {
    // Another one signed in meanwhile: nothing of the first stays on the page.
    location.assign('/files');
    return;
  }
  state.account = found;
  if (found && !before) void own(found).catch(() => undefined);
}

/** Find out whether the session goes on, and leave when it does not: what was asked with the cookie of before a new
 * password is refused, though the browser has another one since. */
export async function isStillSignedIn(): Promise<boolean> {
  if (!state.account) return false;
  try {
    take(await ask('GET /api/v1/account', { isProof: true }));
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 401) return true;
    const wasSignedIn = state.account !== null;
    state.account = null;
    await dropCopies().catch(() => undefined);
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
    const found = state.account ? await ask('GET /api/v1/account') : null;
    if (state.account && found) take(found);
  });
  return renewing;
}

export async function signIn(user: string, password: string, code: string): Promise<void> {
  await ask('POST /api/v1/sessions', { body: { user, password, code, name: browserName() } });
  localStorage.removeItem(LEAVING);
  take(await ask('GET /api/v1/account'));
}

/** Sign out, and leave nothing in the browser. Without a network the service hears of it as soon as it is reached. */
export async function signOut(next = '/sign-in?left=now'): Promise<void> {
  localStorage.setItem(LEAVING, '1');
  // First what is here: the service may be far away.
  for (const act of leaving) act();
  await Promise.all([wipe(), forgetAll()]).catch(() => undefined);
  try {
    await leaveService();
  } catch (error) {
    if (!isUnreachable(error)) throw error;
  }
  others?.postMessage('left');
  left(next);
}

async function leaveService(): Promise<void> {
  try {
    await ask('POST /api/v1/logout', { isProof: true });
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 401) throw error;
  }
  localStorage.removeItem(LEAVING);
}

function left(next: string): void {
  for (const act of leaving) act();
  state.account = null;
  go(next);
}

function browserName(): string {
  const agent = navigator.userAgent;
  const browser = ['Firefox', 'Edg', 'Chrome', 'Safari'].find((name) => agent.includes(name)) ?? 'Browser';
  const system = ['Android', 'iPhone', 'iPad', 'Windows', 'Mac OS', 'Linux'].find((name) => agent.includes(name));
  return (browser === 'Edg' ? 'Edge' : browser) + (system ? `, ${system}` : '');
}
