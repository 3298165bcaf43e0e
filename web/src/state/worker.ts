// The service worker, which opens the app without a network: asked for once the page is at rest, so that it delays nothing.
import { isPossible } from '../offline/store';

const AT_REST_MS = 3_000;
/** How long a page that is open does not ask for a new release. */
const ASK_MS = 3_600_000;
/** A try that failed is repeated after so long, then each time after twice as long. */
const AGAIN_MS = 10_000;

/** Have it, of the newest release; for whoever is signed in. Without it all else works. */
export function beginWorker(): void {
  if (!isPossible()) return;
  const begin = (): void => void keepCurrent();
  if ('requestIdleCallback' in window) requestIdleCallback(begin, { timeout: AT_REST_MS });
  else setTimeout(begin, AT_REST_MS);
}

/** A browser asks by itself once after a visit. That may fail, a file of the release may not come, and a page may be open
 * for days. */
async function keepCurrent(): Promise<never> {
  for (let again = AGAIN_MS; ; ) {
    const isDone = await isCurrent();
    const wait = isDone ? ASK_MS : again;
    await new Promise((done) => setTimeout(done, wait));
    again = isDone ? AGAIN_MS : Math.min(ASK_MS, 2 * again);
  }
}

async function isCurrent(): Promise<boolean> {
  try {
    // Never from the browser's own cache, which may not know of a new release yet.
    const registration = await navigator.serviceWorker.register('/sw.js', { scope: '/', updateViaCache: 'none' });
    await registration.update();
    return await isInstalled(registration.installing);
  } catch {
    return false;
  }
}

/** Wait for a worker that is being installed; false when one of its files did not come. */
function isInstalled(made: ServiceWorker | null): Promise<boolean> {
  if (!made) return Promise.resolve(true);
  return new Promise((done) => {
    const look = (): void => {
      if (made.state === 'redundant') done(false);
      else if (made.state !== 'installing') done(true);
    };
    made.addEventListener('statechange', look);
    look();
  });
}
