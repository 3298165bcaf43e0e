// What is done to files and folders, with what is said of it and how it is undone. Without the service it waits.
import { ask } from '../api/client';
import type { Item } from '../api/types';
import { folderToBe, isToBe } from '../offline/edits';
import { t, tn } from '../text/index.svelte';
import { isAway } from './connection.svelte';
import { joined } from './paths';
import { mayWait, perform, tellWaiting } from './queue.svelte';
import { tell, tellRefusal } from './toasts.svelte';

/** Delete items of a folder; return the ids of those that are gone. */
export async function deleteAll(folder: string, items: readonly Item[]): Promise<Set<string>> {
  const gone: Item[] = [];
  for (const item of items) {
    const wanted = { kind: 'delete', path: joined(folder, item.name), to: '', item } as const;
    if (isAway() && !mayWait(wanted)) {
      tellRefusal(t(isToBe(item) ? 'offline.notMade' : 'offline.noFolders'));
      break;
    }
    try {
      const done = await perform(wanted);
      if ('edit' in done) tellWaiting(t('offline.willDelete', { name: item.name }), t('action.undo'), done.edit);
      else gone.push(item);
    } catch (error) {
      tellRefusal(error);
      break;
    }
  }
  // A shared folder was left, which is no deletion.
  const kept = gone.filter((item) => item.kind !== 'mount');
  if (kept.length) {
    const text = tn('files.deleted', kept.length, { name: kept[0]?.name ?? '' });
    tell(text, { label: t('action.undo'), act: () => void restoreAll(kept) });
  }
  return new Set(gone.map((item) => item.id));
}

async function restoreAll(items: readonly Item[]): Promise<void> {
  try {
    for (const item of items) {
      await ask('POST /api/v1/trash/restore', { body: { id: item.id, namespace: item.namespace ?? '' } });
    }
  } catch (error) {
    tellRefusal(error);
  }
}

/** Move items of a folder into another one; return the ids of those that are gone from the first. */
export async function moveAll(from: string, items: readonly Item[], to: string): Promise<Set<string>> {
  const { moved, ids } = await moved_(from, items, to);
  if (moved.length) {
    const text = tn('files.moved', moved.length, { name: moved[0]?.name ?? '' });
    tell(text, { label: t('action.undo'), act: () => void moved_(to, moved, from) });
  }
  return ids;
}

/** moved: as they are now, for the way back. */
async function moved_(from: string, items: readonly Item[], to: string): Promise<{ moved: Item[]; ids: Set<string> }> {
  const moved: Item[] = [];
  const ids = new Set<string>();
  for (const item of items) {
    try {
      const done = await move(item, joined(from, item.name), joined(to, item.name));
      if ('edit' in done) tellWaiting(t('offline.willMove', { name: item.name }), t('action.undo'), done.edit);
      else {
        moved.push(done.item ?? item);
        ids.add(item.id);
      }
    } catch (error) {
      tellRefusal(error);
      break;
    }
  }
  return { moved, ids };
}

function move(item: Item, path: string, to: string): ReturnType<typeof perform> {
  return perform({ kind: 'move', path, to, item });
}

/** Rename an item; return it as it is then, null while that waits. Throws: Refusal. */
export async function rename(folder: string, item: Item, name: string): Promise<Item | null> {
  const done = await move(item, joined(folder, item.name), joined(folder, name));
  if ('edit' in done) {
    tellWaiting(t('offline.willRename', { name }), t('action.undo'), done.edit);
    return null;
  }
  const renamed = done.item ?? { ...item, name };
  tell(t('files.renamed', { name }), {
    label: t('action.undo'),
    act: () => void move(renamed, joined(folder, name), joined(folder, item.name)).catch(tellRefusal),
  });
  return renamed;
}

/** Make a folder; return it, null while that waits. Throws: Refusal. */
export async function makeFolder(folder: string, name: string): Promise<Item | null> {
  const to = joined(folder, name);
  const done = await perform({ kind: 'folder', path: '', to, item: folderToBe(to, String(Date.now())) });
  if (!('edit' in done)) return done.item;
  tellWaiting(t('offline.willMake', { name }), t('action.undo'), done.edit);
  return null;
}
