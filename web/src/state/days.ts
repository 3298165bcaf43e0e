// Days as they begin and end on the clock of this browser.
import type { ActivityDay } from '../api/types';

export const DAY_MS = 86_400_000;
export const HOUR_MS = 3_600_000;
export const MINUTE_MS = 60_000;

/** By how many minutes this clock is ahead of UTC. */
export function offsetMin(): number {
  return -new Date().getTimezoneOffset();
}

/** Return when the day that holds a moment begins. */
export function dayOf(ms: number): number {
  return new Date(ms).setHours(0, 0, 0, 0);
}

/** Return a moment as a field for date and time has it, and back. */
export function fieldOf(ms: number): string {
  return new Date(ms - new Date(ms).getTimezoneOffset() * MINUTE_MS).toISOString().slice(0, 19);
}

export function momentOf(field: string): number | null {
  const ms = new Date(field).getTime();
  return Number.isNaN(ms) ? null : ms;
}

/** Return the changes of several histories, added up day by day. */
export function addedUp(histories: readonly (readonly ActivityDay[])[]): ActivityDay[] {
  const sums = new Map<number, number>();
  for (const { begin_ms, changes } of histories.flat()) sums.set(begin_ms, (sums.get(begin_ms) ?? 0) + changes);
  return [...sums].sort(([one], [other]) => one - other).map(([begin_ms, changes]) => ({ begin_ms, changes }));
}
