// The page's side of the tasks: a promise for each.

import { addresses, addressOf } from "./assets.js";
import { describe, tasks } from "./tasks.js";

/** A task that failed. `reason`: in a few words, where the photo is at fault; else null. */
export class TaskError extends Error {
  constructor({ fault, reason }) {
    super(fault);
    this.reason = reason;
  }
}

/** Tasks in a worker. */
function askWorker() {
  const worker = new Worker(addressOf("worker.js"), { type: "module" });
  const waiting = new Map();
  let last = 0;
  let broken = null;
  worker.onmessage = ({ data: { id, result, ...failed } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (result === undefined) reject(new TaskError(failed));
    else resolve(result);
  };
  worker.onerror = (event) => {
    broken = new TaskError({ fault: event.message || "the worker did not start", reason: null });
    for (const { reject } of waiting.values()) reject(broken);
    waiting.clear();
  };
  return (task, given) =>
    new Promise((resolve, reject) => {
      if (broken) throw broken;
      waiting.set(++last, { resolve, reject });
      worker.postMessage({ id: last, task, given });
    });
}

/** Tasks in the page: where all is one file, a worker may not read what the page holds. */
async function askHere(task, given) {
  await new Promise((resolve) => setTimeout(resolve)); // the page is drawn between photos
  try {
    return await tasks[task](given);
  } catch (error) {
    throw new TaskError(describe(error));
  }
}

/** Starts what carries the tasks out. */
export function startEngine() {
  const ask = addresses() === null ? askWorker() : askHere;
  return {
    open: (configuration) => ask("open", { addresses: addresses(), configuration }),
    digest: (file) => ask("digest", { file }),
    read: (file) => ask("read", { file }),
    answer: (vectors) => ask("answer", { vectors }),
  };
}
