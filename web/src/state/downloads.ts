// Downloads: one file as it is; a folder, or several things, as one archive that the service makes while it sends it.
import { contentAddress } from '../api/client';
import type { Item } from '../api/types';
import { t } from '../text/index.svelte';
import { isFolder } from './folder.svelte';
import { joined } from './paths';
import { tellRefusal } from './toasts.svelte';

/** As many as the service takes by name. */
const CHOSEN_MAX = 500;

/** Download what was chosen of a folder. */
export function download(folder: string, items: readonly Item[]): void {
  const wanted = items.filter((item) => item.kind !== 'symlink');
  const [first] = wanted;
  if (!first) return;
  if (wanted.length > CHOSEN_MAX) tellRefusal(t('files.tooMany', { count: CHOSEN_MAX }));
  else if (wanted.length > 1) save(zipAddress(folder, wanted));
  else if (isFolder(first)) save(zipAddress(joined(folder, first.name)));
  else save(contentAddress({ id: first.id, namespace: first.namespace ?? '' }));
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
