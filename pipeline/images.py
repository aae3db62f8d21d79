"""Encoded images to pixels, or a named reason why not. The only importer of image codecs.

An image is shown as a person sees it: EXIF rotation applied, transparency on white, CMYK converted, 16 bits a channel
brought to 8, the first frame of an animation. JPEGs are decoded strictly, so that a damaged one is refused rather
than half grey; the size in the header is checked before anything is decoded.
"""

import io
import math
import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
MOST_SCANS = 100  # of a progressive JPEG; cameras and the web write 10
MOST_SCANNED = 20 * MAX_PIXELS  # pixels times scans
MOST_EXIF = 1 << 20  # bytes; parsing takes half a second of each megabyte
MOST_READ = 4 << 20  # bytes of a single part of a file: a profile, a directory, a comment
MOST_READS = 200_000  # parts that a file may be cut into; the largest photos have a tenth
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
        scans = _scans(data) if data.startswith(b"\xff\xd8\xff") else 0
        with Image.open(io.BytesIO(data) if scans else _Stream(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Unusable(f"image too large: {image.width} x {image.height} pixels")
            if scans > 1 and scans * image.width * image.height > MOST_SCANNED:
                raise Unusable(f"image of {scans} scans")
            with UNDER_WAY.take(image.width * image.height):
                return _pixels(image, data)
    except Unusable:
        raise
    except UnidentifiedImageError:
        raise Unusable("not an image") from None
    except Exception as error:  # codecs raise of every kind on damaged data; none of it may end a run
        raise Unusable(f"damaged image: {_first_line(error)}") from None


class _Stream(io.BytesIO):
    """An encoded image that refuses very large or very many parts; pixels come in 64 kB, or in one without a size."""

    def __init__(self, data: bytes):
        super().__init__(data)
        self._reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self._reads += 1
        data = super().read(size)
        if self._reads > MOST_READS or (size is not None and min(size, len(data)) > MOST_READ):
            raise Unusable("image of too many or too large parts")
        return data


class PixelBudget:
    """Pixels being decoded, over all threads of the process; whoever came first is let in first.

    Args:
        most: pixels at a time. An image that has more is let in alone.
    """

    def __init__(self, most: int):
        self._most, self._taken = most, 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Waits until the pixels fit beside those of others, and holds their place until the block ends."""
        pixels, ticket = min(pixels, self._most), object()
        with self._changed:
            self._queue.append(ticket)
            try:
                self._changed.wait_for(lambda: self._queue[0] is ticket and self._taken + pixels <= self._most)
                self._taken += pixels
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


UNDER_WAY = PixelBudget(MAX_PIXELS)


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


def _scans(data: bytes) -> int:
    """Counts a JPEG's scans by walking its segments; raises Unusable where they, or its Exif, are too many."""
    marker = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
    place, scans, exif, components = 2, 0, 0, b""
    for _ in range(MOST_READS):
        if (found := marker.search(data, place)) is None or found[1] == b"\xd9":  # the first picture's end, or more
            return scans
        place = found.end()
        if found[1] in b"\x01\xd8":
            continue
        length = int.from_bytes(data[place : place + 2])
        exif += length if data[place + 2 : place + 6] == b"Exif" else 0
        if exif > MOST_EXIF:
            raise Unusable(f"image of more than {MOST_EXIF >> 20} MiB of Exif")
        scans += found[1] == b"\xda"
        if found[1] in b"\xc0\xc1":  # not progressive: a scan of all components is the only one
            components = data[place + 7 : place + 8]
        if scans == 1 and found[1] == b"\xda" and components == data[place + 2 : place + 3]:
            return 1
        if scans > MOST_SCANS:
            raise Unusable(f"image of more than {MOST_SCANS} scans")
        place += length
    raise Unusable("image of too many parts")


def _pixels(image: Image.Image, data: bytes) -> np.ndarray:
    if image.format in ("JPEG", "MPO"):  # MPO: a JPEG with more pictures behind the first, as phones make
        return _decode_jpeg(data, image.getexif().get(EXIF_ORIENTATION, 1))
    image.load()  # some formats have their Exif behind the pixels
    if any(len(image.info.get(name, b"")) > MOST_EXIF for name in ("exif", "Raw profile type exif")):
        raise Unusable(f"image of more than {MOST_EXIF >> 20} MiB of Exif")
    ImageOps.exif_transpose(image, in_place=True)
    return _deep_to_rgb(image) if image.mode.startswith("I") else np.array(_to_rgb(image))


def _deep_to_rgb(image: Image.Image) -> np.ndarray:
    """Brings grey of 16 bits to 8, which Pillow's conversion would clip to white; in strips, since it is wide."""
    shift = 8 if ";16" in image.mode or np.max(image.getextrema()) > 255 else 0  # "I" has 32 bits, and may hold 8
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, (1 << 20) // image.width)
    for top in range(0, image.height, rows):
        strip = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height)))).astype(np.int64)
        rgb[top : top + rows] = np.clip(strip >> shift, 0, 255).astype(np.uint8)[..., None]
    return rgb


def _decode_jpeg(data: bytes, orientation: int) -> np.ndarray:
    pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    if orientation == 1:
        return pixels
    upright = Image.fromarray(pixels)
    exif = upright.getexif()
    exif[EXIF_ORIENTATION] = orientation
    return np.array(ImageOps.exif_transpose(upright))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise Unusable("image of floating-point pixels")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
