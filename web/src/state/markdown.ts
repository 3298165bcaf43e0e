// Markdown into plain values, which components show. Nothing of a file is ever read as HTML, so nothing in it can run.
export type Span =
  | { kind: 'text' | 'code'; text: string }
  | { kind: 'strong' | 'em'; spans: Span[] }
  | { kind: 'link'; spans: Span[]; address: string };
export type Block =
  | { kind: 'heading'; level: number; spans: Span[] }
  | { kind: 'paragraph'; spans: Span[] }
  | { kind: 'code'; text: string }
  | { kind: 'quote'; blocks: Block[] }
  | { kind: 'list'; isOrdered: boolean; items: Span[][] }
  | { kind: 'rule' };

const INLINE = /(`+)([^`]+?)\1|\*\*(.+?)\*\*|__(.+?)__|\*([^*\s][^*]*)\*|\b_([^_]+)_\b|!?\[([^\]]*)\]\(([^()\s]+)[^)]*\)/;
const DEPTH_MAX = 8;
const ITEM = /^\s{0,8}([-*+]|\d{1,9}[.)])\s+(.*)$/;

/** Return the blocks of a text. */
export function parseMarkdown(text: string, depth = 0): Block[] {
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  const blocks: Block[] = [];
  for (let at = 0; at < lines.length; ) {
    const line = lines[at] ?? '';
    const run = (goesOn: (line: string) => boolean): string[] => {
      const from = at;
      do at += 1;
      while (at < lines.length && goesOn(lines[at] ?? ''));
      return lines.slice(from, at);
    };
    const fence = /^\s*(```|~~~)/.exec(line)?.[1];
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (fence) {
      const body = run((next) => !next.trimStart().startsWith(fence)).slice(1);
      at += 1;
      blocks.push({ kind: 'code', text: body.join('\n') });
    } else if (heading) {
      at += 1;
      blocks.push({ kind: 'heading', level: heading[1]?.length ?? 1, spans: spansOf(heading[2] ?? '') });
    } else if (/^\s{0,3}([-*_])(\s*\1){2,}\s*$/.test(line)) {
      at += 1;
      blocks.push({ kind: 'rule' });
    } else if (/^\s*>/.test(line) && depth < DEPTH_MAX) {
      const inner = run((next) => /^\s*>/.test(next)).map((one) => one.replace(/^\s*>\s?/, ''));
      blocks.push({ kind: 'quote', blocks: parseMarkdown(inner.join('\n'), depth + 1) });
    } else if (ITEM.test(line)) {
      const items: string[] = [];
      for (const one of run((next) => ITEM.test(next) || /^\s{2,}\S/.test(next))) {
        const item = ITEM.exec(one);
        if (item) items.push(item[2] ?? '');
        else items.push(`${items.pop() ?? ''} ${one.trim()}`);
      }
      blocks.push({ kind: 'list', isOrdered: /^\s*\d/.test(line), items: items.map((one) => spansOf(one)) });
    } else if (!line.trim()) {
      at += 1;
    } else {
      const words = run((next) => next.trim() !== '' && !/^(#{1,6}\s|\s*(```|~~~|>))/.test(next) && !ITEM.test(next));
      blocks.push({ kind: 'paragraph', spans: spansOf(words.join(' ')) });
    }
  }
  return blocks;
}

function spansOf(text: string, depth = 0): Span[] {
  const spans: Span[] = [];
  let rest = text;
  while (rest) {
    const found = depth < DEPTH_MAX ? INLINE.exec(rest) : null;
    if (!found) {
      spans.push({ kind: 'text', text: rest });
      break;
    }
    if (found.index) spans.push({ kind: 'text', text: rest.slice(0, found.index) });
    const [whole, , code, strong, strongToo, em, emToo, label, address] = found;
    const bold = strong ?? strongToo;
    const leaning = em ?? emToo;
    if (code !== undefined) spans.push({ kind: 'code', text: code });
    else if (bold !== undefined) spans.push({ kind: 'strong', spans: spansOf(bold, depth + 1) });
    else if (leaning !== undefined) spans.push({ kind: 'em', spans: spansOf(leaning, depth + 1) });
    // Only what a browser opens as a page of elsewhere, and never by itself; a picture is its words.
    else if (/^https?:\/\//i.test(address ?? '')) spans.push({ kind: 'link', spans: spansOf(label ?? '', depth + 1), address: address ?? '' });
    else spans.push({ kind: 'text', text: label ?? '' });
    rest = rest.slice(found.index + whole.length);
  }
  return spans;
}
