"""Encoded images to pixels, or a named reason why not. The only importer of image codecs.

An image is shown as a person sees it: EXIF rotation applied, transparency on white, CMYK converted, 16 bits a channel
brought to 8, the first frame of an animation. JPEGs are decoded strictly, so that a damaged one is refused rather
than half grey; the size in the header is checked before anything is decoded.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import Unusable

MAX_PIXELS = 50_000_000  # 150 MB decoded; beyond it an image is an attack or a mistake
EXIF_ORIENTATION = 0x0112
# What is opened at all. ICO decodes before its size can be checked, EPS starts another program; others are no photos.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

Image.MAX_IMAGE_PIXELS = None  # our own check, above, comes first and refuses rather than warns


@dataclass(frozen=True)
class Crop:
    """The evaluation crop of a backbone: shortest side to `resize`, then a centred square of `size` pixels.

    Attributes:
        size: side of the square, in pixels.
        resize: what the shortest side is scaled to, in pixels.
        interpolation: "bilinear" or "bicubic", both antialiased.
    """

    size: int
    resize: int
    interpolation: str


def decode(data: bytes) -> np.ndarray:
    """Decodes an image.

    Args:
        data: the encoded image, of one of FORMATS.

    Returns:
        RGB pixels, uint8 [height, width, 3], contiguous.

    Raises:
        Unusable: with the reason: empty, not an image, too large, damaged.
    """
    if not data:
        raise Unusable("empty image")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Unusable(f"image too large: {image.width} x {image.height} pixels")
            if image.format in ("JPEG", "MPO"):  # MPO: a JPEG with more pictures behind the first, as phones make
                return _decode_jpeg(data, image.getexif().get(EXIF_ORIENTATION, 1))
            return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except Unusable:
        raise
    except UnidentifiedImageError:
        raise Unusable("not an image") from None
    except Exception as error:  # codecs raise of every kind on damaged data; none of it may end a run
        raise Unusable(f"damaged image: {_first_line(error)}") from None


def prepare(data: bytes, crop: Crop) -> np.ndarray:
    """Decodes an image and takes a backbone's evaluation crop: uint8 [size, size, 3].

    Only the crop's box is resized, first its columns, then its rows: the order in which Pillow resizes a whole image, and
    so, but for rare roundings, its very pixels. Left to itself, Pillow takes first the pass that is cheaper for the box,
    and rounds to whole grey levels between the two.

    Raises:
        Unusable: as `decode`.
    """
    return resize_crop(decode(data), crop)


def resize_crop(pixels: np.ndarray, crop: Crop) -> np.ndarray:
    """Shortest side to `crop.resize`, centred square of `crop.size`: uint8 [h, w, 3] to uint8 [size, size, 3]."""
    height, width = pixels.shape[:2]
    scaled_width, scaled_height = _scaled(width, height, crop.resize)
    left, right = _box(width, scaled_width, crop.size)
    top, bottom = _box(height, scaled_height, crop.size)
    kernel = RESAMPLING[crop.interpolation]
    narrow = Image.fromarray(pixels).resize((crop.size, height), kernel, box=(left, 0, right, height))
    return np.asarray(narrow.resize((crop.size, crop.size), kernel, box=(0, top, crop.size, bottom)))


def _scaled(width: int, height: int, shortest: int) -> tuple[int, int]:
    """Width and height once the shorter is `shortest`; the longer one truncated, as torchvision does."""
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest


def _box(length: int, scaled: int, size: int) -> tuple[float, float]:
    """One axis of the crop's box, in pixels of the original; the scaled length is at least the crop's."""
    start = round((scaled - size) / 2)
    return start * length / scaled, (start + size) * length / scaled


def crop_of(size: int, crop_pct: float, interpolation: str) -> Crop:
    """A crop in timm's terms: `crop_pct` is the share of the scaled shortest side that the square keeps."""
    return Crop(size, math.floor(size / crop_pct), interpolation)


def _decode_jpeg(data: bytes, orientation: int) -> np.ndarray:
    pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    if orientation == 1:
        return pixels
    upright = Image.fromarray(pixels)
    exif = upright.getexif()
    exif[EXIF_ORIENTATION] = orientation
    return np.array(ImageOps.exif_transpose(upright))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips it to white
        deep = np.asarray(image).astype(np.int64)
        shift = 8 if ";16" in image.mode or deep.max(initial=0) > 255 else 0  # "I" is 32 bits wide, and may hold 8
        return Image.fromarray(np.clip(deep >> shift, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Unusable("image of floating-point pixels")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
