// The service worker, which opens the app without a network: asked for once the page is at rest, so that it delays nothing.
import { isPossible } from '../offline/store';

const AT_REST_MS = 3_000;

/** Have it; for whoever is signed in. Without it all else works. */
export function beginWorker(): void {
  if (!isPossible()) return;
  const register = (): void => {
    // Never from the browser's own cache: a new release is known of at the next visit.
    navigator.serviceWorker.register('/sw.js', { scope: '/', updateViaCache: 'none' }).catch(() => undefined);
  };
  if ('requestIdleCallback' in window) requestIdleCallback(register, { timeout: AT_REST_MS });
  else setTimeout(register, AT_REST_MS);
}
