// Resizing as the pipeline does it, by torch's arithmetic for bytes: antialiased, columns first, whole grey levels
// between, and weights of 16 bits. A canvas resizes otherwise, and the vectors of its pictures are others.

const CHANNELS = 3;
const WEIGHT_BITS = 15; // of a weight, without its sign
const MOST_BITS = 22; // behind the point of a weight

/** Bicubic with a = -1/2, as Pillow has it. */
function cubic(x) {
  const t = Math.abs(x);
  if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
  return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
}

/** Bilinear. */
function triangle(x) {
  return Math.max(0, 1 - Math.abs(x));
}

const KERNELS = { bicubic: [cubic, 2], bilinear: [triangle, 1] };

/** Rounds half to even, as Python does. */
function roundToEven(x) {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * Which pixels of a line make each pixel of a part of the scaled line, and with what weights.
 * @param {number} length of the line
 * @param {number} scaled its length after scaling
 * @param {number} start the part's first pixel
 * @param {number} size how many pixels the part has
 * @param {string} interpolation
 */
function plan(length, scaled, start, size, interpolation) {
  const [kernel, radius] = KERNELS[interpolation];
  const scale = length / scaled;
  const stretch = Math.max(1, scale);
  const support = radius * stretch;
  const tap = (i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(length, Math.trunc(centre + support + 0.5));
    const weights = new Float64Array(last - first);
    let sum = 0;
    for (let x = first; x < last; x++) sum += weights[x - first] = kernel((x - centre + 0.5) / stretch);
    for (let x = 0; x < weights.length; x++) weights[x] /= sum;
    return { first, weights };
  };
  let largest = 0; // of the whole line's weights, whatever part of it is needed
  for (let i = 0; i < scaled; i++) largest = Math.max(largest, ...tap(i).weights);
  let bits = 0;
  while (bits < MOST_BITS && 0.5 + largest * 2 ** (bits + 1) < 2 ** WEIGHT_BITS) bits++;
  const whole = (weight) => Math.trunc(weight * 2 ** bits + (weight < 0 ? -0.5 : 0.5));
  const taps = [];
  for (let i = start; i < start + size; i++) {
    const { first, weights } = tap(i);
    taps.push({ first, weights: Int32Array.from(weights, whole) });
  }
  return { taps, bits };
}

/** A grey level of a sum of whole weights times grey levels. */
function level(sum, bits) {
  const value = (sum + (1 << (bits - 1))) >> bits;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/**
 * What of a picture is needed, and how it is resized.
 * @param {number} width
 * @param {number} height
 * @param {{size: number, resize: number, interpolation: string}} crop
 */
export function planCrop(width, height, crop) {
  const { size, resize, interpolation } = crop;
  const tall = width <= height;
  const scaledWidth = tall ? resize : Math.trunc((resize * width) / height);
  const scaledHeight = tall ? Math.trunc((resize * height) / width) : resize;
  const columns = plan(width, scaledWidth, roundToEven((scaledWidth - size) / 2), size, interpolation);
  const rows = plan(height, scaledHeight, roundToEven((scaledHeight - size) / 2), size, interpolation);
  const end = ({ taps }) => taps.at(-1).first + taps.at(-1).weights.length;
  const box = { left: columns.taps[0].first, top: rows.taps[0].first, right: end(columns), bottom: end(rows) };
  return { size, columns, rows, box };
}

/**
 * Resizes the part of a picture that its plan asks for.
 * @param {Uint8ClampedArray} pixels RGBA of the plan's box, row by row
 * @param {ReturnType<typeof planCrop>} crop
 * @returns {Uint8Array} RGB, size x size
 */
export function resizeCrop(pixels, { size, columns, rows, box }) {
  const width = box.right - box.left;
  const height = box.bottom - box.top;
  const narrow = new Uint8Array(height * size * CHANNELS);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < size; x++) {
      const { first, weights } = columns.taps[x];
      let red = 0, green = 0, blue = 0;
      let at = (y * width + first - box.left) * 4;
      for (let k = 0; k < weights.length; k++, at += 4) {
        const weight = weights[k];
        red += weight * pixels[at];
        green += weight * pixels[at + 1];
        blue += weight * pixels[at + 2];
      }
      const to = (y * size + x) * CHANNELS;
      narrow[to] = level(red, columns.bits);
      narrow[to + 1] = level(green, columns.bits);
      narrow[to + 2] = level(blue, columns.bits);
    }
  }
  const line = size * CHANNELS;
  const out = new Uint8Array(size * line);
  const sums = new Int32Array(line);
  for (let y = 0; y < size; y++) {
    const { first, weights } = rows.taps[y];
    sums.fill(0);
    for (let k = 0; k < weights.length; k++) {
      const from = (first - box.top + k) * line;
      const weight = weights[k];
      for (let x = 0; x < line; x++) sums[x] += weight * narrow[from + x];
    }
    for (let x = 0; x < line; x++) out[y * line + x] = level(sums[x], rows.bits);
  }
  return out;
}
