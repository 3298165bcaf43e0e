// SHA-256. A browser has it only for pages that came over TLS or from this machine; for the others it is done here.
// Source: FIPS 180-4.

/** Return the SHA-256 of some bytes, in hex. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  // Undefined on a page that came over plain HTTP, whatever the types say.
  const subtle = crypto.subtle as SubtleCrypto | undefined;
  return hex(subtle ? new Uint8Array(await subtle.digest('SHA-256', bytes)) : digestOf(bytes));
}

export function unhex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: text.length / 2 }, (_, at) => parseInt(text.slice(2 * at, 2 * at + 2), 16));
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// The fractions of the square and cube roots of the first primes.
const PRIMES = Array.from({ length: 312 }, (_, at) => at).filter((n) => n > 1 && [2, 3, 5, 7, 11, 13, 17].every((by) => n === by || n % by));
const bitsOf = (root: number): number => ((root % 1) * 2 ** 32) | 0;
const START = PRIMES.slice(0, 8).map((prime) => bitsOf(prime ** (1 / 2)));
const STEPS = Int32Array.from(PRIMES.slice(0, 64).map((prime) => bitsOf(Math.cbrt(prime))));

/** Return the SHA-256 without the browser's help, at some 100 MB a second. */
export function digestOf(bytes: Uint8Array): Uint8Array {
  const state = Int32Array.from(START);
  const whole = bytes.length & ~63;
  const words = new Int32Array(64);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < whole; at += 64) mix(state, words, view, at);
  const rest = bytes.length - whole;
  const end = new Uint8Array(rest < 56 ? 64 : 128);
  end.set(bytes.subarray(whole));
  end[rest] = 0x80;
  const tail = new DataView(end.buffer);
  tail.setBigUint64(end.length - 8, BigInt(bytes.length) * 8n);
  for (let at = 0; at < end.length; at += 64) mix(state, words, tail, at);
  const digest = new Uint8Array(32);
  state.forEach((word, at) => new DataView(digest.buffer).setInt32(at * 4, word));
  return digest;
}

function mix(state: Int32Array, words: Int32Array, view: DataView, start: number): void {
  for (let at = 0; at < 16; at += 1) words[at] = view.getInt32(start + at * 4);
  for (let at = 16; at < 64; at += 1) {
    const older = words[at - 15] as number;
    const newer = words[at - 2] as number;
    const one = turned(older, 7) ^ turned(older, 18) ^ (older >>> 3);
    const two = turned(newer, 17) ^ turned(newer, 19) ^ (newer >>> 10);
    words[at] = ((words[at - 16] as number) + one + (words[at - 7] as number) + two) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
  for (let at = 0; at < 64; at += 1) {
    const sum = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
    const first = (h + sum + ((e & f) ^ (~e & g)) + (STEPS[at] as number) + (words[at] as number)) | 0;
    const second = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((value, at) => (state[at] = ((state[at] as number) + value) | 0));
}

function turned(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by));
}
