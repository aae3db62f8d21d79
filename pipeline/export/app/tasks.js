// All that takes time: reading photos, and the models.

import { useAddresses } from "./assets.js";
import { decode, Unreadable } from "./decode.js";
import { digestOf } from "./digest.js";
import { openModels } from "./runtime.js";

let config = null;
let models = null;

const bytesOf = async (file) => new Uint8Array(await file.arrayBuffer());

/** Each takes and gives what a message can carry. */
export const tasks = {
  async open({ addresses, configuration }) {
    useAddresses(addresses);
    config = configuration;
    models = await openModels(config);
    return {};
  },
  async digest({ file }) {
    return { digest: await digestOf(await bytesOf(file)) };
  },
  async read({ file }) {
    const { pixels, thumbnail } = await decode(await bytesOf(file), config.preprocessing);
    const vector = await models.embed(pixels);
    if (!vector.every(Number.isFinite)) throw new Unreadable("the model gave no finite numbers for it");
    return { vector, thumbnail };
  },
  async answer({ vectors }) {
    return models.answer(vectors);
  },
};

const GONE = ["NotFoundError", "NotReadableError"]; // of a file that went between being chosen and being read

/** A fault as plain values; `reason`: in a few words, where the photo is at fault; else null. */
export function describe(error) {
  const reason = error instanceof Unreadable ? error.message : GONE.includes(error?.name) ? "the file is gone" : null;
  return { reason, fault: `${error?.message ?? error}` };
}
