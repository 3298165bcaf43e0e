// Where the app is. The server answers each of these first parts with the app's page (gateway/web.py has the same list).
export const PAGES = ['', 'setup', 'sign-in', 'invitation', 'files', 'shared', 'activity', 'rewind', 'conflicts', 'search', 'trash', 'device', 'devices', 'settings', 'admin', 'offline'] as const;
export type Page = (typeof PAGES)[number];

const state = $state({ path: location.pathname, query: location.search });

export function currentPage(): Page | null {
  const first = state.path.split('/')[1] ?? '';
  return PAGES.find((page) => page === first) ?? null;
}

/** Return the folder that the page is about, like `/Documents`: what stands behind its first part. */
export function currentFolder(): string {
  const rest = state.path.replace(/^\/[^/]*/, '').replace(/\/+$/, '');
  try {
    return rest === '' ? '/' : rest.split('/').map(decodeURIComponent).join('/');
  } catch {
    return '/';
  }
}

export function addressOfFolder(folder: string, page: Page = 'files'): string {
  return folder === '/' ? `/${page}` : `/${page}` + folder.split('/').map(encodeURIComponent).join('/');
}

/** Return what stands behind the address's question mark. */
export function currentQuery(): URLSearchParams {
  return new URLSearchParams(state.query);
}

/** Return what stands behind the page's name: `accounts` in `/admin/accounts`. */
export function currentPart(): string {
  return state.path.split('/')[2] ?? '';
}

export function go(address: string, isReplaced = false): void {
  if (address !== location.pathname + location.search) {
    if (isReplaced) history.replaceState(null, '', address);
    else history.pushState(null, '', address);
  }
  take();
}

function take(): void {
  state.path = location.pathname;
  state.query = location.search;
}

/** Follow the browser's own back and forward, and links within the app. */
export function beginRoute(): void {
  addEventListener('popstate', take);
  document.addEventListener('click', (event) => {
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!link || !isPlain || event.defaultPrevented || link.target || link.hasAttribute('download')) return;
    if (link.origin !== location.origin || link.getAttribute('href')?.startsWith('#')) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
