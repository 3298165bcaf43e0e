// Whether the service is reached. Known from what is asked of it: a browser that says it is online may be on any network.
const state = $state({ isAway: false });
const waiting = new Set<() => void>();

/** Tell whether the service could not be reached when it was asked last. */
export function isAway(): boolean {
  return state.isAway;
}

export function setAway(isAway: boolean): void {
  state.isAway = isAway;
  if (isAway) return;
  for (const act of waiting) act();
  waiting.clear();
}

/** Wait until the service is reached again; at once if it is, or when the signal says so. */
export function whenBack(signal?: AbortSignal): Promise<void> {
  if (!state.isAway || signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    waiting.add(resolve);
    signal?.addEventListener('abort', () => resolve(), { once: true });
  });
}
