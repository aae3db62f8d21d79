"""Where the demo source's garments are photographed: backgrounds, light, and the camera's faults."""

import io

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from pipeline.ingest.demo.canvas import NEUTRAL, SUPERSAMPLING, Canvas
from pipeline.ingest.demo.cloth import COLOURS, grain, noise, planes, shift


def _planes_of(image: Image.Image) -> np.ndarray:
    return np.array([np.asarray(plane) for plane in image.split()], dtype=np.float32)


def _room(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Somewhere out of focus: furniture, windows or houses as blurred blocks over a floor."""
    width, height = size[0] // 4, size[1] // 4
    scene = Image.new("RGB", (width, height), shift((180, 176, 170), 30, rng))
    pen, floor = ImageDraw.Draw(scene), height * rng.uniform(0.6, 0.95)
    for x, top, across in rng.random((int(rng.integers(4, 11)), 3)) * [width, floor, width / 4]:
        pen.rectangle((x - across, top, x + across, floor), fill=shift((140, 134, 126), 50, rng))
    pen.rectangle((0, floor, width, height), fill=shift((130, 118, 104), 35, rng))
    return _planes_of(scene.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 3))).resize(size))


def _background(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """What lies behind the garment: most often a white sheet, as in shops' photographs."""
    sort = rng.choice(["white", "grey", "paint", "wood", "carpet", "room"], p=[0.38, 0.16, 0.14, 0.1, 0.08, 0.14])
    if sort == "room":
        return _room(size, rng)
    width, height = size
    relief: np.ndarray = np.ones(1, np.float32)
    slope = np.linspace(1, 1 if sort == "white" else rng.uniform(0.75, 0.97), height, dtype=np.float32)[:, None]
    tint = 0.45 * planes(shift(COLOURS[rng.choice(list(COLOURS))], 20, rng)) + 0.55 * rng.uniform(120, 240)
    if sort in ("white", "grey"):
        tint = planes((1, 1, 1)) * (rng.uniform(247, 255) if sort == "white" else rng.uniform(200, 248))
    elif sort == "carpet":
        relief = 1 + 0.14 * noise(size, (width // 3, height // 3), rng) + 0.06 * noise(size, (12, 16), rng)
    elif sort == "wood":
        tint, side, board = planes(shift((166, 124, 84), 30, rng)), max(size), int(rng.integers(28, 80))
        relief = np.repeat(rng.normal(1, 0.06, side // board + 1), board)[:side, None].astype(np.float32)
        relief = relief + 0.07 * noise((side, side), (4, side // 2), rng) + 0.05 * noise((side, side), (8, 20), rng)
        relief[::board] *= 0.6
        relief = (relief if rng.random() < 0.5 else relief.T)[:height, :width]
    return tint * slope * relief


def _share(layer: Image.Image, whole: int = 255) -> np.ndarray:
    """A grey layer as float32 numbers in which its value `whole` is 1."""
    return np.asarray(layer) * np.float32(1 / whole)


def _lay(picture: np.ndarray, under: np.ndarray, cover: Image.Image) -> None:
    """Lays a picture on another as far as `cover` says, in place: fresh arrays cost more than the arithmetic."""
    picture -= under
    picture *= _share(cover)
    picture += under


def photograph(canvas: Canvas, cloth: np.ndarray, rng: np.random.Generator, *, quality: tuple[int, int]) -> bytes:
    """Lights the drawn garment before a background and takes its picture, as a JPEG.

    Its cloth parts are cut from `cloth`, which is overwritten.
    """
    colour, cover, part, shade = (layer.reduce(SUPERSAMPLING) for layer in canvas.layers)
    _lay(cloth, _planes_of(colour), part)
    # The garment bulges towards its middle, is lit from one side, and hangs in folds.
    bulge = _share(cover.reduce(2).filter(ImageFilter.BoxBlur(rng.uniform(2, 4.5))))
    light = 0.72 + 0.28 * bulge + rng.uniform(0.4, 1.6) * (bulge - np.roll(bulge, rng.integers(-1, 2, 2), (0, 1)))
    light += rng.uniform(0.02, 0.09) * noise(bulge.shape[::-1], tuple(rng.integers(4, 15, 2).tolist()), rng)
    cloth *= np.asarray(Image.fromarray(light).resize(cover.size, Image.Resampling.BILINEAR)) * _share(shade, NEUTRAL)
    # It throws a soft shadow on what is behind it.
    cast = cover.reduce(4).filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 3.5)))
    cast = ImageChops.offset(cast, round(rng.normal(0, 1.6)), abs(round(rng.normal(0, 1.6))))
    shadow = 1 - rng.uniform(0, 0.5) * _share(cast.resize(cover.size, Image.Resampling.BILINEAR))
    _lay(cloth, _background(canvas.size, rng) * shadow, cover)
    # The camera's faults: exposure and colour cast, noise, blur.
    cloth *= planes(rng.uniform(0.86, 1.08) * np.exp(rng.normal(0, 0.025, 3)))
    cloth += rng.uniform(0.5, 5) * grain(canvas.size, rng)
    image = Image.merge("RGB", [Image.fromarray(band) for band in np.clip(cloth, 0, 255, out=cloth).astype(np.uint8)])
    if rng.random() < 0.35:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 1.2)))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(rng.integers(*quality)))
    return stream.getvalue()
