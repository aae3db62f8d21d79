// What is kept on this device: of each photo a small picture and its vector, by the digest of its bytes and the model.

const NAME = "visagg";
const STORE = "photos";

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Keeps nothing: where the browser keeps nothing either. */
const forgetful = { all: async () => [], keep: async () => {}, drop: async () => {}, clear: async () => {} };

async function openStore() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: ["model", "digest"] });
  return done(request);
}

/**
 * The memory of one model; what others left is removed.
 * @param {string} model the digest of its backbone
 */
export async function openMemory(model) {
  let base;
  try {
    base = await openStore();
  } catch {
    return forgetful;
  }
  const store = (mode) => base.transaction(STORE, mode).objectStore(STORE);
  const all = await done(store("readonly").getAll());
  for (const other of all.filter((photo) => photo.model !== model)) {
    await done(store("readwrite").delete([other.model, other.digest]));
  }
  return {
    /** Every photo, in the order in which they came. */
    async all() {
      const photos = await done(store("readonly").getAll());
      return photos.sort((a, b) => a.order - b.order);
    },
    async keep(photo) {
      await done(store("readwrite").put({ ...photo, model }));
    },
    async drop(digest) {
      await done(store("readwrite").delete([model, digest]));
    },
    async clear() {
      await done(store("readwrite").clear());
    },
  };
}
