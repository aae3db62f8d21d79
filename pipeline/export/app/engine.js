// The page's side of the worker: a promise for each task.

import { addresses, addressOf } from "./assets.js";

/** A task that failed. `reason`: in a few words, where the photo is at fault; else null. */
export class TaskError extends Error {
  constructor(fault, reason) {
    super(fault);
    this.reason = reason;
  }
}

/** Starts the worker. */
export function startEngine() {
  const worker = new Worker(addressOf("worker.js"), { type: "module" });
  const waiting = new Map();
  let last = 0;
  worker.onmessage = ({ data: { id, result, reason, fault } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (fault === undefined) resolve(result);
    else reject(new TaskError(fault, reason));
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new TaskError(event.message || "the worker did not start", null));
    waiting.clear();
  };
  const ask = (task, given) =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      worker.postMessage({ id: last, task, given });
    });
  return {
    open: (configuration) => ask("open", { addresses: addresses(), configuration }),
    digest: (file) => ask("digest", { file }),
    read: (file) => ask("read", { file }),
    answer: (vectors) => ask("answer", { vectors }),
  };
}
