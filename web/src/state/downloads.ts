// Downloads: one file as it is; a folder, or several things, as one archive that the service makes while it sends it.
import { contentAddress } from '../api/client';
import type { Item } from '../api/types';
import { t } from '../text/index.svelte';
import { isAway } from './connection.svelte';
import { isFolder } from './folder.svelte';
import { joined } from './paths';
import { keptContent } from './pins.svelte';
import { saveBytes } from './saving';
import { tellRefusal } from './toasts.svelte';

/** As many as the service takes by name. */
const CHOSEN_MAX = 500;

/** Download what was chosen of a folder. */
export function download(folder: string, items: readonly Item[]): void {
  const wanted = items.filter((item) => item.kind !== 'symlink');
  const [first] = wanted;
  if (!first) return;
  if (isAway()) void saveKept(wanted).catch(tellRefusal);
  else if (wanted.length > CHOSEN_MAX) tellRefusal(t('files.tooMany', { count: CHOSEN_MAX }));
  else if (wanted.length > 1) save(zipAddress(folder, wanted));
  else if (isFolder(first)) save(zipAddress(joined(folder, first.name)));
  else save(contentAddress({ id: first.id, namespace: first.namespace ?? '' }));
}

async function saveKept(items: readonly Item[]): Promise<void> {
  const [item] = items;
  const bytes = item?.kind === 'file' && items.length === 1 ? await keptContent(item.content_hash) : null;
  if (item && bytes) saveBytes(bytes, item.name);
  else tellRefusal(t('offline.noDownload'));
}

function zipAddress(path: string, only: readonly Item[] = []): string {
  return `/api/v1/zip?${new URLSearchParams([['path', path], ...only.map((item) => ['only', item.id])]).toString()}`;
}

function save(address: string): void {
  const link = document.createElement('a');
  link.href = address;
  link.download = '';
  link.click();
}
