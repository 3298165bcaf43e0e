// Which folders are shared, what one may do in each, and what one is invited to. Looked at again when something changed,
// and now and then: an invitation and a change of rights stand in no journal that the app follows.
import { ask } from '../api/client';
import type { Item, shares_InvitationShown as Invitation, ShareShown } from '../api/types';
import { listen } from './live.svelte';
import { joined } from './paths';

export type Role = 'owner' | 'editor' | 'viewer';
const AGAIN_MS = 30_000;
let current = $state.raw<{ shares: readonly ShareShown[]; invitations: readonly Invitation[] }>({ shares: [], invitations: [] });

export function shares(): readonly ShareShown[] {
  return current.shares;
}

export function invitations(): readonly Invitation[] {
  return current.invitations;
}

/** Return the shared folder that a path stands in, or is. */
export function shareAround(path: string): ShareShown | undefined {
  return current.shares.find((share) => path === share.path || path.startsWith(`${share.path}/`));
}

/** Tell what one is in a folder. */
export function roleIn(path: string): Role {
  return (shareAround(path)?.role as Role | undefined) ?? 'owner';
}

export function mayWrite(path: string): boolean {
  return roleIn(path) !== 'viewer';
}

/** Tell whether an item of a folder may be shared by oneself; of a shared folder one sees at least who takes part. */
export function mayShare(folder: string, item: Item): boolean {
  if (item.kind === 'mount') return true;
  return item.kind !== 'symlink' && mayWrite(joined(folder, item.name));
}

/** Look at all of it. Throws: Refusal. */
export async function renewShares(): Promise<void> {
  const [shares, invitations] = await Promise.all([ask('GET /api/v1/shares'), ask('GET /api/v1/share-invitations')]);
  current = { shares: shares.items, invitations: invitations.items };
}

/** Keep it true until the function that is returned is called. */
export function followShares(): () => void {
  const look = (): void => {
    if (document.visibilityState === 'visible') void renewShares().catch(() => undefined);
  };
  const forget = listen((entries, isReset) => {
    if (isReset || entries.some((entry) => entry.type !== 'file')) look();
  });
  const timer = setInterval(look, AGAIN_MS);
  document.addEventListener('visibilitychange', look);
  look();
  return () => {
    forget();
    clearInterval(timer);
    document.removeEventListener('visibilitychange', look);
  };
}
