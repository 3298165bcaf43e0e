// Where the app is. The server answers each of these first parts with the app's page (gateway/web.py has the same list).
export const PAGES = ['', 'setup', 'sign-in', 'files', 'shared', 'trash', 'device', 'devices'] as const;
export type Page = (typeof PAGES)[number];

const state = $state({ path: location.pathname });

export function currentPage(): Page | null {
  const first = state.path.split('/')[1] ?? '';
  return PAGES.find((page) => page === first) ?? null;
}

/** Return the folder that the files page shows, like `/Documents`. */
export function currentFolder(): string {
  const rest = state.path.replace(/^\/files/, '').replace(/\/+$/, '');
  try {
    return rest === '' ? '/' : rest.split('/').map(decodeURIComponent).join('/');
  } catch {
    return '/';
  }
}

export function addressOfFolder(folder: string): string {
  return folder === '/' ? '/files' : '/files' + folder.split('/').map(encodeURIComponent).join('/');
}

export function go(address: string, isReplaced = false): void {
  if (address !== location.pathname) {
    if (isReplaced) history.replaceState(null, '', address);
    else history.pushState(null, '', address);
  }
  state.path = address;
}

/** Follow the browser's own back and forward, and links within the app. */
export function beginRoute(): void {
  addEventListener('popstate', () => (state.path = location.pathname));
  document.addEventListener('click', (event) => {
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!link || !isPlain || event.defaultPrevented || link.target || link.hasAttribute('download')) return;
    if (link.origin !== location.origin || link.getAttribute('href')?.startsWith('#')) return;
    event.preventDefault();
    go(link.pathname);
  });
}
