"""Encoded images to pixels, or a named reason why not. The only importer of image codecs.

An image is shown as a person sees it: EXIF rotation applied, transparency on white, CMYK converted, 16 bits a channel
brought to 8, the first frame of an animation. JPEGs are decoded strictly, so that a damaged one is refused rather
than half grey; the size in the header is checked before anything is decoded.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.core.errors import Unusable

MAX_PIXELS = 50_000_000  # 150 MB decoded; beyond it an image is an attack or a mistake
EXIF_ORIENTATION = 0x0112
# What is opened at all. ICO decodes before its size can be checked, EPS starts another program; others are no photos.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
LONG_RATIO = 4  # of the longer side to the shorter: beyond it the square is cut out before it is resized
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
THUMBNAIL_QUALITY = 82  # of 100: 2 to 3 kB at 96 pixels
KERNEL_REACH = 2  # bicubic's, in pixels of the smaller scale

Image.MAX_IMAGE_PIXELS = None  # `decode` checks the size first, and refuses rather than warns


@dataclass(frozen=True)
class Crop:
    """What a backbone sees of an image: the shortest side scaled to `resize`, then a centred square of `size` pixels.

    Made by `Preprocessing.crop` of pipeline/embed/backbones.

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


def prepare(data: bytes, crops: Sequence[Crop]) -> list[np.ndarray]:
    """Decodes an image once and takes the crops of some backbones.

    Args:
        data: the encoded image.
        crops: what to take.

    Returns:
        Pixels for each crop, uint8 [size, size, 3].

    Raises:
        Unusable: as `decode`.
    """
    pixels = decode(data)
    return [resize_crop(pixels, crop) for crop in crops]


def thumbnail(data: bytes, side: int) -> bytes:
    """An image as a person sees it, made small for a page.

    Args:
        data: the encoded image.
        side: the longer side's greatest length, in pixels; a smaller image stays as it is.

    Returns:
        A JPEG.

    Raises:
        Unusable: as `decode`.
    """
    small = Image.fromarray(decode(data))
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return out.getvalue()


def resize_crop(pixels: np.ndarray, crop: Crop) -> np.ndarray:
    """Scales the shortest side to `crop.resize`, antialiased, then cuts out a centred square, as timm does with Pillow.

    torch resizes uint8 as Pillow does, with kernels that are faster than Pillow's: at most 2 grey levels apart on
    photos. It resizes the whole image, though, which for a very long one could take any amount of memory; those go
    through Pillow, which can resize the square's part of the image alone.

    Args:
        pixels: uint8 [height, width, 3].
        crop: what to take.

    Returns:
        uint8 [size, size, 3].
    """
    height, width = pixels.shape[:2]
    if max(height, width) > LONG_RATIO * min(height, width):
        return _resize_crop_long(pixels, crop)
    import torch  # here: ingest decodes without it

    scaled_width, scaled_height = _scaled(width, height, crop.resize)
    left, top = round((scaled_width - crop.size) / 2), round((scaled_height - crop.size) / 2)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    size = (scaled_height, scaled_width)
    scaled = torch.nn.functional.interpolate(planes, size, mode=crop.interpolation, antialias=True)
    return scaled[0, :, top : top + crop.size, left : left + crop.size].permute(1, 2, 0).contiguous().numpy()


def _resize_crop_long(pixels: np.ndarray, crop: Crop) -> np.ndarray:
    """As `resize_crop`, by Pillow, of the square's part alone: first its columns, then its rows.

    That is the order in which Pillow resizes a whole image. Left to itself on a part, it would begin with the cheaper
    direction, and it rounds to whole grey levels between the two.
    """
    height, width = pixels.shape[:2]
    scaled_width, scaled_height = _scaled(width, height, crop.resize)
    left, right = _box(width, scaled_width, crop.size)
    top, bottom = _box(height, scaled_height, crop.size)
    kernel = RESAMPLING[crop.interpolation]
    reach = KERNEL_REACH * max(1, height / scaled_height) + 1  # rows beyond the square's that a kernel looks at
    first, last = max(0, math.floor(top - reach)), min(height, math.ceil(bottom + reach))
    rows = Image.fromarray(pixels[first:last])
    narrow = rows.resize((crop.size, last - first), kernel, box=(left, 0, right, last - first))
    return np.array(narrow.resize((crop.size, crop.size), kernel, box=(0, top - first, crop.size, bottom - first)))


def _scaled(width: int, height: int, shortest: int) -> tuple[int, int]:
    """Width and height once the shorter side is `shortest`; the longer side is truncated, as torchvision does."""
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest


def _box(length: int, scaled: int, size: int) -> tuple[float, float]:
    """One axis of the crop's box, in pixels of the original; the scaled length is at least the crop's."""
    start = round((scaled - size) / 2)
    return start * length / scaled, (start + size) * length / scaled


def _decode_jpeg(data: bytes, orientation: int) -> np.ndarray:
    pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    if orientation == 1:
        return pixels
    upright = Image.fromarray(pixels)
    exif = upright.getexif()
    exif[EXIF_ORIENTATION] = orientation
    return np.array(ImageOps.exif_transpose(upright))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's conversion clips it to white
        deep = np.asarray(image).astype(np.int64)
        shift = 8 if ";16" in image.mode or deep.max(initial=0) > 255 else 0  # "I" has 32 bits, and may hold 8
        return Image.fromarray(np.clip(deep >> shift, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Unusable("image of floating-point pixels")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
