"""What the demo source's drawings are made of: colours, cloth patterns, backgrounds, and the camera's own faults."""

import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipeline.sources.drawing.canvas import NEUTRAL, SUPERSAMPLING, Canvas, Colour

COLOURS: dict[str, Colour] = {
    "black": (34, 34, 38),
    "white": (236, 236, 232),
    "grey": (138, 140, 143),
    "navy": (34, 44, 86),
    "blue": (54, 102, 178),
    "light blue": (152, 190, 220),
    "red": (186, 38, 46),
    "burgundy": (112, 28, 46),
    "pink": (230, 152, 172),
    "orange": (222, 122, 44),
    "yellow": (234, 200, 76),
    "green": (54, 120, 74),
    "olive": (106, 106, 62),
    "beige": (210, 190, 156),
    "brown": (114, 76, 48),
    "purple": (104, 64, 130),
}
PATTERNS = ("plain", "striped", "pinstriped", "dotted", "checked", "ombre", "floral", "camouflage", "denim", "knitted")


def _planes(colour: Colour) -> np.ndarray:
    """A colour as one number a plane. Pictures are three planes here: red, green, blue x height x width.

    numpy multiplies whole planes by a mask several times faster than pixels of three numbers.
    """
    return np.array(colour, dtype=np.float32)[:, None, None]


def _planes_of(image: Image.Image) -> np.ndarray:
    return np.array([np.asarray(plane) for plane in image.split()], dtype=np.float32)


def noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise around 0: random values on a grid of `cells`, enlarged to `size` (both across, down)."""
    coarse = rng.standard_normal((cells[1], cells[0]), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of mean 0 and deviation 1, pixel by pixel; sums of two bytes are ten times cheaper than normal numbers."""
    pairs = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    total = pairs[0].astype(np.float32)
    total += pairs[1]
    total -= 255
    total /= 104.5
    return total


def shift(colour: Colour, rng: np.random.Generator, amount: float) -> Colour:
    """The colour made a little different: lighter or darker, and of a slightly different hue."""
    moved = np.array(colour) + rng.normal(0, amount) + rng.normal(0, amount / 2, 3)
    red, green, blue = np.clip(moved, 4, 250).astype(int).tolist()
    return red, green, blue


def _bands(where: np.ndarray, period: float, share: float) -> np.ndarray:
    """1 on bands that cover `share` of every `period`, 0 between them, soft at their edges."""
    wave = np.cos(where * np.float32(2 * math.pi / period)) - np.float32(math.cos(math.pi * share))
    return np.clip(wave * 6 + 0.5, 0, 1)


def _motifs(canvas: Canvas, rng: np.random.Generator, rows: int) -> np.ndarray:
    """1 on scattered flowers of five petals, 0 between them."""
    sheet = Image.new("L", canvas.size)
    pen = ImageDraw.Draw(sheet)
    width, height = canvas.size
    petal = height / rows / 5
    for x, y, turn in rng.random((rows * rows, 3)) * [width, height, math.pi]:
        for leaf in range(5):
            angle = turn + leaf * 2 * math.pi / 5
            a, b = x + petal * math.cos(angle), y + petal * math.sin(angle)
            pen.ellipse((a - petal * 0.6, b - petal * 0.6, a + petal * 0.6, b + petal * 0.6), fill=255)
    return np.asarray(sheet, dtype=np.float32) / 255


def _share(pattern: str, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """How much of the second colour a pattern has at every pixel, from 0 to 1."""
    u, v = canvas.coordinates()
    period = rng.uniform(0.09, 0.3)
    match pattern:
        case "striped":
            return _bands(v if rng.random() < 0.75 else u, period, rng.uniform(0.25, 0.6))
        case "pinstriped":
            return 0.7 * _bands(u, period * 0.6, 0.22)
        case "dotted":
            gap = period * 0.8
            return _bands(u + v, gap, 0.45) * _bands(u - v, gap, 0.45)
        case "checked":
            return 0.5 * _bands(u, period, 0.5) + 0.5 * _bands(v, period, 0.5)
        case "ombre":
            return np.clip(0.5 + rng.uniform(0.5, 0.9) * (v if rng.random() < 0.5 else -v), 0, 1)
        case "floral":
            return _motifs(canvas, rng, int(rng.integers(8, 15)))
        case "camouflage":
            return np.clip(noise(rng, canvas.size, (9, 12)) * 8, 0, 1)
    return np.zeros_like(u + v)


def _weave(pattern: str, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """The cloth's own relief, as a factor around 1."""
    width, height = canvas.size
    if pattern == "denim":
        fine = noise(rng, canvas.size, (width // 2, height // 5))
        return 1 + 0.07 * fine + 0.13 * noise(rng, canvas.size, (5, 7))
    if pattern == "knitted":
        u, v = canvas.coordinates()
        turns = rng.uniform(90, 170)
        return 1 + 0.12 * np.sin(u * turns + 2 * np.abs(np.sin(v * turns / 2))) + 0.03 * np.sin(v * turns)
    return 1 + rng.uniform(0, 0.05) * _grain(rng, (height, width))


def cloth(pattern: str, first: Colour, second: Colour, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """A sheet of patterned cloth as large as the photograph: three planes from 0 to 255."""
    base = _planes(first)
    sheet = _share(pattern, canvas, rng) * (_planes(second) - base)
    sheet += base
    sheet *= _weave(pattern, canvas, rng)
    return sheet


def _planks(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Wooden boards, upright or level."""
    across = rng.random() < 0.5
    width, height = size if across else size[::-1]
    board = int(rng.integers(28, 80))
    tones = np.repeat(rng.normal(0, 0.06, height // board + 1), board)[:height, None].astype(np.float32)
    grain = 0.07 * noise(rng, (width, height), (4, height // 2)) + 0.05 * noise(rng, (width, height), (8, 20))
    relief = 1 + tones + grain
    relief[::board] *= 0.6
    return _planes(shift((166, 124, 84), rng, 30)) * (relief if across else relief.T)


def _room(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Somewhere out of focus: furniture, windows or houses as blurred blocks over a floor."""
    small = (size[0] // 4, size[1] // 4)
    scene = Image.new("RGB", small, shift((180, 176, 170), rng, 30))
    pen = ImageDraw.Draw(scene)
    floor = int(small[1] * rng.uniform(0.6, 0.95))
    for x, top, across in rng.random((int(rng.integers(4, 11)), 3)) * [small[0], floor, small[0] / 2]:
        pen.rectangle((x - across / 2, top, x + across / 2, floor), fill=shift((140, 134, 126), rng, 50))
    pen.rectangle((0, floor, *small), fill=shift((130, 118, 104), rng, 35))
    blurred = scene.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 3)))
    return _planes_of(blurred.resize(size, Image.Resampling.BILINEAR))


def background(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """What lies behind the garment: most often a white sheet, as in shops' photographs."""
    width, height = size
    sort = rng.choice(["white", "grey", "paint", "wood", "carpet", "room"], p=[0.38, 0.16, 0.14, 0.1, 0.08, 0.14])
    if sort == "wood":
        return _planks(size, rng)
    if sort == "room":
        return _room(size, rng)
    plain = np.empty((3, height, width), dtype=np.float32)
    plain[:] = rng.uniform(247, 255)
    if sort == "white":
        return plain
    slope = np.linspace(1, rng.uniform(0.75, 0.97), height, dtype=np.float32)[:, None]
    if sort == "grey":
        plain *= slope * np.float32(rng.uniform(0.8, 0.97))
        return plain
    tint = shift(COLOURS[rng.choice(list(COLOURS))], rng, 20)
    paint = (0.45 * _planes(tint) + 0.55 * rng.uniform(120, 240)) * slope
    plain[:] = paint
    if sort == "carpet":
        tufts = 1 + 0.14 * noise(rng, size, (width // 3, height // 3)) + 0.06 * noise(rng, size, (12, 16))
        plain *= tufts
    return plain


def _factor(layer: Image.Image, one: int = 255) -> np.ndarray:
    """A grey layer as numbers in which its value `one` is 1."""
    return np.asarray(layer) * np.float32(1 / one)


def _relief(cover: Image.Image, shade: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Light and shadow on the garment: it bulges towards its middle, is lit from one side, and hangs in folds."""
    bulge = _factor(cover.reduce(2).filter(ImageFilter.BoxBlur(rng.uniform(2, 4.5))))
    angle = rng.uniform(0, 2 * math.pi)
    slope_down, slope_across = np.gradient(bulge)
    lit = slope_across * math.cos(angle) + slope_down * math.sin(angle)
    folds = noise(rng, bulge.shape[::-1], (int(rng.integers(6, 16)), int(rng.integers(4, 11))))
    light = 0.72 + 0.28 * bulge + rng.uniform(0.5, 2) * lit + rng.uniform(0.02, 0.09) * folds
    relief = np.array(Image.fromarray(light).resize(cover.size, Image.Resampling.BILINEAR))
    relief *= _factor(shade, NEUTRAL)
    return relief


def _shadow(cover: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """How much of the light reaches the background, from 0 to 1: the garment throws a soft shadow."""
    small = cover.reduce(4)
    away = np.round(rng.normal(0, 1.6, 2)).astype(int)
    blurred = small.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 3.5)))
    cast = Image.new("L", small.size)
    cast.paste(blurred, (int(away[0]), abs(int(away[1]))))
    shadow = _factor(cast.resize(cover.size, Image.Resampling.BILINEAR))
    shadow *= -rng.uniform(0.0, 0.5)
    shadow += 1
    return shadow


def _lay(picture: np.ndarray, under: np.ndarray, cover: Image.Image) -> np.ndarray:
    """`picture` laid on `under` as far as `cover` says; overwrites both.

    In place, because fresh arrays of a photograph's size cost more than the arithmetic on them.
    """
    picture -= under
    picture *= _factor(cover)
    picture += under
    return picture


def photograph(canvas: Canvas, sheet: np.ndarray, scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lays the drawn garment, its cloth parts cut from `sheet`, on the scene and lights both; overwrites both."""
    colour, cover, part, shade = (layer.reduce(SUPERSAMPLING) for layer in canvas.layers)
    surface = _lay(sheet, _planes_of(colour), part)
    surface *= _relief(cover, shade, rng)
    scene *= _shadow(cover, rng)
    return _lay(surface, scene, cover)


def develop(light: np.ndarray, rng: np.random.Generator) -> bytes:
    """What a camera makes of it: exposure, colour cast, sensor noise, blur; encoded as JPEG. Overwrites `light`."""
    cast = rng.uniform(0.86, 1.08) * np.exp(rng.normal(0, 0.025, 3))
    light *= cast.astype(np.float32)[:, None, None]
    grain = rng.uniform(0.5, 5) * _grain(rng, light.shape[1:])
    light += grain
    # Coloured grain: the same grain from elsewhere, added to red and taken from blue.
    light[0] += 0.5 * np.roll(grain, 7, axis=0)
    light[2] -= 0.5 * np.roll(grain, 11, axis=0)
    bands = np.clip(light, 0, 255, out=light).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(band) for band in bands])
    if rng.random() < 0.35:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 1.2)))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(rng.integers(75, 93)))
    return stream.getvalue()
