// Cuts and hashes beside the page, so that the page stays smooth. Keeps nothing between two questions.
import { cut, cutEvenly } from './cutting';
import { sha256, unhex } from './hashing';

export interface Block {
  hash: string;
  size: number;
}
/** The blocks of a file from a cut on, or the hash over the blocks of a whole one. */
export type Question = { id: number } & ({ file: Blob; at: number; isEven?: boolean } | { hashes: readonly string[] });
export type Answer = { id: number } & ({ blocks: Block[] } | { digest: string } | { problem: string });

/** At least one whole block, and as much as one request may send. */
const WINDOW_BYTES = 16 * 1024 * 1024;

self.onmessage = (event: MessageEvent<Question>) => {
  const { id } = event.data;
  const answer = 'hashes' in event.data ? digest(event.data.hashes) : blocks(event.data.file, event.data.at, event.data.isEven ? cutEvenly : cut);
  answer.then(
    (told) => self.postMessage({ id, ...told }),
    // Whatever keeps a file from being read: it changed, it is gone, its disk was taken out.
    (error: unknown) => self.postMessage({ id, problem: error instanceof Error ? error.name : String(error) }),
  );
};

async function blocks(file: Blob, at: number, cutting: typeof cut): Promise<{ blocks: Block[] }> {
  const end = Math.min(file.size, at + WINDOW_BYTES);
  const bytes = new Uint8Array(await file.slice(at, end).arrayBuffer());
  const found: Block[] = [];
  let from = 0;
  for (const size of cutting(bytes, file.size, end === file.size)) {
    found.push({ hash: await sha256(bytes.subarray(from, from + size)), size });
    from += size;
  }
  return { blocks: found };
}

async function digest(hashes: readonly string[]): Promise<{ digest: string }> {
  return { digest: await sha256(unhex(hashes.join(''))) };
}
