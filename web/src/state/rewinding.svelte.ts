// One folder on its way back to what it was: shown first, then done, then perhaps undone.
import { ask, Refusal } from '../api/client';
import type { ActivityDays, Rewind, RewindLine, RewindPreview } from '../api/types';
import { offsetMin } from './days';

/** A time, or a place in the journal. */
export type Aim = { to_ms: number } | { to_seq: number };
const PAGE = 100;
const CALLS_MAX = 1_000;

export class Rewinding {
  days = $state.raw<ActivityDays | null>(null);
  preview = $state.raw<RewindPreview | null>(null);
  lines = $state.raw<readonly RewindLine[]>([]);
  rewinds = $state.raw<readonly Rewind[]>([]);
  isLooking = $state(false);
  /** How much of a rewind that is at work is done, 0 to 1; null when none is. */
  part = $state<number | null>(null);
  problem = $state<unknown>(null);
  /** The folder is there, and yet it is not rewound: it was not there then, or only its owner may do it. */
  refused = $state<'' | 'notThere' | 'ownerOnly'>('');
  readonly #where: { path: string };
  #aim: Aim | null = null;
  #stop = new AbortController();

  constructor(readonly path: string) {
    this.#where = { path: path === '/' ? '' : path };
  }

  async begin(days: number): Promise<void> {
    try {
      this.days = await ask('GET /api/v1/activity/days', { query: { ...this.#where, days, offset_min: offsetMin() } });
      await this.lookBack();
      this.problem = null;
    } catch (error) {
      this.problem = error;
    }
  }

  async lookBack(): Promise<void> {
    this.rewinds = (await ask('GET /api/v1/rewinds', { query: { ...this.#where, limit: 20 } })).rewinds;
  }

  /** Look what a rewind would do; what was asked before is let go of. */
  async aim(aim: Aim): Promise<void> {
    this.#aim = aim;
    this.#stop.abort();
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.isLooking = true;
    this.problem = null;
    try {
      const told = await ask('POST /api/v1/rewind/preview', { body: { ...this.#where, ...aim, limit: PAGE }, signal });
      this.preview = told;
      this.lines = told.lines;
      this.refused = '';
    } catch (error) {
      if (signal.aborted) return;
      this.preview = null;
      const isKnown = error instanceof Refusal && error.status === 404 && this.days !== null;
      this.refused = !isKnown ? '' : error.reason === 'not_there_then' ? 'notThere' : 'ownerOnly';
      if (!isKnown) this.problem = error;
    } finally {
      if (!signal.aborted) this.isLooking = false;
    }
  }

  async more(): Promise<void> {
    const before = this.preview;
    if (!before || before.next_at === null) return;
    const body = { ...this.#where, to_seq: before.to_seq, at: before.next_at, limit: PAGE };
    const told = await ask('POST /api/v1/rewind/preview', { body });
    if (told.head_seq !== before.head_seq) return this.again();
    this.preview = { ...before, next_at: told.next_at };
    this.lines = [...this.lines, ...told.lines];
  }

  async again(): Promise<void> {
    if (this.#aim) await this.aim(this.#aim);
  }

  /** Do what was shown, and nothing else: what changed since refuses it. Return its id. Throws: Refusal. */
  async run(): Promise<string> {
    const shown = this.preview;
    if (!shown) throw new Error('nothing was shown');
    return this.#worked({ ...this.#where, to_seq: shown.to_seq }, linesOf(shown.counts), shown.head_seq);
  }

  /** Take a rewind back. Throws: Refusal. */
  async undo(id: string): Promise<string> {
    return this.#worked({ undo: id }, 0);
  }

  async #worked(body: { undo: string } | { path: string; to_seq: number }, all: number, seen_seq?: number): Promise<string> {
    this.part = 0;
    try {
      let seen: { seen_seq?: number } = seen_seq === undefined ? {} : { seen_seq };
      for (let call = 0; call < CALLS_MAX; call += 1) {
        const told = await ask('POST /api/v1/rewind', { body: { ...body, ...seen } });
        if (told.is_finished) return told.id;
        const left = linesOf(told.counts);
        const whole = Math.max(all, left, 1);
        this.part = Math.max(this.part, 1 - left / whole);
        // From here on the journal grows by what the rewind itself does.
        seen = {};
      }
      throw new Refusal(0, 'unreachable', '', '', '');
    } finally {
      this.part = null;
      this.preview = null;
      this.lines = [];
      await this.lookBack().catch(() => undefined);
    }
  }
}

/** Return how many files and folders a rewind touches. */
export function linesOf(counts: Record<string, unknown>): number {
  return Object.entries(counts).reduce((sum, [does, count]) => sum + (does === 'thinned' ? 0 : Number(count)), 0);
}
