// Conflicted copies: how many there are, and what is done about one. Each answer gives back what takes it back.
import { ask, Refusal } from '../api/client';
import type { ConflictedCopy } from '../api/types';
import { listen } from './live.svelte';
import { joined, nameOf, numbered, parentOf } from './paths';

export type Answer = 'file' | 'copy' | 'both';
export type Undo = () => Promise<void>;
const IN_NAME = 'conflicted copy';
const PAUSE_MS = 600;
const NAMES_TRIED_MAX = 20;
const state = $state({ count: 0 });

/** How many conflicted copies the account sees, as far as it is known. */
export function conflictCount(): number {
  return state.count;
}

/** Know the number from now on, until the function that is returned is called. */
export function followConflicts(): () => void {
  let timer = 0;
  void count();
  const forget = listen((entries, isReset) => {
    if (!isReset && !state.count && !entries.some((entry) => entry.name.includes(IN_NAME))) return;
    clearTimeout(timer);
    timer = setTimeout(() => void count(), PAUSE_MS);
  });
  return () => {
    clearTimeout(timer);
    forget();
  };
}

async function count(): Promise<void> {
  try {
    state.count = (await ask('GET /api/v1/conflicts', { query: { limit: 1 } })).count;
  } catch {
    // What is shown stays until it is known better.
  }
}

/** Return all that there are, as many as are told at once. Throws: Refusal. */
export async function allConflicts(): Promise<readonly ConflictedCopy[]> {
  const told = await ask('GET /api/v1/conflicts', {});
  state.count = told.count;
  return told.items;
}

/** Return the name that the copy was made from. */
export function originalName(conflict: ConflictedCopy): string {
  if (conflict.original) return conflict.original.name;
  const name = nameOf(conflict.path);
  const end = name.lastIndexOf(')');
  const begin = name.indexOf(` (${conflict.device}'s ${IN_NAME}`);
  return begin < 0 ? name : name.slice(0, begin) + name.slice(end + 1);
}

/** Return a name under which the copy stays, and is no conflict any more: `Plan (laptop, 2026-11-22).txt`. */
export function ownName(conflict: ConflictedCopy): string {
  const name = originalName(conflict);
  const added = ` (${conflict.device}, ${conflict.day})`;
  const dot = name.lastIndexOf('.');
  return dot > 0 ? name.slice(0, dot) + added + name.slice(dot) : name + added;
}

/** Answer a conflict. name: of the copy, when both stay. Throws: Refusal. */
export async function answer(conflict: ConflictedCopy, as: Answer, name = ''): Promise<Undo> {
  if (as === 'file') return dropCopy(conflict);
  if (as === 'copy' && conflict.original) return keepCopy(conflict);
  const to = as === 'copy' ? originalName(conflict) : name;
  return to ? rename(conflict, to) : renameFreely(conflict);
}

async function dropCopy({ path, copy }: ConflictedCopy): Promise<Undo> {
  await ask('POST /api/v1/delete', { body: { path }, ifMatch: copy.rev });
  return () => bringBack(copy);
}

async function keepCopy({ copy, original }: ConflictedCopy): Promise<Undo> {
  if (!original) throw new Error('there is no file');
  const namespace = copy.namespace ?? '';
  const body = { copy_id: copy.id, copy_rev: copy.rev, file_id: original.id, file_rev: original.rev, namespace };
  const kept = await ask('POST /api/v1/conflicts/keep-copy', { body });
  return async () => {
    await bringBack(copy);
    // Both may have held the same, and then there is no newer version.
    if (kept.rev !== original.rev) {
      await ask('POST /api/v1/restore', { body: { id: original.id, namespace, rev: original.rev }, ifMatch: kept.rev });
    }
  };
}

async function rename({ path }: ConflictedCopy, name: string): Promise<Undo> {
  const to = joined(parentOf(path), name);
  await ask('POST /api/v1/move', { body: { from: path, to } });
  return async () => void (await ask('POST /api/v1/move', { body: { from: to, to: path } }));
}

async function renameFreely(conflict: ConflictedCopy): Promise<Undo> {
  const name = ownName(conflict);
  for (let number = 1; ; number += 1) {
    try {
      return await rename(conflict, number === 1 ? name : numbered(name, number));
    } catch (error) {
      const isTaken = error instanceof Refusal && error.code === 'already_exists';
      if (!isTaken || number === NAMES_TRIED_MAX) throw error;
    }
  }
}

async function bringBack(item: ConflictedCopy['copy']): Promise<void> {
  await ask('POST /api/v1/trash/restore', { body: { id: item.id, namespace: item.namespace ?? '' } });
}
