// Which icon stands for which kind of thing.
import type { IconName } from './Icon.svelte';
import { typeOf } from '../state/previewing';

export function iconOf(item: { kind: string; name: string }): IconName {
  if (item.kind === 'folder') return 'files';
  if (item.kind === 'mount') return 'people';
  if (item.kind === 'symlink') return 'link';
  return typeOf(item.name).startsWith('image/') ? 'image' : 'file';
}
