// The service worker: it opens the app without a network. Invariant: what it answers with is the app's own built files, of
// one build as a whole, and nothing that the service said of an account; what is kept offline the page reads by itself.
//
// The document comes from the network where there is one, so a new release is used at once. The files that it names hold a
// digest of what is in them, so that no two builds can be mixed: an open page of the build before finds its own still.
declare const self: ServiceWorkerGlobalScope;

// Filled in by the package's build: a digest over all of the app, its files, and the first parts of its pages' addresses.
const BUILD = '{{build}}';
const FILES = '{{files}}'.split(' ');
const PAGES = new Set('{{pages}}'.split(' '));
const DOCUMENT = '/index.html';
const BEFORE = 'satchel.app ';
const CACHE = BEFORE + BUILD;
const BUILDS_KEPT = 2;
/** A document that takes longer is taken from what is kept. */
const WAIT_MS = 4_000;
const FAILED = new Set([502, 503, 504]);

self.addEventListener('install', (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      await cache.addAll(FILES.map((path) => new Request(path, { cache: path.startsWith('/assets/') ? 'default' : 'no-cache' })));
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener('activate', (event) => {
  event.waitUntil(
    (async () => {
      // In the order in which they were made: the one before this stays, for pages of it that are still open.
      const builds = (await caches.keys()).filter((name) => name.startsWith(BEFORE) && name !== CACHE);
      await Promise.all(builds.slice(0, Math.max(0, builds.length - (BUILDS_KEPT - 1))).map((name) => caches.delete(name)));
      await self.clients.claim();
    })(),
  );
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== 'GET' || origin !== self.location.origin) return;
  if (request.mode === 'navigate') {
    // Links, the service's own pages and whatever there is no page for go their way, and are asked for once: no navigation is
    // loaded ahead, for that asks twice where it is not taken, and a provider's answer is good for one time.
    if (PAGES.has(pathname.split('/')[1] || '-')) event.respondWith(documentFor(request));
  } else if (pathname.startsWith('/assets/')) event.respondWith(asset(request));
  else if (FILES.includes(pathname)) event.respondWith(fetch(request).catch(() => kept(pathname)));
});

async function documentFor(request: Request): Promise<Response> {
  const asked = fetch(request);
  const late = new Promise<null>((done) => setTimeout(() => done(null), WAIT_MS));
  const answer = await Promise.race([asked.catch(() => null), late]);
  if (answer && !FAILED.has(answer.status)) return answer;
  return (await ownCache(DOCUMENT)) ?? answer ?? asked;
}

async function asset(request: Request): Promise<Response> {
  return (await caches.match(request, { ignoreVary: true })) ?? fetch(request);
}

async function kept(path: string): Promise<Response> {
  return (await ownCache(path)) ?? Response.error();
}

async function ownCache(path: string): Promise<Response | undefined> {
  return (await caches.open(CACHE)).match(path, { ignoreVary: true });
}

export {};
