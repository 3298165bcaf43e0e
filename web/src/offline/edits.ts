// Edits that wait for the service, and how folders look with them. Pure: what is shown follows from what the service said
// last and from the edits after it, so that to let go of an edit needs nothing undone.
import type { Item } from '../api/types';
import { nameOf, parentOf } from '../state/paths';

/** move: also a new name alone; folder: a new one. */
export type EditKind = 'move' | 'delete' | 'folder';
export interface Edit {
  /** Their order. */
  key: string;
  account: string;
  kind: EditKind;
  /** Where it stands before; empty for a new folder. */
  path: string;
  /** Where it stands after; empty for one that is deleted. */
  to: string;
  item: Item;
  /** The rev that it is meant for. */
  rev: number;
  /** The service does what comes under one key once. */
  once: string;
  madeMs: number;
  /** Why the service did not do it; empty while it waits. */
  problem: string;
}

/** Return the path that a folder had before one edit. */
function before(edit: Edit, path: string): string {
  if (edit.kind !== 'move' || (path !== edit.to && !path.startsWith(`${edit.to}/`))) return path;
  return edit.path + path.slice(edit.to.length);
}

/** Return where a folder stands before each of the edits, and last where it is shown. */
function pathsThrough(path: string, edits: readonly Edit[]): string[] {
  const paths = [path];
  for (const edit of edits.toReversed()) paths.unshift(before(edit, paths[0] ?? path));
  return paths;
}

/** Return where the service has the folder that is shown at a path. */
export function pathAtService(path: string, edits: readonly Edit[]): string {
  return pathsThrough(path, waiting(edits))[0] ?? path;
}

/** Return what a folder holds once the edits that wait are done. items: what the service said of it. */
export function withEdits(items: readonly Item[], path: string, edits: readonly Edit[]): readonly Item[] {
  const open = waiting(edits);
  if (!open.length) return items;
  const paths = pathsThrough(path, open);
  let found = [...items];
  open.forEach((edit, at) => {
    const wasHere = edit.path !== '' && parentOf(edit.path) === paths[at];
    const isHere = edit.to !== '' && parentOf(edit.to) === paths[at + 1];
    if (wasHere || isHere) found = found.filter((item) => item.id !== edit.item.id);
    // What the service has by now is told by its own listing.
    if (isHere && !found.some((item) => item.name === nameOf(edit.to))) found.push({ ...edit.item, name: nameOf(edit.to) });
  });
  return found;
}

/** Tell whether a folder stands here only because an edit that waits makes it, or one above it. */
export function isMadeHere(path: string, edits: readonly Edit[]): boolean {
  return waiting(edits).some((edit) => edit.kind === 'folder' && (path === edit.to || path.startsWith(`${edit.to}/`)));
}

export function waiting(edits: readonly Edit[]): readonly Edit[] {
  return edits.filter((edit) => !edit.problem);
}

/** Return what stands for a folder until the service made it. */
export function folderToBe(path: string, key: string): Item {
  const none = { size: 0, mtime_ns: 0, is_executable: false, rev: 0, seq: 0, content_hash: '', target: '', namespace: '', mounts: '' };
  return { id: `new-${key}`, parent_id: '', name: nameOf(path), kind: 'folder', ...none };
}

export function isToBe(item: Item): boolean {
  return item.id.startsWith('new-');
}

