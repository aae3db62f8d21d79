// The tasks away from the page, so that it never waits.

import { describe, tasks } from "./tasks.js";

globalThis.onmessage = async ({ data: { id, task, given } }) => {
  try {
    globalThis.postMessage({ id, result: await tasks[task](given) });
  } catch (error) {
    globalThis.postMessage({ id, ...describe(error) });
  }
};
