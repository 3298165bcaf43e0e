// How fast bytes go: over the last seconds, so that it follows the network and yet can be read.
const SPAN_MS = 8_000;

export class Pace {
  #moved: { at: number; bytes: number }[] = [];
  readonly #begun = Date.now();

  add(bytes: number): void {
    const at = Date.now();
    const last = this.#moved.at(-1);
    // A tenth of a second is one entry, however often it is told.
    if (last && at - last.at < 100) last.bytes += bytes;
    else this.#moved.push({ at, bytes });
  }

  bytesPerS(): number {
    const now = Date.now();
    this.#moved = this.#moved.filter((one) => one.at > now - SPAN_MS);
    const bytes = this.#moved.reduce((sum, one) => sum + one.bytes, 0);
    return Math.max(0, (bytes * 1_000) / Math.max(1_000, Math.min(SPAN_MS, now - this.#begun)));
  }
}
