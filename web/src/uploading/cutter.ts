// The page's side of the worker: one for all files, made when the first large one comes.
import { Refusal } from '../api/client';
import type { Answer, Block, Question } from './worker';

export type { Block };
/** The file cannot be read any more, or is not what it was when it was chosen. */
export class Unreadable extends Error {}
type Asked = Question extends infer One ? (One extends { id: number } ? Omit<One, 'id'> : never) : never;

let worker: Worker | null = null;
let nextId = 1;
const waiting = new Map<number, { resolve: (answer: Answer) => void; reject: (error: unknown) => void }>();

/** Return the next blocks of a file, from a cut on. Throws: Unreadable, Refusal. */
export async function blocksOf(file: Blob, at: number): Promise<Block[]> {
  const answer = await ask({ file, at });
  return 'blocks' in answer ? answer.blocks : [];
}

/** Return the content hash of a file whose blocks these are: it is made of their hashes, in order. */
export async function contentHashOf(hashes: readonly string[]): Promise<string> {
  const answer = await ask({ hashes });
  return 'digest' in answer ? answer.digest : '';
}

/** Tell whether a whole file has this content hash, by one of the ways in which files are cut. Throws: Unreadable, Refusal. */
export async function isContent(file: Blob, hash: string): Promise<boolean> {
  for (const isEven of [false, true]) {
    const hashes: string[] = [];
    for (let at = 0; at < file.size; ) {
      const answer = await ask({ file, at, isEven });
      const blocks = 'blocks' in answer ? answer.blocks : [];
      hashes.push(...blocks.map((block) => block.hash));
      at += blocks.reduce((sum, block) => sum + block.size, 0);
    }
    if ((await contentHashOf(hashes)) === hash) return true;
  }
  return false;
}

async function ask(asked: Asked): Promise<Answer> {
  worker ??= begun();
  const id = nextId++;
  const answer = await new Promise<Answer>((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker?.postMessage({ id, ...asked });
  });
  if ('problem' in answer) throw new Unreadable(answer.problem);
  return answer;
}

function begun(): Worker {
  const made = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  made.onmessage = ({ data }: MessageEvent<Answer>) => {
    waiting.get(data.id)?.resolve(data);
    waiting.delete(data.id);
  };
  made.onerror = () => {
    // It could not be loaded, or had no memory left: whoever waits tries again with a new one.
    for (const one of waiting.values()) one.reject(new Refusal(0, 'unreachable', '', '', ''));
    waiting.clear();
    made.terminate();
    worker = null;
  };
  return made;
}
