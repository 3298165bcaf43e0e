// A link as whoever holds it sees it. The key that stands for its password is kept for as long as the tab is open: reading
// goes by the cookie as well, but what changes something needs the key itself.
import { ask, queryOf, Refusal } from '../api/client';
import type { LinkInfo, LinkItem } from '../api/types';

/** over: its time passed while the page was open. */
export type LinkState = 'loading' | 'locked' | 'gone' | 'over' | 'open' | 'failed';
const WAIT_MS_MAX = 2 ** 31 - 1;

export class OpenedLink {
  state = $state<LinkState>('loading');
  info = $state.raw<LinkInfo>({ is_locked: false });
  problem = $state.raw<unknown>(null);
  readonly mayEdit = $derived(this.info.permission === 'edit');
  #key: string;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly token: string) {
    this.#key = sessionStorage.getItem(this.stored) ?? '';
  }

  private get stored(): string {
    return `satchel.link ${this.token}`;
  }

  get parts(): { token: string } {
    return { token: this.token };
  }

  get headers(): Record<string, string> {
    return this.#key ? { 'satchel-link-key': this.#key } : {};
  }

  /** Look at what the link is now. */
  async load(): Promise<void> {
    try {
      const info = await ask('GET /api/v1/public/{token}', { parts: this.parts, headers: this.headers });
      // What is known stays while the password is asked for again.
      if (!info.is_locked) this.info = info;
      this.state = info.is_locked ? 'locked' : 'open';
      this.wait();
    } catch (error) {
      this.failed(error, true);
    }
  }

  /** Give the password. Throws: Refusal. */
  async unlock(password: string): Promise<void> {
    const { key } = await ask('POST /api/v1/public/{token}/unlock', { parts: this.parts, body: { password } });
    this.#key = key;
    sessionStorage.setItem(this.stored, key);
    await this.load();
  }

  /** Take note of what went wrong; tell whether the page shows something else now. isOfLink: it was the link itself that
   * was asked for, and no file in it. */
  failed(error: unknown, isOfLink = false): boolean {
    const code = error instanceof Refusal ? error.code : '';
    if (code === 'link_locked') this.lock();
    else if (code === 'not_found' && isOfLink) this.state = 'gone';
    else if (code === 'not_found') return false;
    else if (this.state === 'loading' || this.state === 'failed') [this.state, this.problem] = ['failed', error];
    else return false;
    return true;
  }

  address(item: LinkItem): string {
    return `/api/v1/public/${encodeURIComponent(this.token)}/content${queryOf({ id: item.id })}`;
  }

  zipAddress(item: LinkItem): string {
    return `/api/v1/public/${encodeURIComponent(this.token)}/zip${queryOf({ id: item.id })}`;
  }

  private lock(): void {
    this.#key = '';
    sessionStorage.removeItem(this.stored);
    this.state = 'locked';
  }

  private wait(): void {
    clearTimeout(this.#timer);
    const ends = this.info.expires_ms ?? null;
    if (ends === null || this.state !== 'open') return;
    const left = ends - Date.now();
    this.#timer = setTimeout(() => (left > WAIT_MS_MAX ? this.wait() : (this.state = 'over')), Math.min(WAIT_MS_MAX, Math.max(0, left)));
  }
}
