// What can be asked of a search beside its words, and how it stands in the page's address.

/** Kinds that people think of, and the ends of names that they mean. Folders are a kind of their own. */
export const KINDS = {
  folder: '',
  picture: 'png,jpg,jpeg,gif,webp,avif,bmp,tif,tiff,heic,svg',
  document: 'pdf,doc,docx,odt,rtf,txt,md,pages,epub,tex',
  table: 'xls,xlsx,ods,csv,tsv,numbers',
  slides: 'ppt,pptx,odp,key',
  sound: 'mp3,m4a,ogg,oga,opus,flac,wav',
  film: 'mp4,m4v,mov,mkv,webm,avi',
  archive: 'zip,tar,gz,tgz,xz,bz2,7z,rar,zst',
} as const;
export type KindName = keyof typeof KINDS;

export const DAYS = { today: 1, week: 7, month: 30, year: 365 } as const;
export type DaysName = keyof typeof DAYS;

export interface Search {
  q: string;
  kind: KindName | '';
  days: DaysName | '';
  whose: 'me' | 'others' | '';
  path: string;
}

export function searchOf(query: URLSearchParams): Search {
  const kind = query.get('kind') ?? '';
  const days = query.get('days') ?? '';
  const whose = query.get('whose');
  return {
    q: (query.get('q') ?? '').trim(),
    kind: kind in KINDS ? (kind as KindName) : '',
    days: days in DAYS ? (days as DaysName) : '',
    whose: whose === 'me' || whose === 'others' ? whose : '',
    path: query.get('in') ?? '/',
  };
}

export function addressOf(search: Search): string {
  const told = { q: search.q, kind: search.kind, days: search.days, whose: search.whose, in: search.path === '/' ? '' : search.path };
  return '/search?' + new URLSearchParams(Object.entries(told).filter(([, value]) => value)).toString();
}

/** Return what both kinds of search are asked for. */
export function termsOf(search: Search): { path: string; extension: string; whose: Search['whose']; modified_from_ms?: number } {
  const terms = { path: search.path, extension: search.kind ? KINDS[search.kind] : '', whose: search.whose };
  return search.days ? { ...terms, modified_from_ms: Date.now() - DAYS[search.days] * 86_400_000 } : terms;
}

/** Return a text in pieces: what matches, and what stands between. matches: starts and ends in characters. */
export function pieces(text: string, matches: readonly (readonly unknown[])[]): { text: string; isMatch: boolean }[] {
  const chars = [...text];
  const found: { text: string; isMatch: boolean }[] = [];
  let at = 0;
  for (const [start, end] of matches as readonly (readonly [number, number])[]) {
    if (start > at) found.push({ text: chars.slice(at, start).join(''), isMatch: false });
    found.push({ text: chars.slice(Math.max(at, start), end).join(''), isMatch: true });
    at = end;
  }
  if (at < chars.length) found.push({ text: chars.slice(at).join(''), isMatch: false });
  return found;
}

const DRAWN = new Set('png jpg jpeg gif webp bmp tif tiff pdf'.split(' '));

/** Return the address of a file's small picture; empty where there is none. */
export function pictureOf(file: { name: string; namespace: string; id: string; size: number }): string {
  const end = file.name.slice(file.name.lastIndexOf('.') + 1).toLowerCase();
  return file.size && DRAWN.has(end) ? `/api/v1/thumbnail/${file.namespace}/${file.id}?size=small` : '';
}
