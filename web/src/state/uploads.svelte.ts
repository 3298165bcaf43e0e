// The upload tray: files wait, four travel at a time, and what fails stays until somebody decides.
import { ask, Refusal } from '../api/client';
import { joined, nameOf, numbered, parentOf } from './paths';
import { send, type Sending } from './sending';
import { renewAccount } from './session.svelte';
import { wordsFor } from './toasts.svelte';

export type UploadState = 'waiting' | 'sending' | 'done' | 'failed' | 'exists';
const AT_ONCE = 4;
const TRIES_MAX = 5;
const PAUSE_MS = 1_000;
let nextId = 1;

export class Upload {
  readonly id = nextId++;
  state = $state<UploadState>('waiting');
  sentBytes = $state(0);
  problem = $state('');
  path = $state('');
  isReplacing = false;
  tries = 0;
  sending: Sending | null = null;

  constructor(
    path: string,
    readonly file: File,
  ) {
    this.path = path;
  }

  get name(): string {
    return nameOf(this.path);
  }
}

class Uploads {
  all = $state<Upload[]>([]);
  isPaused = $state(false);
  readonly bytes = $derived(this.all.reduce((sum, one) => sum + one.file.size, 0));
  readonly sentBytes = $derived(this.all.reduce((sum, one) => sum + (one.state === 'done' ? one.file.size : one.sentBytes), 0));
  readonly open = $derived(this.all.filter((one) => one.state === 'waiting' || one.state === 'sending').length);
  readonly stuck = $derived(this.all.filter((one) => one.state === 'failed' || one.state === 'exists').length);
  #folders = new Map<string, Promise<void>>();

  /** Take files with their paths below a folder, like `photos/1.jpg`. */
  add(folder: string, files: readonly { path: string; file: File }[]): void {
    this.all = [...this.all, ...files.map(({ path, file }) => new Upload(joined(folder, path), file))];
    this.#go();
  }

  pause(): void {
    this.isPaused = true;
    for (const one of this.all) {
      if (one.state !== 'sending') continue;
      one.sending?.stop();
    }
  }

  resume(): void {
    this.isPaused = false;
    this.#go();
  }

  retry(one: Upload, how: 'again' | 'replace' | 'both' = 'again'): void {
    one.tries = 0;
    one.problem = '';
    one.isReplacing = how === 'replace';
    if (how === 'both') one.path = joined(parentOf(one.path), numbered(one.name, 2));
    one.state = 'waiting';
    this.#go();
  }

  remove(one: Upload): void {
    this.all = this.all.filter((other) => other !== one);
    one.sending?.stop();
    this.#go();
  }

  clear(): void {
    this.all = this.all.filter((one) => one.state !== 'done');
  }

  #go(): void {
    if (this.isPaused) return;
    let free = AT_ONCE - this.all.filter((one) => one.state === 'sending').length;
    for (const one of this.all) {
      if (free <= 0) return;
      if (one.state !== 'waiting') continue;
      free -= 1;
      one.state = 'sending';
      void this.#send(one);
    }
  }

  async #send(one: Upload): Promise<void> {
    try {
      await this.#folder(parentOf(one.path));
      if (this.isPaused || !this.all.includes(one)) throw new DOMException('stopped', 'AbortError');
      one.sending = send(one.path, one.file, one.isReplacing, (bytes) => (one.sentBytes = bytes));
      await one.sending.done;
      one.state = 'done';
    } catch (error) {
      one.sentBytes = 0;
      await this.#failed(one, error);
    } finally {
      one.sending = null;
    }
    this.#go();
    if (this.open === 0) void renewAccount().catch(() => undefined);
  }

  async #failed(one: Upload, error: unknown): Promise<void> {
    if (error instanceof DOMException && error.name === 'AbortError') {
      one.state = 'waiting';
      return;
    }
    const status = error instanceof Refusal ? error.status : -1;
    one.tries += 1;
    if ((status === 0 || status === 429 || status === 503) && one.tries < TRIES_MAX) {
      await new Promise((done) => setTimeout(done, PAUSE_MS * 2 ** one.tries * (0.5 + Math.random())));
      one.state = 'waiting';
    } else if (status === 412 && !one.isReplacing) {
      one.state = 'exists';
    } else {
      one.state = 'failed';
      one.problem = wordsFor(error).text;
    }
  }

  /** Make a folder with those above it, once for all files in it. */
  #folder(path: string): Promise<void> {
    if (path === '/') return Promise.resolve();
    const known = this.#folders.get(path);
    if (known) return known;
    const made = this.#folder(parentOf(path)).then(async () => {
      try {
        await ask('POST /api/v1/folders', { body: { path } });
      } catch (error) {
        if (!(error instanceof Refusal && error.code === 'already_exists')) throw error;
      }
    });
    this.#folders.set(path, made);
    // It may be deleted later, so what was known holds for one run of uploads alone.
    void made.catch(() => undefined).finally(() => setTimeout(() => this.#folders.delete(path), 10_000));
    return made;
  }
}

export const uploads = new Uploads();
