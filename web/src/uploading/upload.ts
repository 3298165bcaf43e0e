// One upload as the queue knows it. Nothing here is watched by the page: it is shown a summary, some times a second.
import { joined, nameOf, numbered, parentOf } from '../state/paths';
import type { Found } from './dropped';
import type { Remembered } from './remembered';

/** exists: the name is taken; twin: another one chosen with it differs in case alone; lost: its file must be chosen again. */
export type UploadState = 'waiting' | 'sending' | 'paused' | 'done' | 'failed' | 'exists' | 'twin' | 'lost';
export type Choice = 'replace' | 'both' | 'skip';
/** What was added together, and what was decided once for all of it. */
export interface Batch {
  choice: Choice | '';
}
const KEPT_BYTES_MAX = 8 * 1024 * 1024;
let nextId = 1;

export class Upload {
  readonly id = nextId++;
  state: UploadState = 'waiting';
  problem = '';
  hint = '';
  thereBytes = 0;
  tries = 0;
  session = '';
  hashes: string[] = [];
  cutAt = 0;
  isReplacing = false;
  /** Whether it gets another name where its own is taken, and the last number that was tried. */
  isNumbered = false;
  number = 1;
  isRestored = false;
  /** How often it was begun to be sent: what was stopped may have arrived all the same. */
  begun = 0;
  /** Whether the file itself is kept over a reload, where it is short. */
  isFileKept = false;
  stop: AbortController | null = null;
  size: number;
  modifiedMs: number;
  #first: string;

  constructor(
    public path: string,
    readonly chosen: string,
    public file: File | null,
    readonly batch: Batch,
    readonly isFolder = false,
    public handle: FileSystemFileHandle | undefined = undefined,
    readonly key = `${Date.now()}-${Math.random()}`,
  ) {
    this.size = file?.size ?? 0;
    this.modifiedMs = file?.lastModified ?? 0;
    this.#first = path;
  }

  get name(): string {
    return nameOf(this.path);
  }

  /** Take the next name that may be free. */
  renumber(): void {
    this.number += 1;
    this.path = joined(parentOf(this.#first), numbered(nameOf(this.#first), this.number));
  }

  /** Take a file that was read anew; tell whether it is the one from before. */
  takeFile(file: File): boolean {
    const isSame = file.size === this.size && file.lastModified === this.modifiedMs;
    this.file = file;
    this.size = file.size;
    this.modifiedMs = file.lastModified;
    return isSame;
  }

  /** Return what is kept over a reload. isFileKept: with the file itself, where that is short. */
  remembered(account: string): Remembered {
    const { key, path, chosen, size, modifiedMs, isReplacing, session, thereBytes } = this;
    const kept: Remembered = { key, account, path, chosen, size, modifiedMs, isReplacing, session, thereBytes, addedMs: parseInt(key) };
    if (this.handle) kept.handle = this.handle;
    else if (this.isFileKept && this.file && size <= KEPT_BYTES_MAX) kept.file = this.file;
    return kept;
  }

  static recalled(one: Remembered): Upload {
    const made = new Upload(one.path, one.chosen, one.file ?? null, { choice: '' }, false, one.handle, one.key);
    const { size, modifiedMs, isReplacing, session, thereBytes } = one;
    return Object.assign(made, { size, modifiedMs, isReplacing, session, thereBytes, isRestored: true, isFileKept: one.file !== undefined });
  }
}

/** Return which of the files that were chosen now belongs to each of these uploads: by its path, else by its name. */
export function matched(lost: readonly Upload[], found: readonly Found[]): Map<Upload, File> {
  const byPath = new Map<string, File[]>();
  for (const { path, file } of found) {
    if (!file) continue;
    for (const key of new Set([path, nameOf(path)])) byPath.set(key, [...(byPath.get(key) ?? []), file]);
  }
  const pairs = new Map<Upload, File>();
  for (const one of lost) {
    const files = byPath.get(one.chosen) ?? byPath.get(nameOf(one.chosen)) ?? [];
    const file = files.find((each) => each.size === one.size && each.lastModified === one.modifiedMs) ?? files[0];
    if (file) pairs.set(one, file);
  }
  return pairs;
}

/** Return what two names are the same by: the service tells no names apart that differ in case alone. */
export function keyOf(path: string): string {
  return path.normalize('NFC').toLowerCase();
}
