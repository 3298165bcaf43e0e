// What is sent through a link: two files at a time, tried again when the network fails, kept in view until it has arrived.
import { ask, queryOf, Refusal, refusalOf } from '../api/client';
import type { Found } from '../uploading/dropped';
import { nameOf, parentOf } from './paths';
import type { OpenedLink } from './opened.svelte';
import { wordsFor } from './toasts.svelte';

export type SentState = 'waiting' | 'sending' | 'done' | 'failed';
const AT_ONCE = 2;
const TRIES_MAX = 5;
const PAUSE_MS = 1_000;
const NAME_BYTES_MAX = 255;
let nextId = 1;

export class Sent {
  readonly id = nextId++;
  state = $state<SentState>('waiting');
  sentBytes = $state(0);
  problem = $state('');
  tries = 0;
  request: XMLHttpRequest | null = null;

  /** folder: the id of the one that it goes into, empty for the link's own; path: below that. */
  constructor(
    readonly folder: string,
    readonly path: string,
    readonly file: File,
  ) {}
}

export class LinkUploads {
  all = $state<Sent[]>([]);
  readonly open = $derived(this.all.filter((one) => one.state === 'waiting' || one.state === 'sending').length);
  readonly done = $derived(this.all.filter((one) => one.state === 'done').length);
  readonly failed = $derived(this.all.filter((one) => one.state === 'failed').length);
  #folders = new Map<string, Promise<string>>();

  constructor(
    readonly link: OpenedLink,
    /** A request makes no folders: a file's own name tells which one it came out of. */
    readonly isFlat: boolean,
    readonly ondone: () => void = () => undefined,
  ) {}

  add(folder: string, files: readonly Found[]): void {
    const sent = files.flatMap(({ path, file }) => (file ? [new Sent(folder, this.isFlat ? flat(path) : path, file)] : []));
    this.all = [...this.all, ...sent];
    this.go();
  }

  retry(one: Sent): void {
    one.tries = 0;
    one.state = 'waiting';
    this.go();
  }

  remove(one: Sent): void {
    this.all = this.all.filter((other) => other !== one);
    one.request?.abort();
    this.go();
  }

  clear(): void {
    this.all = this.all.filter((one) => one.state !== 'done');
  }

  /** Go on: with the link's password given anew, what waits is sent. */
  go(): void {
    if (this.link.state !== 'open') return;
    let free = AT_ONCE - this.all.filter((one) => one.state === 'sending').length;
    for (const one of this.all) {
      if (free <= 0) return;
      if (one.state !== 'waiting') continue;
      free -= 1;
      one.state = 'sending';
      void this.run(one);
    }
  }

  private async run(one: Sent): Promise<void> {
    try {
      const parent = await this.folderOf(one.folder, parentOf(`/${one.path}`));
      if (!this.all.includes(one)) return;
      await this.send(one, parent);
      one.state = 'done';
    } catch (error) {
      one.sentBytes = 0;
      if (this.all.includes(one)) await this.stopped(one, error);
    }
    one.request = null;
    this.go();
    if (this.open === 0) this.ondone();
  }

  private async stopped(one: Sent, error: unknown): Promise<void> {
    const status = error instanceof Refusal ? error.status : -1;
    one.tries += 1;
    if ((status === 0 || status === 429 || status === 503) && one.tries < TRIES_MAX) {
      await new Promise((done) => setTimeout(done, PAUSE_MS * 2 ** one.tries * (0.5 + Math.random())));
      one.state = 'waiting';
    } else if (this.link.failed(error)) one.state = 'waiting';
    else {
      one.state = 'failed';
      one.problem = wordsFor(error).text;
    }
  }

  private send(one: Sent, parent: string): Promise<void> {
    const request = new XMLHttpRequest();
    one.request = request;
    return new Promise((resolve, reject) => {
      request.upload.onprogress = (event) => (one.sentBytes = Math.min(event.loaded, one.file.size));
      request.onload = () => (request.status < 300 ? resolve() : reject(refusalOf(request.status, request.responseText)));
      request.onerror = () => reject(new Refusal(0, 'unreachable', '', '', ''));
      request.onabort = () => reject(new DOMException('stopped', 'AbortError'));
      // A browser tells milliseconds; as text, since the number is past what it counts exactly.
      const mtime_ns = one.file.lastModified ? `${one.file.lastModified}000000` : '';
      const query = queryOf({ name: nameOf(`/${one.path}`), parent, mtime_ns });
      request.open('PUT', `/api/v1/public/${encodeURIComponent(this.link.token)}/upload${query}`);
      request.setRequestHeader('content-type', 'application/octet-stream');
      for (const [name, value] of Object.entries(this.link.headers)) request.setRequestHeader(name, value);
      request.send(one.file);
    });
  }

  /** Return the id of a folder below another one, made with those above it, once for all files in it. */
  private folderOf(top: string, path: string): Promise<string> {
    if (path === '/') return Promise.resolve(top);
    const key = `${top}${path}`;
    const known = this.#folders.get(key);
    if (known) return known;
    const made = this.folderOf(top, parentOf(path)).then((parent) => this.made(parent, nameOf(path)));
    this.#folders.set(key, made);
    void made.catch(() => this.#folders.delete(key));
    return made;
  }

  private async made(parent: string, name: string): Promise<string> {
    const { parts, headers } = this.link;
    try {
      return (await ask('POST /api/v1/public/{token}/folders', { parts, headers, body: { name, parent } })).id;
    } catch (error) {
      if (!(error instanceof Refusal && error.code === 'already_exists')) throw error;
      for (let after = ''; ; ) {
        const page = await ask('GET /api/v1/public/{token}/list', { parts, headers, query: { id: parent, after } });
        const found = page.items.find((item) => item.kind === 'folder' && item.name === name);
        if (found) return found.id;
        after = page.after;
        if (!after) throw error;
      }
    }
  }
}

function flat(path: string): string {
  const name = path.replaceAll('/', ' - ');
  return new TextEncoder().encode(name).length > NAME_BYTES_MAX ? nameOf(`/${path}`) : name;
}
