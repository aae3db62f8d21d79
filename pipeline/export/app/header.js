// A picture's kind and size from its first bytes, before anything large is made of it.

const text = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));

/** Why a file of this kind is not decoded, or null. */
function unknownKind(bytes) {
  const brand = text(bytes, 8, 12);
  if (text(bytes, 4, 8) === "ftyp" && /^(hei|hev|mif|msf)/.test(brand)) {
    return "a HEIC photo, which this browser cannot read: share it as a JPEG";
  }
  return null;
}

function jpegSize(bytes, view) {
  let at = 2;
  while (at + 9 < bytes.length) {
    if (bytes[at] !== 0xff) return null;
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at += 1;
    } else if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      return [view.getUint16(at + 7), view.getUint16(at + 5)];
    } else if (marker >= 0xd0 && marker <= 0xd8) {
      at += 2;
    } else {
      at += 2 + view.getUint16(at + 2);
    }
  }
  return null;
}

function webpSize(bytes, view) {
  const kind = text(bytes, 12, 16);
  const three = (at) => bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
  if (kind === "VP8X") return [1 + three(24), 1 + three(27)];
  if (kind === "VP8 ") return [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
  const bits = view.getUint32(21, true);
  return [1 + (bits & 0x3fff), 1 + ((bits >> 14) & 0x3fff)];
}

/**
 * What the first bytes of a file say.
 * @param {Uint8Array} bytes of the whole file, or of its beginning
 * @returns {{reason: string | null, pixels: number | null}} why it cannot be read, if that is known; how many pixels
 */
export function look(bytes) {
  if (bytes.length === 0) return { reason: "an empty file", pixels: null };
  const reason = bytes.length > 12 ? unknownKind(bytes) : null;
  const size = reason === null && bytes.length > 32 ? sizeOf(bytes) : null;
  return { reason, pixels: size === null ? null : size[0] * size[1] };
}

function sizeOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return jpegSize(bytes, view);
  if (text(bytes, 1, 4) === "PNG") return [view.getUint32(16), view.getUint32(20)];
  if (text(bytes, 0, 3) === "GIF") return [view.getUint16(6, true), view.getUint16(8, true)];
  if (text(bytes, 0, 2) === "BM") return [view.getUint32(18, true), Math.abs(view.getInt32(22, true))];
  if (text(bytes, 0, 4) === "RIFF" && text(bytes, 8, 12) === "WEBP") return webpSize(bytes, view);
  return null;
}
