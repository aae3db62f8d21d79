// The service worker: what makes the page work without network, brings new versions, and takes shared photos.

import { served } from "./assets.js";

const SHARED = "visagg-shared";

/**
 * Starts the service worker, where there can be one.
 * @param {(use: () => void) => void} ready called when a new version waits; `use` changes to it
 */
export async function install(ready) {
  if (!served || !("serviceWorker" in navigator)) return;
  const controlled = navigator.serviceWorker.controller !== null;
  let renewing = false;
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (renewing) location.reload();
  });
  let registration;
  try {
    registration = await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
  } catch {
    return; // without HTTPS there is none; the page works all the same
  }
  const offer = (worker) =>
    ready(() => {
      renewing = true;
      worker.postMessage("renew");
    });
  if (registration.waiting && controlled) offer(registration.waiting);
  registration.addEventListener("updatefound", () => {
    const worker = registration.installing;
    worker.addEventListener("statechange", () => {
      if (worker.state === "installed" && navigator.serviceWorker.controller !== null) offer(worker);
    });
  });
}

/** Photos that another application has shared with this one, which then are no longer kept for it. */
export async function sharedFiles() {
  if (!served || !("caches" in globalThis) || !new URLSearchParams(location.search).has("shared")) return [];
  const cache = await caches.open(SHARED);
  const files = [];
  for (const request of await cache.keys()) {
    const response = await cache.match(request);
    const name = decodeURIComponent(new URL(request.url).searchParams.get("name") ?? "photo");
    files.push(new File([await response.blob()], name));
  }
  await caches.delete(SHARED);
  history.replaceState(null, "", location.pathname);
  return files;
}
