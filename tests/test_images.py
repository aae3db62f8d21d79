"""Encoded images: the pixels a person would see, or a refusal that says why."""

import io
import struct
import subprocess
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline import images
from pipeline.core.errors import Unusable
from pipeline.images import Crop, decode, prepare, resize_crop

UPRIGHT = {  # how a stored array becomes the array that its EXIF orientation asks for
    1: np.asarray,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


def photo(width, height, seed=0):
    """Broad colours, finer shapes and a little grain, as a photo has them."""
    rng = np.random.default_rng(seed)
    total = rng.normal(0, 5, (height, width, 3))
    for cell, weight in ((40, 0.6), (7, 0.4)):
        blobs = rng.integers(0, 256, (height // cell + 2, width // cell + 2, 3), dtype=np.uint8)
        total += weight * np.asarray(Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(total, 0, 255).astype(np.uint8)


def encode(picture, kind, **options):
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def refusal(data):
    with pytest.raises(Unusable) as caught:
        decode(data)
    return caught.value.reason


def apart(actual, expected):
    """The largest and the mean difference of two arrays of the same shape."""
    assert actual.shape == expected.shape and actual.dtype == np.uint8
    difference = np.abs(actual.astype(int) - expected)
    return difference.max(), difference.mean()


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_refused_as_damaged(kind, share):
    jpeg = kind in ("JPEG", "progressive")
    data = encode(photo(160, 120), "JPEG" if jpeg else kind, quality=90, progressive=kind == "progressive")
    reason = refusal(data[: int(len(data) * share)])
    assert reason.startswith("damaged image: Premature end of JPEG file" if jpeg else "damaged image: ")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty image"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not an image"),
        (np.random.default_rng(3).bytes(5000), "not an image"),
        (b"\xff\xd8\xff", "not an image"),
    ],
    ids=["empty", "html", "random", "jpeg magic alone"],
)
def test_what_is_no_image_is_told_apart_from_a_damaged_one(data, reason):
    assert refusal(data) == reason


@pytest.mark.parametrize(("mode", "least"), [("RGB", 18), ("L", 18), ("CMYK", 8)])
def test_jpegs_with_zeros_in_their_scan_are_refused_not_half_grey(mode, least):
    """Strictness finds nearly all of them; a lenient decoder accepts every one."""
    data = encode(Image.fromarray(photo(320, 240)).convert(mode), "JPEG", quality=85)
    scan = data.index(b"\xff\xda") + 20
    refused = 0
    for place in np.linspace(scan, len(data) - 600, 20).astype(int):
        damaged = data[:place] + bytes(512) + data[place + 512 :]
        np.asarray(Image.open(io.BytesIO(damaged)).convert("RGB"))  # Pillow by itself notices nothing
        with suppress(Unusable):
            decode(damaged)
            continue
        assert refusal(damaged).startswith("damaged image: ")
        refused += 1
    assert refused >= least


@pytest.mark.parametrize("kind", ["ICO", "EPS"])
def test_formats_that_act_before_their_size_is_known_are_not_opened(kind):
    assert refusal(encode(photo(48, 48), kind)) == "not an image"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_no_damage_ends_in_another_error(kind):
    """Bytes changed at random give pixels or a refusal, and nothing else."""
    data = np.frombuffer(encode(photo(48, 48), kind), np.uint8)
    rng = np.random.default_rng(5)
    for size in [20, 60, 200, *[len(data)] * 30]:
        damaged = data.copy()
        damaged[rng.integers(2, min(size, len(data)), 3)] = rng.integers(0, 256, 3)
        with suppress(Unusable):
            pixels = decode(damaged.tobytes())
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            continue
        reason = refusal(damaged.tobytes())
        assert reason and "\n" not in reason


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_lossless_formats_give_the_very_pixels(kind):
    pixels = photo(37, 53)
    seen = decode(encode(pixels, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert apart(seen, pixels)[0] == 0 and seen.flags.c_contiguous and seen.flags.writeable


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_of_each_colour_model_look_as_they_were_made(mode):
    picture = Image.fromarray(photo(90, 70)).convert(mode)
    seen = decode(encode(picture, "JPEG", quality=95, subsampling=0))
    largest, mean = apart(seen, np.asarray(picture.convert("RGB")))
    assert largest <= 40 and mean <= 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_greys(kind):
    deep = np.array([[0, 0x4000, 0x8000], [0xC000, 0xFFFF, 0x80FF]], np.uint16)
    expected = np.array([[0, 64, 128], [192, 255, 128]])
    assert apart(decode(encode(deep, kind)), np.repeat(expected[..., None], 3, axis=2))[0] <= 1


def test_transparent_comes_out_white_and_half_transparent_half_white():
    pixels = np.array([[[200, 0, 0, 0], [200, 0, 100, 255], [200, 0, 100, 128]]], np.uint8)
    assert apart(decode(encode(pixels, "PNG")), np.array([[[255, 255, 255], [200, 0, 100], [227, 127, 177]]]))[0] <= 1
    grey = Image.fromarray(np.array([[[0, 0], [70, 255]]], np.uint8), "LA")
    assert decode(encode(grey, "PNG")).tolist() == [[[255] * 3, [70] * 3]]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_comes_out_white(kind):
    picture = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8), "P")
    picture.putpalette([0, 0, 0, 250, 10, 20, 30, 240, 40])
    seen = decode(encode(picture, kind, transparency=0))
    assert seen.tolist() == [[[255] * 3, [250, 10, 20]], [[30, 240, 40], [255] * 3]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_seen(kind):
    red, blue = (Image.new("RGB", (8, 6), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    options = {"lossless": True} if kind == "WEBP" else {}
    seen = decode(encode(red, kind, save_all=True, append_images=[blue, red], **options))
    assert apart(seen, np.full((6, 8, 3), (255, 0, 0)))[0] <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB")])
def test_every_exif_orientation_is_turned_upright(kind, mode, orientation):
    picture, exif = Image.fromarray(photo(50, 34)).convert(mode), Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    data, pixels = encode(picture, kind, exif=exif, **options), np.asarray(picture.convert("RGB"))
    seen = decode(data)
    reference = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert apart(seen, reference)[0] <= 2
    assert apart(seen, UPRIGHT[orientation](pixels))[1] <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_are_decoded_and_cropped(width, height):
    pixels = photo(width, height)
    assert apart(decode(encode(pixels, "PNG")), pixels)[0] == 0
    data = encode(pixels, "JPEG", quality=95, subsampling=0)
    assert apart(decode(data), pixels)[1] <= 5
    assert prepare(data, [Crop(64, 73, "bicubic")])[0].shape == (64, 64, 3)


def test_bombs_are_refused_by_their_header_before_anything_is_decoded():
    """Neither file holds any pixel: a decoder that began would complain of the missing data instead."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 13000, 13000, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    assert refusal(png + struct.pack(">I", 100) + b"IDAT") == "image too large: 13000 x 13000 pixels"
    small = encode(photo(16, 16), "JPEG")
    frame = small.index(b"\xff\xc0") + 5  # height, then width, of the frame header
    bomb = small[:frame] + struct.pack(">HH", 20000, 20000) + small[frame + 4 :]
    assert refusal(bomb[: bomb.index(b"\xff\xda") + 40]) == "image too large: 20000 x 20000 pixels"


def test_the_limit_itself_is_allowed(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 200)
    for kind in ("PNG", "JPEG"):
        assert decode(encode(photo(20, 10), kind)).shape == (10, 20, 3)
        assert refusal(encode(photo(67, 3), kind)) == "image too large: 67 x 3 pixels"


CROPS = [Crop(224, 256, "bicubic"), Crop(240, 274, "bicubic"), Crop(224, 224, "bilinear"), Crop(260, 297, "bilinear")]
SIZES = [(401, 533), (900, 701), (300, 300), (257, 311), (400, 405), (533, 1000), (1200, 301)]
TINY = [(100, 90), (30, 47), (8, 8), (3, 5), (1, 1), (20, 80)]  # upscaled
LONG = [(40, 900), (900, 40), (20, 81), (81, 20), (2057, 513), (1, 200)]  # cut out before they are resized


def reference_crop(pixels, crop):
    """The published evaluation transform: resize all of the image, then cut the middle out."""
    kernel = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[crop.interpolation]
    picture = Image.fromarray(pixels)
    width, height = picture.size
    short, long = min(width, height), max(width, height)
    longer = int(crop.resize * long / short)
    size = (crop.resize, longer) if width <= height else (longer, crop.resize)
    left, top = (round((length - crop.size) / 2.0) for length in size)
    return np.asarray(picture.resize(size, kernel).crop((left, top, left + crop.size, top + crop.size)))


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(("width", "height"), [*SIZES, *TINY])
def test_a_crop_is_that_of_the_published_transform(crop, width, height):
    pixels = photo(width, height)
    largest, mean = apart(resize_crop(pixels, crop), reference_crop(pixels, crop))
    assert largest <= 5 and mean <= 0.1


@pytest.mark.parametrize("crop", CROPS)
def test_of_a_tall_image_that_shrinks_pillow_itself_would_take_the_rows_first(crop):
    """It rounds to whole grey levels between the passes; so a quarter of the pixels are one level off, and no more."""
    pixels = photo(300, 900)
    largest, mean = apart(resize_crop(pixels, crop), reference_crop(pixels, crop))
    assert largest <= 5 and mean <= 0.4


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(("width", "height"), LONG)
def test_a_very_long_image_s_crop_is_that_of_the_published_transform_too(crop, width, height):
    pixels = photo(width, height)
    largest, mean = apart(resize_crop(pixels, crop), reference_crop(pixels, crop))
    assert largest <= 1 and mean <= 0.05


@pytest.mark.parametrize(("width", "height"), [(10, 200_000), (200_000, 10)])
def test_a_very_long_image_is_not_resized_as_a_whole(width, height):
    """Scaled as a whole it would take 4 GB; in a process of its own, since Pillow's memory shows in no other count."""
    code = f"""
import numpy as np
from pathlib import Path
from pipeline.images import Crop, resize_crop
def kilobytes(name):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith(name))
pixels = np.zeros(({height}, {width}, 3), np.uint8)
before = kilobytes("VmRSS")
assert resize_crop(pixels, Crop(224, 256, "bicubic")).shape == (224, 224, 3)
print(kilobytes("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100_000


@pytest.mark.parametrize("crop", CROPS)
def test_real_photos_come_out_within_two_grey_levels(photos, crop):
    files = sorted(photos.glob("*/*.jpg"))
    for file in files[:: len(files) // 12]:
        pixels = decode(file.read_bytes())
        largest, mean = apart(resize_crop(pixels, crop), reference_crop(pixels, crop))
        assert largest <= 2 and mean <= 0.02, file


def test_prepare_decodes_once_and_takes_every_crop(monkeypatch):
    pixels, crops = photo(130, 97), [Crop(64, 73, "bicubic"), Crop(32, 32, "bilinear")]
    data, decoded = encode(pixels, "PNG"), []
    monkeypatch.setattr(images, "decode", lambda data: decoded.append(data) or decode(data))
    squares = prepare(data, crops)
    assert len(decoded) == 1
    assert all((square == resize_crop(pixels, crop)).all() for square, crop in zip(squares, crops, strict=True))
    with pytest.raises(Unusable, match="not an image"):
        prepare(b"nothing", crops)
