// What may be shown, and as what. Only types whose showing runs nothing, a PDF as pictures of its pages; the server's own
// list is gateway/previews.py.
export const IMAGE_BYTES_MAX = 64_000_000;
export const TEXT_BYTES_MAX = 1_000_000;

const TYPES: Readonly<Record<string, string>> = {
  'image/png': 'png',
  'image/jpeg': 'jpg jpeg jfif',
  'image/gif': 'gif',
  'image/webp': 'webp',
  'image/avif': 'avif',
  'image/bmp': 'bmp',
  'video/mp4': 'mp4 m4v',
  'video/webm': 'webm',
  'video/ogg': 'ogv',
  'video/quicktime': 'mov',
  'application/pdf': 'pdf',
  'audio/mpeg': 'mp3',
  'audio/mp4': 'm4a aac',
  'audio/ogg': 'ogg oga opus',
  'audio/wav': 'wav',
  'audio/flac': 'flac',
  'text/markdown': 'md markdown',
  'text/plain':
    'txt text log csv tsv ini toml yaml yml json xml html htm svg css js ts mjs py rs go java c h cpp hpp sh sql rb php tex diff patch conf cfg env',
};
const BY_END = new Map(Object.entries(TYPES).flatMap(([type, ends]) => ends.split(' ').map((end) => [end, type] as const)));

/** Return the type under which a file of this name may be shown; empty for none. What could run is shown as text. */
export function typeOf(name: string): string {
  const dot = name.lastIndexOf('.');
  return dot < 0 ? '' : (BY_END.get(name.slice(dot + 1).toLowerCase()) ?? '');
}
