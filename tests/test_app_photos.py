"""How the application reads photos: as the pipeline does, to the grey level; or it names what it cannot read."""

import base64
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import Unusable
from pipeline.export.predict.exported import open_exported
from pipeline.export.predict.photos import find_photos
from pipeline.export.predict.reading import read_photos
from pipeline.images import Crop, decode, resize_crop
from tests.support.app import PHONE, Opened, address, launched, served
from tests.support.images import jpeg

SIZES = [(7, 5), (40, 31), (224, 224), (256, 300), (301, 733), (1000, 200), (101, 600), (1, 9), (640, 480)]


@pytest.fixture(scope="module")
def phone(exported_app):
    """The application on a phone."""
    with launched() as browser, served(exported_app) as port:
        yield Opened(browser.new_context(**PHONE), address(port))


def saved(image: Image.Image, form: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def picture(width: int = 90, height: int = 60) -> Image.Image:
    """Soft colours with a corner that differs, so that a turn is seen."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([255 * x / width, 255 * y / height, 128 + 0 * x], 2).astype(np.uint8)
    pixels[: height // 3, : width // 3] = 250, 20, 20
    return Image.fromarray(pixels)


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture(), "JPEG", exif=exif.tobytes(), quality=95, subsampling=0)


def animation() -> bytes:
    frames = [picture().convert("P"), picture(60, 90).resize((90, 60)).rotate(180).convert("P")]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def transparent() -> bytes:
    image = picture().convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 90).astype(np.uint8), (60, 1))))
    return saved(image, "PNG")


def deep() -> bytes:
    return saved(Image.fromarray((np.mgrid[:60, :90][1] * 700).astype(np.uint16)), "PNG")


def huge() -> bytes:
    """A PNG of 60 megapixels and one colour: 60 kB."""
    side, depth = 7750, 8

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, depth, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (side + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


READ = {
    **{f"turned {orientation}.jpg": lambda orientation=orientation: turned(orientation) for orientation in range(1, 9)},
    "plain.png": lambda: saved(picture(), "PNG"),
    "plain.webp": lambda: saved(picture(), "WEBP", lossless=True),
    "plain.bmp": lambda: saved(picture(), "BMP"),
    "grey.jpg": lambda: saved(picture().convert("L"), "JPEG"),
    "moving.gif": animation,
    "clear.png": transparent,
    "deep.png": deep,
    "no suffix": lambda: saved(picture(91, 60), "PNG"),
    "printed.jpg": lambda: saved(picture().convert("CMYK"), "JPEG", quality=95),
    "odd.jpg": lambda: jpeg(3, 61, 97),
    "small.png": lambda: saved(picture(7, 5), "PNG"),
    "long.png": lambda: saved(picture(600, 100), "PNG"),
    "progressive.jpg": lambda: saved(picture(), "JPEG", progressive=True),
}
REFUSED = {
    "cut.jpg": (lambda: jpeg(1, 64, 64)[:300], "not a picture, or a damaged one"),
    "empty.jpg": (lambda: b"", "an empty file"),
    "notes.txt": (lambda: b"no picture at all, but some words", "not a picture, or a damaged one"),
    "phone.heic": (lambda: b"\0\0\0\x18ftypheic" + bytes(100), "a HEIC photo, which this browser cannot read"),
    "huge.png": (huge, "too large: more than 50 megapixels"),
}


def test_every_kind_of_photo_is_read_as_the_pipeline_reads_it_or_named_with_a_reason(phone, exported_app, tmp_path):
    for name, make in READ.items():
        (tmp_path / name).write_bytes(make())
    for name, (make, _) in REFUSED.items():
        (tmp_path / name).write_bytes(make())
    paths = sorted(tmp_path.iterdir())
    phone.choose(*paths)
    reasons = phone.unreadable()
    assert set(reasons) == set(REFUSED)
    for name, (_, reason) in REFUSED.items():
        assert reasons[name].startswith(reason)
    vectors = phone.vectors()
    for read in read_photos(find_photos(paths), open_exported(exported_app), 2):
        name = Path(read.photo.name).name
        if name in READ:
            given = np.array(vectors[name])
            cosine = given @ read.vector / np.linalg.norm(given) / np.linalg.norm(read.vector)
            assert cosine > 0.999, name
    assert [fault["file"] for fault in json.loads(phone.save("#save-json"))["unreadable"]] == [
        path.name for path in paths if path.name in REFUSED
    ]
    assert phone.faults == []


def test_what_the_pipeline_refuses_is_no_photo_here_either():
    for name in ("cut.jpg", "empty.jpg", "notes.txt", "huge.png"):
        with pytest.raises(Unusable):
            decode(REFUSED[name][0]())


@pytest.mark.parametrize("crop", [Crop(224, 256, "bicubic"), Crop(32, 32, "bilinear"), Crop(96, 101, "bicubic")])
def test_resizing_differs_in_no_grey_level(phone, crop):
    """Given the same pixels; for very long ones, which the pipeline leaves to Pillow, by one."""
    rng = np.random.default_rng(crop.size)
    for width, height in SIZES:
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        rgba = np.dstack([pixels, np.full((height, width), 255, np.uint8)])
        given = phone.page.evaluate(
            """async ([text, width, height, crop]) => {
              const flat = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
              const { planCrop, resizeCrop } = await import("/app/resize.js");
              const plan = planCrop(width, height, crop);
              const { left, top, right, bottom } = plan.box;
              const part = new Uint8ClampedArray((right - left) * (bottom - top) * 4);
              for (let y = top; y < bottom; y++) {
                const line = flat.subarray((y * width + left) * 4, (y * width + right) * 4);
                part.set(line, (y - top) * (right - left) * 4);
              }
              return btoa(Array.from(resizeCrop(part, plan), (level) => String.fromCharCode(level)).join(""));
            }""",
            [base64.b64encode(rgba.tobytes()).decode(), width, height, vars(crop)],
        )
        expected = resize_crop(pixels, crop).ravel().astype(int)
        apart = np.abs(np.frombuffer(base64.b64decode(given), np.uint8) - expected).max()
        assert apart <= (2 if max(width, height) > 4 * min(width, height) else 0), (width, height)


@pytest.mark.long
def test_real_photos_have_the_vectors_that_the_pipeline_gives_them(photos, phone, exported_app):
    """The real photos on the small model; with real weights it is done by hand (README)."""
    paths = sorted(photos.rglob("*.jpg"))[::61][:50]
    phone.choose(*paths)
    vectors = phone.vectors()
    for read in read_photos(find_photos(paths), open_exported(exported_app), 2):
        given = np.array(vectors[Path(read.photo.name).name])
        assert given @ read.vector / np.linalg.norm(given) / np.linalg.norm(read.vector) > 0.999
