// The catalogue in use, and what is written differently in each language: numbers, sizes, times.
import { en, type Catalogue, type Key } from './en';

export type Language = 'en' | 'de';
export const LANGUAGES: Readonly<Record<Language, string>> = { en: 'English', de: 'Deutsch' };

type Values = Readonly<Record<string, string | number>>;
type Counted = Key extends infer K ? (K extends `${infer Base}.other` ? Base : never) : never;

const STORED = 'satchel.language';
const state = $state<{ language: Language; catalogue: Catalogue }>({ language: 'en', catalogue: en });

/** Return the text of a key with its parts filled in. */
export function t(key: Key, values: Values = {}): string {
  return state.catalogue[key].replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** Return the text that fits the number `count`. */
export function tn(base: Counted, count: number, values: Values = {}): string {
  const form = new Intl.PluralRules(state.language).select(count) === 'one' ? 'one' : 'other';
  return t(`${base}.${form}`, { ...values, count: count.toLocaleString(state.language) });
}

/** Tell whether there is a text under a key that was put together. */
export function isKey(key: string): key is Key {
  return key in en;
}

export function language(): Language {
  return state.language;
}

export async function useLanguage(wanted: Language): Promise<void> {
  state.catalogue = wanted === 'de' ? (await import('./de')).de : en;
  state.language = wanted;
  document.documentElement.lang = wanted;
  localStorage.setItem(STORED, wanted);
}

export async function beginLanguage(): Promise<void> {
  const stored = localStorage.getItem(STORED) ?? navigator.language;
  await useLanguage(stored.startsWith('de') ? 'de' : 'en');
}

// To make a format takes longer than to use it a hundred times, and a list that is scrolled uses it for every row.
const formats = new Map<string, unknown>();

function kept<F>(name: string, make: (language: Language) => F): F {
  const key = `${state.language} ${name}`;
  if (!formats.has(key)) formats.set(key, make(state.language));
  return formats.get(key) as F;
}

const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte', 'petabyte'] as const;

/** Return a size in the unit that fits it, of 1,000 each. */
export function sizeText(bytes: number): string {
  let at = 0;
  let value = bytes;
  while (value >= 999.5 && at < UNITS.length - 1) {
    value /= 1000;
    at += 1;
  }
  const unit = UNITS[at] ?? 'byte';
  const digits = at === 0 || value >= 100 ? 0 : 1;
  const style = { style: 'unit', unit, unitDisplay: at === 0 ? 'long' : 'short', maximumFractionDigits: digits } as const;
  return kept(`${unit}${digits}`, (language) => new Intl.NumberFormat(language, style)).format(value);
}

/** Return a number with at most so many digits behind the point. */
export function numberText(value: number, digits = 0): string {
  return value.toLocaleString(state.language, { maximumFractionDigits: digits });
}

/** Return a moment as people write it. */
export function timeText(ms: number): string {
  return kept('time', (language) => new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' })).format(ms);
}

/** Return a day as people write it. */
export function dayText(ms: number): string {
  return new Intl.DateTimeFormat(state.language, { dateStyle: 'medium' }).format(ms);
}

/** Return the time of day. */
export function clockText(ms: number): string {
  return new Intl.DateTimeFormat(state.language, { timeStyle: 'short' }).format(ms);
}

/** Return a day as the heading of what was done on it: today, yesterday, then its date. ms: when it begins. */
export function dayHeading(ms: number): string {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - ms) / 86_400_000);
  const text =
    days < 2
      ? new Intl.RelativeTimeFormat(state.language, { numeric: 'auto' }).format(-days, 'day')
      : new Intl.DateTimeFormat(state.language, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' }).format(ms);
  return text.charAt(0).toLocaleUpperCase(state.language) + text.slice(1);
}

const SPANS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
];

const FAR_MS = 31 * 86_400_000;

/** Return how far a moment is from now; what is further than a month is told by its date. */
export function agoText(ms: number): string {
  const distance = ms - Date.now();
  if (Math.abs(distance) > FAR_MS) return timeText(ms);
  const format = new Intl.RelativeTimeFormat(state.language, { numeric: 'auto' });
  for (const [unit, length] of SPANS) {
    if (Math.abs(distance) >= length) return format.format(Math.round(distance / length), unit);
  }
  return format.format(0, 'second');
}
