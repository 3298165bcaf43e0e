// Cuts a file as the service and every device do (cdc1, see core/cutting_reference.py): only so have equal bytes equal
// blocks, and only so is a block known that another device sent. A grid of 4 MiB would be simpler and know nothing.
import { GEAR } from './gear';

export const BLOCK_BYTES_MAX = 4 * 1024 * 1024;
const BYTES_MIN = 256 * 1024;
const BYTES_AVERAGE = 1024 * 1024;
const SINGLE_BYTES_MAX = 512 * 1024;
// A word of 48 bits is kept in two halves of 24, so that all of it is done in whole numbers of 32 bits.
const HALF = 0xffffff;
const STRICT_HIGH = 0xd93767;
const LAX_HIGH = 0xd90707;
const MASK_LOW = 0x537000;
const HIGH = new Int32Array(256);
const LOW = new Int32Array(256);
for (let value = 0; value < 256; value += 1) {
  HIGH[value] = parseInt(GEAR.slice(value * 12, value * 12 + 6), 16);
  LOW[value] = parseInt(GEAR.slice(value * 12 + 6, value * 12 + 12), 16);
}

/** Return the lengths of the blocks that begin in `bytes`, which follow a cut. Those that a later byte could still end
 *  elsewhere are left out, unless these bytes are the file's last. size: of the whole file. */
export function cut(bytes: Uint8Array, size: number, isLast: boolean): number[] {
  if (size <= SINGLE_BYTES_MAX) return bytes.length ? [bytes.length] : [];
  const lengths: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (!isLast && bytes.length - at < BLOCK_BYTES_MAX) break;
    const length = firstLength(bytes, at);
    lengths.push(length);
    at += length;
  }
  return lengths;
}

/** As `cut`, for the files that were cut every 4 MiB (fixed4m). */
export function cutEvenly(bytes: Uint8Array, _size: number, isLast: boolean): number[] {
  const lengths: number[] = [];
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES_MAX) {
    if (!isLast && bytes.length - at < BLOCK_BYTES_MAX) break;
    lengths.push(Math.min(BLOCK_BYTES_MAX, bytes.length - at));
  }
  return lengths;
}

function firstLength(bytes: Uint8Array, start: number): number {
  const room = Math.min(bytes.length - start, BLOCK_BYTES_MAX);
  if (room <= BYTES_MIN) return room;
  // An odd last byte is never looked at: the library reads bytes in pairs.
  const even = room & ~1;
  const turn = start + Math.min(BYTES_AVERAGE, even);
  let high = 0;
  let low = 0;
  let at = start + BYTES_MIN;
  for (; at < turn; at += 1) {
    const value = bytes[at] as number;
    const sum = (low << 1) + (LOW[value] as number);
    high = ((high << 1) + (HIGH[value] as number) + (sum >>> 24)) & HALF;
    low = sum & HALF;
    if (!(high & STRICT_HIGH) && !(low & MASK_LOW)) return at - start;
  }
  for (const end = start + even; at < end; at += 1) {
    const value = bytes[at] as number;
    const sum = (low << 1) + (LOW[value] as number);
    high = ((high << 1) + (HIGH[value] as number) + (sum >>> 24)) & HALF;
    low = sum & HALF;
    if (!(high & LAX_HIGH) && !(low & MASK_LOW)) return at - start;
  }
  return room;
}
