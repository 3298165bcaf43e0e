// The uploads: files wait, four travel at a time, and what needs somebody stays until it is decided. The page is shown a
// summary some times a second, so that a hundred thousand files cost it no more than ten.
import { ask, Refusal } from '../api/client';
import { t } from '../text/index.svelte';
import { blocksOf, contentHashOf, Unreadable } from '../uploading/cutter';
import type { Found } from '../uploading/dropped';
import { forget, recall, remember } from '../uploading/remembered';
import { beginAnew, send, type Sent } from '../uploading/sending';
import { Pace } from '../uploading/pace';
import { keyOf, matched, Upload, type Batch, type Choice, type UploadState } from '../uploading/upload';
import { isAway, whenBack } from './connection.svelte';
import { joined, parentOf } from './paths';
import { renewAccount, whenLeaving } from './session.svelte';
import { wordsFor } from './toasts.svelte';

const AT_ONCE = 4;
const TRIES_MAX = 8;
const NUMBERS_MAX = 99;
const PAUSE_MS = 1_000;
const PAUSE_MS_MAX = 60_000;
const SHOWN_MS = 120;
const ROWS_OF_A_KIND = 20;
const FILES_KEPT_MAX = 50;
const RETRIED = new Set([0, 408, 429, 502, 503, 504]);

export interface Row {
  id: number;
  name: string;
  state: UploadState;
  thereBytes: number;
  size: number;
  problem: string;
  hint: string;
  /** Whether one click goes on with it: the browser can read the file, and has to be asked. */
  isReadable: boolean;
}
interface View {
  rows: readonly Row[];
  /** Those that are not among the rows. */
  more: number;
  all: number;
  open: number;
  done: number;
  failed: number;
  twins: number;
  existing: number;
  lost: number;
  /** Whether some of the lost ones were in a folder that was chosen. */
  isTreeLost: boolean;
  isPaused: boolean;
  bytes: number;
  thereBytes: number;
  bytesPerS: number;
}
const EMPTY: View = {
  ...{ rows: [], more: 0, all: 0, open: 0, done: 0, failed: 0, twins: 0, existing: 0, lost: 0 },
  ...{ isTreeLost: false, isPaused: false, bytes: 0, thereBytes: 0, bytesPerS: 0 },
};

class Uploads {
  view = $state.raw<View>(EMPTY);
  #waiting: Upload[] = [];
  #sending = new Set<Upload>();
  #paused = new Set<Upload>();
  #stuck = new Set<Upload>();
  #done: Upload[] = [];
  #doneCount = 0;
  #bytes = 0;
  #thereBytes = 0;
  #isPaused = false;
  #account = '';
  #timer = 0;
  #pace = new Pace();
  #folders = new Map<string, Promise<void>>();

  /** Take files with their paths below a folder, like `photos/1.jpg`. */
  add(folder: string, found: readonly Found[]): void {
    const batch: Batch = { choice: '' };
    const keys = new Map<string, string>();
    this.#folders.set(folder, Promise.resolve());
    if (!this.view.open) this.#pace = new Pace();
    for (const { path, file, handle } of found) {
      const one = new Upload(joined(folder, path), path, file, batch, file === null, handle);
      const twin = keys.get(keyOf(path));
      keys.set(keyOf(path), path);
      this.#bytes += one.size;
      if (twin !== undefined && twin !== path) this.#stick(one, 'twin', t('uploads.twin', { name: twin }));
      else this.#waiting.push(one);
      one.isFileKept = found.length <= FILES_KEPT_MAX;
      this.#remember(one);
    }
    this.#go();
  }

  /** Take up what this account was uploading when the page was left. */
  async restore(account: string): Promise<void> {
    if (this.#account === account) return this.resume();
    if (this.#account) this.#reset();
    this.#account = account;
    for (const told of await recall(account)) {
      const one = Upload.recalled(told);
      const handle = one.handle as (FileSystemFileHandle & { queryPermission?: (asked: object) => Promise<string> }) | undefined;
      this.#bytes += one.size;
      this.#thereBytes += one.thereBytes;
      if (handle && (await handle.queryPermission?.({ mode: 'read' }).catch(() => '')) === 'granted') await this.#readAgain(one);
      if (one.file) this.#waiting.push(one);
      else this.#stick(one, 'lost', '');
    }
    this.#go();
  }

  pauseAll(): void {
    this.#isPaused = true;
    for (const one of this.#sending) one.stop?.abort();
    this.#show();
  }

  resume(): void {
    this.#isPaused = false;
    this.#go();
  }

  pause(id: number): void {
    const one = this.#find(id);
    if (!one) return;
    this.#waiting = this.#waiting.filter((other) => other !== one);
    one.state = 'paused';
    this.#paused.add(one);
    one.stop?.abort();
    this.#show();
  }

  /** Go on with one that was paused, failed, or whose name was taken. */
  retry(id: number, how: Choice | '' = ''): void {
    const one = this.#find(id);
    if (one) this.#again(one, how);
    this.#go();
  }

  /** Decide once for all names that are taken, those that come later among them. */
  decide(choice: Choice): void {
    for (const one of [...this.#stuck]) {
      if (one.state !== 'exists') continue;
      one.batch.choice = choice;
      this.#again(one, choice);
    }
    this.#go();
  }

  retryFailed(): void {
    for (const one of [...this.#stuck]) if (one.state === 'failed') this.#again(one, '');
    this.#go();
  }

  /** Let go of one; what came of it is forgotten. */
  remove(id: number): void {
    const one = this.#find(id);
    if (one) this.#drop(one);
    this.#go();
  }

  /** Let go of all that is not uploaded. */
  cancelAll(): void {
    const all = [...this.#sending, ...this.#paused, ...this.#stuck, ...this.#waiting];
    this.#waiting = [];
    for (const one of all) this.#drop(one);
    this.#isPaused = false;
    this.#go();
  }

  clear(): void {
    this.#done = [];
    this.#doneCount = 0;
    this.#bytes = this.#thereBytes = 0;
    this.#folders.clear();
    for (const one of this.#stuck) {
      this.#bytes += one.size;
      this.#thereBytes += one.thereBytes;
    }
    this.#show();
  }

  /** Take files that were chosen again for uploads that lost theirs; tell how many were found. */
  chooseAgain(found: readonly Found[]): number {
    const pairs = matched([...this.#stuck].filter((one) => one.state === 'lost'), found);
    for (const [one, file] of pairs) {
      this.#takeFile(one, file);
      this.#again(one, '');
    }
    this.#go();
    return pairs.size;
  }

  /** Ask the browser for the files of those that it can read; to be called where somebody clicked. */
  async goOn(): Promise<void> {
    for (const one of [...this.#stuck]) {
      const handle = one.handle as (FileSystemFileHandle & { requestPermission?: (asked: object) => Promise<string> }) | undefined;
      if (one.state !== 'lost' || !handle) continue;
      if ((await handle.requestPermission?.({ mode: 'read' }).catch(() => '')) === 'granted') await this.#readAgain(one);
      if (one.file) this.#again(one, '');
      else one.handle = undefined;
    }
    this.#go();
  }

  #go(): void {
    while (!this.#isPaused && this.#sending.size < AT_ONCE) {
      const one = this.#waiting.shift();
      if (!one) break;
      one.state = 'sending';
      this.#sending.add(one);
      void this.#send(one);
    }
    this.#show();
  }

  async #send(one: Upload): Promise<void> {
    const stop = (one.stop = new AbortController());
    try {
      await this.#folder(one.isFolder ? one.path : parentOf(one.path));
      if (stop.signal.aborted) throw new DOMException('stopped', 'AbortError');
      if (one.file) await this.#sendFile(one as Upload & Sent, stop.signal);
      this.#end(one);
    } catch (error) {
      await this.#failed(one, error, stop.signal);
    }
    // It may have been stopped and begun again meanwhile.
    if (one.stop === stop) this.#sending.delete(one);
    this.#go();
    if (!this.#waiting.length && !this.#sending.size) {
      // Folders may be deleted later: what was known holds for one run of uploads alone.
      this.#folders.clear();
      void renewAccount().catch(() => undefined);
    }
  }

  async #sendFile(one: Upload & Sent, signal: AbortSignal): Promise<void> {
    one.begun += 1;
    await send(one, {
      signal,
      onSession: () => this.#remember(one),
      onBytes: (there, isSent) => {
        const more = there - one.thereBytes;
        if (isSent) this.#pace.add(more);
        if (more > 0) one.tries = 0;
        this.#there(one, there);
        this.#show();
      },
    });
  }

  #end(one: Upload): void {
    if (one.state === 'done') return;
    this.#paused.delete(one);
    one.state = 'done';
    this.#there(one, one.size);
    this.#doneCount += 1;
    this.#done = [one, ...this.#done].slice(0, ROWS_OF_A_KIND);
    forget(one.key);
  }

  async #failed(one: Upload, error: unknown, signal: AbortSignal): Promise<void> {
    // One that was paused or let go of is where it belongs already.
    if (one.state !== 'sending' || one.stop?.signal !== signal) return;
    const refusal = error instanceof Refusal ? error : null;
    if (signal.aborted || refusal?.code === 'unauthenticated') {
      if (!signal.aborted) this.#isPaused = true;
      one.state = 'waiting';
      this.#waiting.unshift(one);
    } else if (error instanceof Unreadable) {
      if (!(await this.#readAgain(one)) || (one.tries += 1) > TRIES_MAX) this.#stick(one, 'lost', t('uploads.changed'));
      else this.#waiting.unshift(one);
    } else if (refusal?.status === 412 && !one.isReplacing) await this.#taken(one, signal);
    else if (refusal && this.#isWorthAnother(one, refusal)) await this.#later(one, refusal, signal);
    else {
      const { text, hint } = wordsFor(error);
      this.#stick(one, 'failed', text, hint);
    }
  }

  /** Tell whether to try again by itself. */
  #isWorthAnother(one: Upload, refusal: Refusal): boolean {
    // The folder went away, or the upload did; another request for it was still at work; the file was read in two states.
    const isBegunAnew = refusal.status === 404 || refusal.code === 'offset_mismatch' || refusal.code === 'block_mismatch';
    if (refusal.status === 404) this.#folders.clear();
    // Without the service no try counts: it waits until it is back.
    if (isAway()) return true;
    one.tries += 1;
    return one.tries < (isBegunAnew ? TRIES_MAX / 2 : TRIES_MAX) && (isBegunAnew || RETRIED.has(refusal.status));
  }

  async #later(one: Upload, refusal: Refusal, signal: AbortSignal): Promise<void> {
    one.problem = t(isAway() ? 'offline.upload' : 'uploads.again');
    this.#show();
    const backOffMs = Math.min(PAUSE_MS_MAX, PAUSE_MS * 2 ** Math.max(0, one.tries - 1)) * (0.5 + Math.random() / 2);
    // Being told that the network is back is no reason to ask a service early that said when.
    await pause(Math.max(backOffMs, refusal.retryAfterS * 1_000), signal, !refusal.retryAfterS);
    if (isAway()) {
      one.problem = t('offline.upload');
      this.#show();
      await whenBack(signal);
    }
    one.problem = '';
    if (one.state === 'sending') {
      one.state = 'waiting';
      this.#waiting.unshift(one);
    }
  }

  async #taken(one: Upload, signal: AbortSignal): Promise<void> {
    const choice = one.isNumbered ? 'both' : one.batch.choice;
    if ((one.isRestored || one.begun > 1) && (await isThere(one, signal))) this.#end(one);
    else if (choice === 'skip') this.#drop(one);
    else if (choice && one.number <= NUMBERS_MAX) this.#again(one, choice);
    else this.#stick(one, 'exists', '');
  }

  #again(one: Upload, how: Choice | ''): void {
    if (how === 'skip') return this.#drop(one);
    this.#stuck.delete(one);
    this.#paused.delete(one);
    if (how !== '') {
      beginAnew(one as Upload & Sent);
      this.#there(one, 0);
    }
    if (one.state === 'failed') this.#folders.clear();
    one.isReplacing ||= how === 'replace';
    one.isNumbered ||= how === 'both';
    if (how === 'both') one.renumber();
    one.state = 'waiting';
    one.problem = one.hint = '';
    one.tries = 0;
    this.#waiting.unshift(one);
    this.#remember(one);
  }

  #stick(one: Upload, state: UploadState, problem: string, hint = ''): void {
    Object.assign(one, { state, problem, hint });
    if (state !== 'lost') this.#there(one, 0);
    this.#stuck.add(one);
  }

  #drop(one: Upload): void {
    if (one.state === 'waiting') this.#waiting = this.#waiting.filter((other) => other !== one);
    one.state = 'done';
    one.stop?.abort();
    this.#bytes -= one.size;
    this.#there(one, 0);
    for (const set of [this.#stuck, this.#paused]) set.delete(one);
    if (one.session) beginAnew(one as Upload & Sent);
    forget(one.key);
  }

  /** Read a file again where the browser can; tell whether it could. What changed begins anew. */
  async #readAgain(one: Upload): Promise<boolean> {
    try {
      const file = await one.handle?.getFile();
      if (file) this.#takeFile(one, file);
      return file !== undefined;
    } catch {
      one.file = null;
      return false;
    }
  }

  #takeFile(one: Upload, file: File): void {
    this.#bytes += file.size - one.size;
    if (one.takeFile(file)) return;
    beginAnew(one as Upload & Sent);
    this.#there(one, 0);
  }

  #there(one: Upload, bytes: number): void {
    this.#thereBytes += bytes - one.thereBytes;
    one.thereBytes = bytes;
  }

  #find(id: number): Upload | undefined {
    for (const some of [this.#sending, this.#paused, this.#stuck, this.#waiting]) for (const one of some) if (one.id === id) return one;
    return undefined;
  }

  #remember(one: Upload): void {
    if (this.#account && !one.isFolder) remember(one.remembered(this.#account));
  }

  /** Let go of all, and know nothing of it: the person signed out. */
  leave(): void {
    this.#reset();
    this.#account = '';
  }

  #reset(): void {
    for (const one of this.#sending) {
      // It waits no more: what is stopped goes back among those that do, and would be sent for the next account.
      one.state = 'done';
      one.stop?.abort();
    }
    this.#waiting = [];
    this.#done = [];
    for (const set of [this.#sending, this.#paused, this.#stuck]) set.clear();
    this.#bytes = this.#thereBytes = this.#doneCount = 0;
    this.#isPaused = false;
    this.#show();
  }

  /** Make a folder with those above it, once for all files in it. */
  #folder(path: string): Promise<void> {
    if (path === '/') return Promise.resolve();
    let made = this.#folders.get(path);
    if (!made) {
      made = this.#folder(parentOf(path)).then(async () => {
        try {
          await ask('POST /api/v1/folders', { body: { path } });
        } catch (error) {
          if (!(error instanceof Refusal && error.code === 'already_exists')) throw error;
        }
      });
      this.#folders.set(path, made);
      // What may go better is tried again by the next file; a name that cannot be used is not.
      made.catch((error: unknown) => {
        if (error instanceof Refusal && RETRIED.has(error.status)) this.#folders.delete(path);
      });
    }
    return made;
  }

  #show(): void {
    this.#timer ||= window.setTimeout(() => {
      this.#timer = 0;
      this.view = this.#summary();
      // For the speed, which falls while nothing comes.
      if (this.#sending.size) window.setTimeout(() => this.#show(), 1_000);
    }, SHOWN_MS);
  }

  #summary(): View {
    const count = (state: UploadState): number => [...this.#stuck].filter((one) => one.state === state).length;
    const some = [[...this.#stuck], [...this.#sending], [...this.#paused], this.#waiting, this.#done].flatMap((kind) => kind.slice(0, ROWS_OF_A_KIND));
    const open = this.#waiting.length + this.#sending.size + this.#paused.size;
    const all = open + this.#stuck.size + this.#doneCount;
    return {
      rows: some.map((one) => ({
        ...{ id: one.id, name: one.name, state: one.state, thereBytes: one.thereBytes, size: one.size },
        ...{ problem: one.problem, hint: one.hint, isReadable: one.handle !== undefined },
      })),
      ...{ more: all - some.length, all, open, done: this.#doneCount },
      ...{ failed: count('failed'), twins: count('twin'), existing: count('exists'), lost: count('lost') },
      isTreeLost: [...this.#stuck].some((one) => one.state === 'lost' && one.chosen.includes('/')),
      ...{ isPaused: this.#isPaused, bytes: this.#bytes, thereBytes: this.#thereBytes, bytesPerS: this.#pace.bytesPerS() },
    };
  }
}

/** Tell whether what stands at an upload's path is what was uploaded, before the page was left. */
async function isThere(one: Upload, signal: AbortSignal): Promise<boolean> {
  try {
    const item = await ask('GET /api/v1/entry', { query: { path: one.path }, signal });
    if (item.kind !== 'file' || item.size !== one.size) return false;
    const { file } = one;
    if (!file) return item.mtime_ns === one.modifiedMs * 1_000_000;
    const hashes: string[] = [];
    for (let at = 0; at < file.size; ) {
      const blocks = await blocksOf(file, at);
      hashes.push(...blocks.map((block) => block.hash));
      at += blocks.reduce((sum, block) => sum + block.size, 0);
    }
    return item.content_hash === (await contentHashOf(hashes));
  } catch {
    return false;
  }
}

function pause(ms: number, signal: AbortSignal, isEndedByNetwork: boolean): Promise<void> {
  return new Promise((done) => {
    const end = (): void => {
      clearTimeout(timer);
      removeEventListener('online', end);
      signal.removeEventListener('abort', end);
      done();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
    if (isEndedByNetwork) addEventListener('online', end);
  });
}

export const uploads = new Uploads();
whenLeaving(() => uploads.leave());
