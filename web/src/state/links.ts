// Links of the account: on which terms each opens, and how that is said.
import { ask } from '../api/client';
import type { Item, LinkShown, Permission } from '../api/types';
import { agoText, t, timeText, tn } from '../text/index.svelte';
import { shares } from './shares.svelte';

/** password: empty for none. expires_ms, downloads_max: null for no limit. */
export interface Terms {
  permission: Permission;
  password: string;
  expires_ms: number | null;
  downloads_max: number | null;
  is_no_download: boolean;
}

/** What a link opens: of a shared folder, the root of its namespace. */
export interface Target {
  namespace: string;
  id: string;
  isFolder: boolean;
}

const PAGES_MAX = 20;
const NS_CHARS = 32;
const MINUTE_MS = 60_000;
const SOON_MS = 20 * 86_400_000;

/** Return the links of the account, the newest first: all, or those to one target. Throws: Refusal. */
export async function linksOf(target?: Target): Promise<LinkShown[]> {
  const found: LinkShown[] = [];
  let after = '';
  for (let pages = 0; pages < PAGES_MAX; pages += 1) {
    const page = await ask('GET /api/v1/links', { query: { ns: target?.namespace ?? '', after } });
    found.push(...page.links);
    after = page.after;
    if (!after) break;
  }
  const wanted = target ? found.filter((link) => link.node_id === target.id) : found;
  return wanted.sort((one, other) => other.created_ms - one.created_ms);
}

/** Make a link; its address is in the answer, and nowhere else after. Throws: Refusal. */
export async function makeLink(target: Target, terms: Terms): Promise<LinkShown> {
  const made = await ask('POST /api/v1/links', { body: { ...terms, id: target.id, ns: target.namespace } });
  return { ...made, url: new URL(made.url ?? '', location.origin).href };
}

export function revokeLink(link: LinkShown): Promise<undefined> {
  return ask('DELETE /api/v1/links/{link_id}', { parts: { link_id: link.id } });
}

export function isRequest(link: LinkShown): boolean {
  return link.permission === 'upload';
}

/** Return what whoever has the link may do. */
export function rightOf(link: LinkShown): string {
  return link.is_no_download ? t('links.lookOnly') : rightText(link.permission);
}

export function rightText(permission: string): string {
  return t(`links.may.${permission as Permission}`);
}

/** Return where what a link opens stands in the account's own tree; empty when it is gone. */
export function placeOf(link: LinkShown): string {
  if (!link.path) return '';
  const mount = shares().find((share) => share.id === link.id.slice(0, NS_CHARS))?.path ?? '';
  return mount + link.path === '/' ? '/' : (mount + link.path).replace(/\/$/, '');
}

/** Return the terms of a link in a few words each. */
export function termsText(link: LinkShown, now = Date.now()): string[] {
  const isOver = link.expires_ms !== null && link.expires_ms <= now;
  const isSoon = link.expires_ms !== null && link.expires_ms - now < SOON_MS;
  return [
    link.has_password ? t('links.hasPassword') : '',
    link.expires_ms === null ? t('links.noEnd') : isOver ? t('links.ended') : t('links.ends', { when: isSoon ? agoText(link.expires_ms) : timeText(link.expires_ms) }),
    link.downloads_max === null ? '' : t('links.downloadsOf', { count: link.downloads, most: link.downloads_max }),
  ].filter(Boolean);
}

/** Return how much a link was used. */
export function useText(link: LinkShown): string {
  if (!link.hits) return t('links.unused');
  return [
    tn('links.hits', link.hits),
    link.downloads && link.downloads_max === null ? tn('links.downloads', link.downloads) : '',
    link.seen_ms && Date.now() - link.seen_ms >= MINUTE_MS ? t('links.seen', { when: agoText(link.seen_ms) }) : '',
  ]
    .filter(Boolean)
    .join(' · ');
}

/** Return what a link to an item opens; of a shared folder's place, the folder behind it. */
export function targetOf(item: Item): Target {
  const isFolder = item.kind === 'folder' || item.kind === 'mount';
  if (item.mounts) return { namespace: item.mounts, id: '0'.repeat(NS_CHARS), isFolder };
  return { namespace: item.namespace ?? '', id: item.id, isFolder };
}
