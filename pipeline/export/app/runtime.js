// The two models in ONNX Runtime: pixels to a vector, and the vectors of a set to interests.

import { addressOf } from "./assets.js";

let ort = null;

async function bytesOf(path) {
  const response = await fetch(addressOf(path));
  if (!response.ok) throw new Error(`${path} is missing (${response.status})`);
  return new Uint8Array(await response.arrayBuffer());
}

async function open(path) {
  return ort.InferenceSession.create(await bytesOf(path), { executionProviders: ["wasm"] });
}

/**
 * Opens both models.
 * @param {{dim: number, labels: string[], preprocessing: {size: number}}} config
 */
export async function openModels(config) {
  ort = await import(addressOf("runtime/ort.wasm.bundle.min.mjs"));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { wasm: addressOf("runtime/ort-wasm-simd-threaded.wasm") };
  const backbone = await open("../backbone.onnx");
  const head = await open("../head.onnx");
  const { size } = config.preprocessing;
  return {
    /** @param {Uint8Array} pixels @returns {Promise<Float32Array>} */
    async embed(pixels) {
      const answer = await backbone.run({ pixels: new ort.Tensor("uint8", pixels, [1, size, size, 3]) });
      return new Float32Array(answer.vectors.data);
    },
    /**
     * @param {Float32Array[]} vectors one a photo
     * @returns {Promise<{probabilities: Float32Array, weights: Float32Array}>} c; and s x c, row by row
     */
    async answer(vectors) {
      const count = vectors.length;
      const flat = new Float32Array(count * config.dim);
      vectors.forEach((vector, index) => flat.set(vector, index * config.dim));
      const { probabilities, importance_by_label } = await head.run({
        vectors: new ort.Tensor("float32", flat, [1, count, config.dim]),
        mask: new ort.Tensor("bool", new Uint8Array(count).fill(1), [1, count]),
      });
      return {
        probabilities: new Float32Array(probabilities.data),
        weights: new Float32Array(importance_by_label.data),
      };
    },
  };
}
