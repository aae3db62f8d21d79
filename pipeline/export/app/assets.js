// Where the files of this application lie: beside it on a server, or inside the page where it is one file.

let embedded = globalThis.visaggEmbedded ?? null;

/**
 * The address of a file, by its path from this folder: "../head.onnx", "worker.js".
 * @param {string} path
 * @returns {string}
 */
export function addressOf(path) {
  return embedded ? embedded[path] : new URL(path, import.meta.url).href;
}

/** All addresses of the files inside the page, or null; a worker is told them by the page. */
export function addresses() {
  return embedded;
}

/** @param {Record<string, string> | null} given what `addresses` said elsewhere */
export function useAddresses(given) {
  embedded = given;
}

/** Whether there is a server, so that things can be kept for the next time without one. */
export const served = embedded === null && globalThis.location.protocol.startsWith("http");
