"""What the demo source's garments are made of: colours, and patterned cloth."""

import math
import re

import numpy as np
from PIL import Image

from pipeline.ingest.demo.canvas import Canvas, Colour

_CODES = """black 222226 white ECECE8 grey 8A8C8F navy 222C56 blue 3666B2 light blue 98BEDC red BA262E burgundy 701C2E
pink E698AC orange DE7A2C yellow EAC84C green 36784A olive 6A6A3E beige D2BE9C brown 724C30 purple 684082"""
COLOURS: dict[str, Colour] = {
    name: tuple(bytes.fromhex(code)) for name, code in re.findall(r"([a-z][a-z ]*) ([0-9A-F]{6})", _CODES)
}
_GRAIN = np.random.default_rng(0).standard_normal((640, 640), dtype=np.float32)


def planes(colour: Colour | np.ndarray) -> np.ndarray:
    """A colour as float32 [3, 1, 1]; pictures are float32 [3, height, width], which numpy masks faster than pixels."""
    return np.array(colour, dtype=np.float32)[:, None, None]


def shift(colour: Colour, amount: float, rng: np.random.Generator) -> Colour:
    """The colour made a little different: lighter or darker, and of a slightly different hue."""
    lighter, *tints = (amount * rng.standard_normal(4)).tolist()
    return tuple(int(min(max(value + lighter + tint / 2, 4), 250)) for value, tint in zip(colour, tints, strict=True))


def noise(size: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise around 0: random values on a grid of `cells`, enlarged to `size` (both across, down)."""
    coarse = Image.fromarray(rng.standard_normal(cells[::-1], dtype=np.float32))
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))


def grain(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Noise of mean 0 and deviation 1, pixel by pixel: cut anywhere from one large sheet, which costs nothing."""
    x, y = rng.integers(0, 256, 2)
    return _GRAIN[y : y + size[1], x : x + size[0]]


def _bands(where: np.ndarray, period: float, share: float) -> np.ndarray:
    """1 on bands that cover `share` of every `period`, 0 between them, soft at their edges."""
    return np.clip((np.cos(where * (2 * math.pi / period)) - math.cos(math.pi * share)) * 6 + 0.5, 0, 1)


def cloth(pattern: str, colours: tuple[Colour, Colour], canvas: Canvas, *, rng: np.random.Generator) -> np.ndarray:
    """A sheet of cloth as large as the photograph: its pattern in two colours, and the relief of its threads."""
    (first, second), period = map(planes, colours), rng.uniform(0.09, 0.3)
    share: np.ndarray | float = 0.0
    relief = rng.uniform(0, 0.05) * grain(canvas.size, rng)
    u, v = canvas.coordinates() if pattern != "plain" else (relief, relief)
    match pattern:
        case "striped":
            share = _bands(v if rng.random() < 0.75 else u, period, rng.uniform(0.25, 0.6))
        case "pinstriped":
            share = 0.7 * _bands(u, period * 0.6, 0.22)
        case "dotted":
            share = _bands(u + v, period * 0.8, 0.45) * _bands(u - v, period * 0.8, 0.45)
        case "checked":
            share = 0.5 * _bands(u, period, 0.5) + 0.5 * _bands(v, period, 0.5)
        case "ombre":
            share = np.clip(0.5 + rng.uniform(0.5, 0.9) * (v if rng.random() < 0.5 else -v), 0, 1)
        case "camouflage":
            share = np.clip(noise(canvas.size, (9, 12), rng) * 8, 0, 1)
        case "floral":
            # Flowers of five petals on a bent grid.
            u, v = (axis / (1.2 * period) + 0.3 * noise(canvas.size, (7, 9), rng) for axis in (u, v))
            u, v = u - np.rint(u), v - np.rint(v)
            share = np.clip((0.27 + 0.12 * np.cos(5 * np.arctan2(v, u)) - np.hypot(u, v)) * 15, 0, 1)
        case "denim":
            relief = 0.07 * noise(canvas.size, (canvas.size[0] // 2, canvas.size[1] // 5), rng)
            relief += 0.13 * noise(canvas.size, (5, 7), rng)
        case "knitted":
            u, v = u * rng.uniform(90, 170), v * rng.uniform(90, 170)
            relief = 0.12 * np.sin(u + 2 * np.abs(np.sin(v / 2))) + 0.03 * np.sin(v)
    sheet = share * (second - first)
    sheet += first
    return sheet * (1 + relief)
