// Keeps the whole application, so that it opens with the network off. The export fills in the two lines below: with any
// change of a file the version is another, the browser sees a new service worker, and the page offers it.
const VERSION = "none";
const FILES = [];

const CACHE = `visagg-app-${VERSION}`;
const SHARED = "visagg-shared";

self.addEventListener("install", (event) => {
  const whole = async () => {
    const cache = await caches.open(CACHE);
    await cache.addAll(FILES.map((file) => new Request(file, { cache: "reload" })));
  };
  event.waitUntil(whole());
});

self.addEventListener("activate", (event) => {
  const clean = async () => {
    const names = await caches.keys();
    const old = names.filter((name) => name.startsWith("visagg-app-") && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(clean());
});

self.addEventListener("message", (event) => {
  if (event.data === "renew") self.skipWaiting();
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  const wanted = request.mode === "navigate" ? "index.html" : request;
  return (await cache.match(wanted, { ignoreSearch: true })) ?? fetch(request);
}

/** Photos from another application wait in a cache until the page asks for them. */
async function takeShared(request) {
  const form = await request.formData();
  const cache = await caches.open(SHARED);
  const files = form.getAll("photos").filter((file) => file instanceof File);
  for (const [index, file] of files.entries()) {
    await cache.put(`shared/${index}?name=${encodeURIComponent(file.name)}`, new Response(file));
  }
  return Response.redirect("index.html?shared=1", 303);
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (url.origin !== self.location.origin) return;
  if (event.request.method === "POST" && url.pathname.endsWith("/share")) event.respondWith(takeShared(event.request));
  else if (event.request.method === "GET") event.respondWith(answer(event.request));
});
