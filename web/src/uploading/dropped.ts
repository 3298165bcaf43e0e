// What was dropped or chosen, as files with their paths: folders are walked.
export interface Found {
  path: string;
  /** Null: a folder that nothing is in. */
  file: File | null;
  /** Where the browser has one: it may be kept, and reads the file again after a reload. */
  handle?: FileSystemFileHandle;
}
/** More than one page can hold well. */
const FILES_MAX = 100_000;
/** Not in TypeScript's own description of browsers: not all have it. */
type Item = DataTransferItem & { getAsFileSystemHandle?: () => Promise<FileSystemHandle | null> };

/** Return the files that an input chose. */
export function chosenFiles(input: HTMLInputElement): Found[] {
  return [...(input.files ?? [])].slice(0, FILES_MAX).map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** Return all files of what was dropped, those in folders too. The event's data is read before the first wait.
 *  Folders are walked by their entries: by its handles a browser leaves out, and does not tell, what it finds unsafe. */
export async function droppedFiles(data: DataTransfer): Promise<Found[]> {
  const items: Item[] = [...data.items].filter((item) => item.kind === 'file');
  const entries = items.map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const plain = [...data.files];
  const handles = await Promise.all(items.map((item) => item.getAsFileSystemHandle?.().catch(() => null) ?? null));
  const found: Found[] = entries.length ? await walkEntries(entries) : plain.map((file) => ({ path: file.name, file }));
  for (const handle of handles) {
    const one = handle?.kind === 'file' ? found.find(({ path }) => path === handle.name) : undefined;
    if (one) one.handle = handle as FileSystemFileHandle;
  }
  return found;
}

async function walkEntries(entries: FileSystemEntry[]): Promise<Found[]> {
  const found: Found[] = [];
  const waiting = entries.map((entry) => ({ entry, path: entry.name }));
  for (let next = waiting.pop(); next && found.length < FILES_MAX; next = waiting.pop()) {
    const { entry, path } = next;
    if (entry.isFile) {
      found.push({ path, file: await fileOf(entry as FileSystemFileEntry) });
      continue;
    }
    const children = await childrenOf(entry as FileSystemDirectoryEntry);
    if (!children.length) found.push({ path, file: null });
    for (const child of children) waiting.push({ entry: child, path: `${path}/${child.name}` });
  }
  return found;
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

async function childrenOf(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  // A browser tells a hundred at a time, and none at the end.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}
