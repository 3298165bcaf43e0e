// What the holder of an edit link does to the files in it.
import { ask, queryOf, Refusal, refusalOf } from '../api/client';
import type { LinkItem } from '../api/types';
import { t } from '../text/index.svelte';
import type { OpenedLink } from './opened.svelte';
import { tell, tellRefusal } from './toasts.svelte';

/** Do something through a link; say what went wrong, and tell whether it went well. */
export async function through(link: OpenedLink, act: () => Promise<unknown>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    tellRefusal(error);
    link.failed(error);
    return false;
  }
}

/** Put another content in the place of a file's, unless somebody changed it meanwhile. */
export function replaceThrough(link: OpenedLink, item: LinkItem, file: File): Promise<boolean> {
  return through(link, async () => {
    const address = link.address(item) + queryOf({ mtime_ns: `${file.lastModified}000000` }).replace('?', '&');
    const headers = { ...link.headers, 'content-type': 'application/octet-stream', 'if-match': `"${item.rev}"` };
    const answer = await fetch(address, { method: 'PUT', body: file, headers }).catch(() => {
      throw new Refusal(0, 'unreachable', '', '', '');
    });
    if (!answer.ok) throw refusalOf(answer.status, await answer.text());
    tell(t('open.replaced', { name: item.name }));
  });
}

export function deleteThrough(link: OpenedLink, item: LinkItem): Promise<boolean> {
  return through(link, async () => {
    await ask('POST /api/v1/public/{token}/delete', { parts: link.parts, headers: link.headers, body: { id: item.id } });
    tell(t('open.deleted', { name: item.name }));
  });
}

/** Give an item another name. Throws: Refusal. */
export async function renameThrough(link: OpenedLink, item: LinkItem, parent: string, name: string): Promise<void> {
  const body = { id: item.id, parent, name };
  await ask('POST /api/v1/public/{token}/move', { parts: link.parts, headers: link.headers, body });
  tell(t('open.renamed', { name }));
}

/** Make a folder. Throws: Refusal. */
export function makeFolderThrough(link: OpenedLink, parent: string, name: string): Promise<LinkItem> {
  return ask('POST /api/v1/public/{token}/folders', { parts: link.parts, headers: link.headers, body: { name, parent } });
}
