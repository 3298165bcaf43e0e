// Earlier states of one file: brought back in its place or beside it, each with what takes that back.
import { ask } from '../api/client';
import type { Item, Version } from '../api/types';
import { sizeText, t } from '../text/index.svelte';
import { joined } from './paths';
import { tell, tellRefusal } from './toasts.svelte';

/** A file wherever it stands, or stood. folder: its path, for what is made beside it. */
export interface FileNamed {
  id: string;
  namespace: string;
  name: string;
  folder: string;
}

export function named(item: Item, folder: string): FileNamed {
  return { id: item.id, namespace: item.namespace ?? '', name: item.name, folder };
}

/** Give a file the content of a version. newest: what it has now, for Undo. Throws: Refusal. */
export async function restoreVersion(file: FileNamed, version: Version, newest: Version, ondone: () => void): Promise<void> {
  const where = { id: file.id, namespace: file.namespace };
  const made = await ask('POST /api/v1/restore', { body: { ...where, rev: version.rev } });
  const undo = async (): Promise<void> => {
    await ask('POST /api/v1/restore', { body: { ...where, rev: newest.rev }, ifMatch: made.rev });
    ondone();
  };
  tell(t('versions.restored', { name: made.name }), { label: t('action.undo'), act: () => void undo().catch(tellRefusal) });
  ondone();
}

/** Make a file of a version, beside the one that it is a version of. Throws: Refusal. */
export async function copyVersion(file: FileNamed, version: Version): Promise<void> {
  const { id, namespace, folder } = file;
  const made = await ask('POST /api/v1/restore', { body: { id, namespace, rev: version.rev, as_copy: true } });
  const undo = (): Promise<unknown> =>
    ask('POST /api/v1/delete', { body: { path: joined(folder, made.name) }, ifMatch: made.rev });
  tell(t('versions.copied', { name: made.name }), { label: t('action.undo'), act: () => void undo().catch(tellRefusal) });
}

export function byWhom(version: Version): string {
  if (!version.author) return '';
  return version.device ? t('versions.by', { author: version.author, device: version.device }) : t('versions.byAuthor', { author: version.author });
}

/** Return what a version did to the one before it, in words: by how much it grew, or whose content it has again. */
export function changeOf(versions: readonly Version[], at: number): string {
  const version = versions[at];
  const before = versions[at + 1];
  if (!version) return '';
  if (!before) return t('history.first');
  const same = versions.slice(at + 1).find((one) => one.content_hash === version.content_hash);
  if (same) return t('history.sameAs', { number: same.number });
  const grown = version.size - before.size;
  if (!grown) return t('history.sameSize');
  return t(grown > 0 ? 'history.longer' : 'history.shorter', { size: sizeText(Math.abs(grown)) });
}
