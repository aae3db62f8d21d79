// All that takes time, away from the page: reading photos, and the models.

import { useAddresses } from "./assets.js";
import { decode, Unreadable } from "./decode.js";
import { openModels } from "./runtime.js";

let config = null;
let models = null;

const digestOf = async (bytes) => {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

const tasks = {
  async open({ addresses, configuration }) {
    useAddresses(addresses);
    config = configuration;
    models = await openModels(config);
    return {};
  },
  async digest({ file }) {
    return { digest: await digestOf(new Uint8Array(await file.arrayBuffer())) };
  },
  async read({ file }) {
    const { pixels, thumbnail } = await decode(new Uint8Array(await file.arrayBuffer()), config.preprocessing);
    const vector = await models.embed(pixels);
    if (!vector.every(Number.isFinite)) throw new Unreadable("the model gave no finite numbers for it");
    return { vector, thumbnail };
  },
  async answer({ vectors }) {
    return models.answer(vectors);
  },
};

globalThis.onmessage = async ({ data: { id, task, given } }) => {
  try {
    globalThis.postMessage({ id, result: await tasks[task](given) });
  } catch (error) {
    // A file that is gone by the time it is read says so by NotFoundError or NotReadableError.
    const reason = error?.name === "NotFoundError" || error?.name === "NotReadableError" ? "the file is gone" : null;
    globalThis.postMessage({
      id,
      reason: error instanceof Unreadable ? error.message : reason,
      fault: `${error?.message ?? error}`,
    });
  }
};
