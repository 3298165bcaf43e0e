// What is done to files and folders, with what is said of it and how it is undone.
import { ask } from '../api/client';
import type { Item } from '../api/types';
import { t, tn } from '../text/index.svelte';
import { joined } from './paths';
import { tell, tellRefusal } from './toasts.svelte';

/** Delete items of a folder; return the ids of those that are gone. */
export async function deleteAll(folder: string, items: readonly Item[]): Promise<Set<string>> {
  const gone: Item[] = [];
  for (const item of items) {
    try {
      await ask('POST /api/v1/delete', { body: { path: joined(folder, item.name) } });
      gone.push(item);
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
  const moved = await moved_(from, items, to);
  if (moved.length) {
    const text = tn('files.moved', moved.length, { name: moved[0]?.name ?? '' });
    tell(text, { label: t('action.undo'), act: () => void moved_(to, moved, from) });
  }
  return new Set(moved.map((item) => item.id));
}

async function moved_(from: string, items: readonly Item[], to: string): Promise<Item[]> {
  const done: Item[] = [];
  for (const item of items) {
    try {
      await ask('POST /api/v1/move', { body: { from: joined(from, item.name), to: joined(to, item.name) } });
      done.push(item);
    } catch (error) {
      tellRefusal(error);
      break;
    }
  }
  return done;
}

/** Rename an item. Throws: Refusal. */
export async function rename(folder: string, item: Item, name: string): Promise<Item> {
  const move = (from: string, to: string): Promise<Item> =>
    ask('POST /api/v1/move', { body: { from: joined(folder, from), to: joined(folder, to) } });
  const renamed = await move(item.name, name);
  tell(t('files.renamed', { name }), {
    label: t('action.undo'),
    act: () => void move(name, item.name).catch(tellRefusal),
  });
  return renamed;
}

/** Make a folder. Throws: Refusal. */
export function makeFolder(folder: string, name: string): Promise<Item> {
  return ask('POST /api/v1/folders', { body: { path: joined(folder, name) } });
}
