// One file on its way up. A short one goes at once; a longer one block by block, and only those that the service lacks.
import { ask, queryOf, Refusal, refusalOf } from '../api/client';
import { blocksOf, contentHashOf, type Block } from './cutter';

/** Up to here a file is one request: to ask first would take longer than what it could spare. */
const SINGLE_BYTES_MAX = 256 * 1024;

/** What is sent, and how far it is. It is kept while an upload is paused, and so goes on where it was. */
export interface Sent {
  path: string;
  file: File;
  /** Whether a file that is there may be replaced; else it is a Refusal, 412. */
  isReplacing: boolean;
  /** The upload at the service, once it is begun. */
  session: string;
  /** The hashes of the file's blocks up to `cutAt`, all of which the service has. */
  hashes: string[];
  cutAt: number;
}

export interface Told {
  /** So much is at the service; isSent: it was sent, and not found there. */
  onBytes: (there: number, isSent: boolean) => void;
  onSession: (session: string) => void;
  signal: AbortSignal;
}

/** Send a file. Throws: Refusal, Unreadable, AbortError. */
export async function send(one: Sent, told: Told): Promise<void> {
  if (one.file.size <= SINGLE_BYTES_MAX) await sendWhole(one, told);
  else await sendParts(one, told);
}

/** Forget what came of a file: it begins anew. What the service has of it need not be sent again all the same. */
export function beginAnew(one: Sent): void {
  if (one.session) ask('DELETE /api/v1/uploads/{upload_id}', { parts: { upload_id: one.session } }).catch(() => undefined);
  one.session = '';
  one.hashes = [];
  one.cutAt = 0;
}

// A browser tells milliseconds. The number is past what it counts exactly, but is written with all its digits: no shorter
// decimal number is nearer.
const mtimeOf = (file: File): number => file.lastModified * 1_000_000;

async function sendWhole(one: Sent, told: Told): Promise<void> {
  const headers: Record<string, string> = one.isReplacing ? {} : { 'if-none-match': '*' };
  const query = queryOf({ path: one.path, mtime_ns: mtimeOf(one.file) || '' });
  await transfer('PUT', `/api/v1/content${query}`, headers, one.file, told.signal, (bytes) => told.onBytes(bytes, true));
}

async function sendParts(one: Sent, told: Told): Promise<void> {
  let there = await begun(one, told);
  told.onBytes(there, false);
  const { file } = one;
  let next = following(file, one.cutAt);
  while (one.cutAt < file.size) {
    const blocks = await next;
    const end = blocks.reduce((at, block) => at + block.size, one.cutAt);
    // The blocks behind are cut while these are sent.
    next = following(file, end);
    there = await sendBlocks(one, blocks, there, told);
    one.hashes.push(...blocks.map((block) => block.hash));
    one.cutAt = end;
  }
  // With what it must be, so that nothing is ever made of two states of a file.
  const query = { content_hash: await contentHashOf(one.hashes) };
  try {
    await ask('POST /api/v1/uploads/{upload_id}/finish', { parts: { upload_id: one.session }, query, signal: told.signal });
  } catch (error) {
    if (error instanceof Refusal && (error.code === 'block_mismatch' || error.code === 'precondition_failed')) beginAnew(one);
    throw error;
  }
}

function following(file: File, at: number): Promise<Block[]> {
  const blocks = at < file.size ? blocksOf(file, at) : Promise.resolve([]);
  // Whoever stops meanwhile never asks for it.
  blocks.catch(() => undefined);
  return blocks;
}

/** Begin an upload, or find the one that was begun; return how many bytes the service has. */
async function begun(one: Sent, told: Told): Promise<number> {
  if (one.session) {
    try {
      const shown = await ask('GET /api/v1/uploads/{upload_id}', { parts: { upload_id: one.session }, signal: told.signal });
      if (shown.offset >= one.cutAt) return shown.offset;
    } catch (error) {
      if (!(error instanceof Refusal && error.status === 404)) throw error;
      one.session = '';
    }
    beginAnew(one);
  }
  if (!one.isReplacing && (await isTaken(one.path, told.signal))) throw new Refusal(412, 'precondition_failed', '', '', '');
  const body = { path: one.path, size: one.file.size, mtime_ns: mtimeOf(one.file), ...(one.isReplacing ? {} : { base_rev: 0 }) };
  const made = await ask('POST /api/v1/uploads', { body, signal: told.signal });
  one.session = made.id;
  told.onSession(made.id);
  return made.offset;
}

/** Tell whether something stands at a path: better asked before a long file is sent than after. */
async function isTaken(path: string, signal: AbortSignal): Promise<boolean> {
  try {
    await ask('GET /api/v1/entry', { query: { path }, signal });
    return true;
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return false;
    throw error;
  }
}

/** Bring blocks that begin at `one.cutAt` to the service, which has `there` bytes; return how many it has then. */
async function sendBlocks(one: Sent, blocks: readonly Block[], there: number, told: Told): Promise<number> {
  let from = one.cutAt;
  const left = [...blocks];
  const drop = (upTo: number): void => {
    for (let first = left[0]; first && from + first.size <= upTo; first = left[0]) {
      from += first.size;
      left.shift();
    }
  };
  drop(there);
  const begunBlock = left[0];
  // A part of it came before the upload stopped.
  if (begunBlock && there > from) there = await sendPart(one, there, from + begunBlock.size, told);
  drop(there);
  while (left.length) {
    const known = await ask('POST /api/v1/uploads/{upload_id}/known', {
      parts: { upload_id: one.session },
      body: { offset: there, blocks: left },
      signal: told.signal,
    });
    there = known.offset;
    told.onBytes(there, false);
    drop(there);
    const missing = new Set(known.missing);
    let end = from;
    for (const [at, block] of left.entries()) {
      if (at > 0 && !missing.has(block.hash)) break;
      end += block.size;
    }
    if (end > from) there = await sendPart(one, there, end, told);
    drop(there);
  }
  return there;
}

async function sendPart(one: Sent, from: number, to: number, told: Told): Promise<number> {
  const headers = { 'upload-offset': String(from) };
  const address = `/api/v1/uploads/${one.session}`;
  await transfer('PATCH', address, headers, one.file.slice(from, to), told.signal, (bytes) => told.onBytes(from + bytes, true));
  return to;
}

/** Send bytes in one request. fetch would tell nothing of how far it is. */
function transfer(
  method: 'PUT' | 'PATCH',
  address: string,
  headers: Record<string, string>,
  body: Blob,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = (): void => request.abort();
    request.upload.onprogress = (event) => onBytes(Math.min(event.loaded, body.size));
    request.onload = () => {
      if (request.status < 300) resolve();
      else reject(refusalOf(request.status, request.responseText, request.getResponseHeader('retry-after')));
    };
    request.onerror = () => reject(new Refusal(0, 'unreachable', '', '', ''));
    request.onabort = () => reject(new DOMException('stopped', 'AbortError'));
    request.onloadend = () => signal.removeEventListener('abort', stop);
    request.open(method, address);
    request.setRequestHeader('content-type', 'application/octet-stream');
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    signal.addEventListener('abort', stop);
    if (signal.aborted) reject(new DOMException('stopped', 'AbortError'));
    else request.send(body);
  });
}
