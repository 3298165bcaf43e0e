// What was done in a folder, or everywhere: the histories of one's own tree and of each shared folder in it, told as one,
// the newest first. Each is read a page at a time, as far as what is shown needs it.
import { ask } from '../api/client';
import type { ActivityDay, ActivityRow } from '../api/types';
import { addedUp, offsetMin } from './days';

export type Told = ActivityRow & { namespace: string };
interface Source {
  query: { path?: string; namespace?: string };
  namespace: string;
  before: number;
  waiting: ActivityRow[];
  isEnded: boolean;
}
const PAGE = 60;
const MORE = 40;
const SOURCES_MAX = 100;
/** So many pages are read for one step, where what is wanted is rare. */
const PAGES_MAX = 25;
const DAYS = 30;
const COUNTED_MAX = 12;

export class Activities {
  rows = $state.raw<readonly Told[]>([]);
  days = $state.raw<readonly ActivityDay[]>([]);
  isLoading = $state(true);
  isEnded = $state(false);
  problem = $state<unknown>(null);
  readonly #known: readonly string[];
  /** Who was told of so far, also before the choice of somebody. */
  readonly people = $derived.by(() => [...new Set([...this.#known, ...this.rows.map((row) => row.account)].filter(Boolean))].sort());
  #sources: Source[] | null = null;
  #isBusy = false;

  /** known: who may be chosen already. */
  constructor(
    readonly path: string,
    readonly person = '',
    readonly does = '',
    known: readonly string[] = [],
  ) {
    this.#known = known;
  }

  /** Read on until there is more to show, or nothing left. */
  async more(): Promise<void> {
    if (this.#isBusy || this.isEnded) return;
    this.#isBusy = this.isLoading = true;
    this.problem = null;
    try {
      this.#sources ??= await this.#sourcesHere();
      const wanted = this.rows.length + MORE;
      for (let page = 0; page < PAGES_MAX && this.rows.length < wanted && !this.isEnded; page += 1) {
        await Promise.all(this.#sources.filter((one) => !one.isEnded && !one.waiting.length).map((one) => this.#read(one)));
        this.rows = [...this.rows, ...merged(this.#sources)];
        this.isEnded = this.#sources.every((one) => one.isEnded && !one.waiting.length);
      }
    } catch (error) {
      this.problem = error;
    } finally {
      this.#isBusy = this.isLoading = false;
    }
  }

  /** Count the days: of all histories together, as far as these are few. */
  async count(): Promise<void> {
    const sources = (this.#sources ??= await this.#sourcesHere());
    const query = { days: DAYS, offset_min: offsetMin() };
    const told = await Promise.all(sources.slice(0, COUNTED_MAX).map((one) => ask('GET /api/v1/activity/days', { query: { ...one.query, ...query } })));
    this.days = addedUp(told.map((one) => one.days));
  }

  async #sourcesHere(): Promise<Source[]> {
    const source = (query: Source['query'], namespace = ''): Source => ({ query, namespace, before: 0, waiting: [], isEnded: false });
    const shares = (await ask('GET /api/v1/shares', { query: { limit: SOURCES_MAX } })).items.filter((one) => one.path);
    const isIn = (path: string, folder: string): boolean => folder === '/' || path.startsWith(`${folder}/`);
    const around = shares.find((one) => one.path === this.path || isIn(this.path, one.path));
    const here = source(this.path === '/' ? {} : { path: this.path }, around?.id ?? '');
    return [here, ...shares.filter((one) => isIn(one.path, this.path)).map((one) => source({ namespace: one.id }, one.id))];
  }

  async #read(source: Source): Promise<void> {
    const query = { ...source.query, person: this.person, does: this.does, before: source.before, limit: PAGE };
    const told = await ask('GET /api/v1/activity', { query });
    source.waiting = told.rows;
    source.before = told.before;
    source.isEnded = told.before === 0;
  }
}

/** Take what is known to be the newest: until one of the histories has to be read on. */
function merged(sources: readonly Source[]): Told[] {
  const found: Told[] = [];
  while (sources.every((one) => one.isEnded || one.waiting.length)) {
    const [newest] = sources.filter((one) => one.waiting.length).sort((one, other) => (other.waiting[0]?.at_ms ?? 0) - (one.waiting[0]?.at_ms ?? 0));
    const row = newest?.waiting.shift();
    if (!newest || !row) break;
    found.push({ ...row, namespace: newest.namespace });
  }
  return found;
}

/** Return each entry of a row that stands for several. */
export async function entriesOf(row: Told, path: string): Promise<readonly Told[]> {
  const where = row.namespace ? { namespace: row.namespace } : path === '/' ? {} : { path };
  // What stands between them and was not asked for belongs to other rows.
  const query = { ...where, person: row.account, does: row.does === 'other' ? '' : row.does, first_seq: row.first_seq, last_seq: row.last_seq, grouped: false, limit: 200 };
  return (await ask('GET /api/v1/activity', { query })).rows.map((one) => ({ ...one, namespace: row.namespace }));
}
