// A file to the pixels that the backbone sees, by the rules of the pipeline: rotated as a person sees it, transparency on
// white, the first picture of an animation, colours as they are stored.

import { look } from "./header.js";
import { planCrop, resizeCrop } from "./resize.js";

const MOST_PIXELS = 50_000_000;
const MOST_BYTES = 64 * 2 ** 20;
const THUMBNAIL = 224;
const QUALITY = 0.82;

/** A photo that cannot be read, with the reason in a few words. */
export class Unreadable extends Error {}

function canvasOf(width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  return context;
}

async function bitmapOf(bytes) {
  const options = { imageOrientation: "from-image", premultiplyAlpha: "default", colorSpaceConversion: "none" };
  try {
    return await createImageBitmap(new Blob([bytes]), options);
  } catch {
    throw new Unreadable("not a picture, or a damaged one");
  }
}

async function thumbnailOf(bitmap) {
  const scale = Math.min(1, THUMBNAIL / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvasOf(width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context.canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
}

/**
 * Decodes a photo.
 * @param {Uint8Array} bytes
 * @param {{size: number, resize: number, interpolation: string}} crop
 * @returns {Promise<{pixels: Uint8Array, thumbnail: Blob}>} RGB, size x size; and a small JPEG
 * @throws {Unreadable}
 */
export async function decode(bytes, crop) {
  if (bytes.length > MOST_BYTES) throw new Unreadable("a file of more than 64 MiB");
  const { reason, pixels } = look(bytes);
  if (reason !== null) throw new Unreadable(reason);
  if (pixels !== null && pixels > MOST_PIXELS) throw new Unreadable("too large: more than 50 megapixels");
  const bitmap = await bitmapOf(bytes);
  try {
    const { width, height } = bitmap;
    if (width * height > MOST_PIXELS) throw new Unreadable("too large: more than 50 megapixels");
    const plan = planCrop(width, height, crop);
    const { left, top, right, bottom } = plan.box;
    const context = canvasOf(right - left, bottom - top);
    context.drawImage(bitmap, -left, -top);
    const data = context.getImageData(0, 0, right - left, bottom - top).data;
    return { pixels: resizeCrop(data, plan), thumbnail: await thumbnailOf(bitmap) };
  } finally {
    bitmap.close();
  }
}
