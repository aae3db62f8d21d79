"""The demo source's silhouettes of hats, bags, glasses and watches, in units of about half their width."""

import math
from collections.abc import Callable

import numpy as np

from pipeline.sources.drawing.canvas import NEUTRAL, box, ellipse, limb, mirrored
from pipeline.sources.drawing.figure import DARKER, Sketch, head


def hat(s: Sketch) -> None:
    """A cap with a peak, or a crown with a band and a brim all round; at times on a head."""
    worn = s.chance(0.4)
    if worn:
        head(s, 0.0, 0.45, 0.5)
    tall, low = s.vary(0.55, 0.72), 0.12
    if s.look.style == "cap":
        _cap(s, tall, low, worn)
        return
    s.cloth(ellipse(0, low + 0.1, s.vary(0.85, 1.1), s.vary(0.16, 0.32)), NEUTRAL - 10)
    top = low - tall
    crown = [(0, top + 0.06), (0.3, top - 0.02), (0.42, top + 0.1), (0.52, low + 0.1), (0.3, low + 0.18)]
    s.cloth(mirrored([*crown, (0, low + 0.2)]))
    band = [(0, low - 0.02), (0.49, low - 0.08), (0.53, low + 0.08), (0.3, low + 0.17), (0, low + 0.19)]
    s.part(mirrored(band), s.second if s.chance(0.6) else s.dark)
    s.canvas.crease([(-0.05, top + 0.05), (0.06, low - 0.3)], DARKER, 0.05)


def _cap(s: Sketch, tall: float, low: float, worn: bool) -> None:
    dome = ellipse(0, low, 0.62, tall, math.pi, 2 * math.pi)
    s.cloth(np.concatenate([dome, [(0.6, low + 0.12), (-0.6, low + 0.12)]]), rounds=1)
    for x in (-0.34, 0.0, 0.34):
        s.canvas.crease([(x * 0.2, low - tall), (x * 0.8, low - tall * 0.6), (x, low + 0.08)], DARKER, 0.016)
    s.cloth(ellipse(0, low - tall, 0.05, 0.03), DARKER, 0)
    reach = 0.0 if worn or s.chance(0.3) else 0.5
    peak = [(reach - 0.58, low + 0.02), (reach + 0.1, low - 0.02), (0.9 * reach + 0.6, low + 0.06)]
    peak += [(reach + 0.5, low + 0.3), (reach - 0.46, low + 0.28)]
    s.canvas.fill(peak, s.second, cloth=s.chance(0.6), tone=NEUTRAL - 14)
    if s.chance(0.6):
        s.part(ellipse(0, low - tall * 0.45, 0.17, s.vary(0.1, 0.17)), s.second)


def handbag(s: Sketch) -> None:
    """A body with two handles, or with a flap and a long strap."""
    top, low = s.vary(-0.3, -0.12), s.vary(0.5, 0.75)
    upper, lower = s.vary(0.5, 0.75), s.vary(0.55, 0.85)
    if s.chance(0.15):
        s.part(limb([(0, -1.6), (0.03, -0.9), (0, -0.55)], [0.24, 0.2, 0.14]), s.skin)
    rise, half = s.vary(0.4, 0.75), upper * s.vary(0.4, 0.62)
    thick = s.vary(0.045, 0.09)
    tote = s.look.style == "tote"
    if not tote:
        rise, half, thick = s.vary(0.7, 1.0), upper * 0.92, thick * 0.6
    handle = ellipse(0, top + 0.06, half, rise, math.pi, 2 * math.pi)
    s.canvas.stroke(handle, tuple(int(0.8 * value) for value in s.main), thick)
    s.cloth(mirrored([(0, top), (upper, top), (upper, top), (lower, low - 0.08), (lower * 0.97, low), (0, low + 0.02)]))
    s.folds(4, -upper * 0.7, upper * 0.7, top + 0.1, low)
    if tote:
        s.canvas.stroke(handle * [1.02, 0.94] + [0, 0.03], s.main, thick)
        s.canvas.crease([(-upper, top + 0.08), (upper, top + 0.08)], DARKER, 0.016)
        for side in (-1, 1):
            s.part(ellipse(side * half, top + 0.1, 0.045, 0.045), s.metal)
    else:
        drop = top + (low - top) * s.vary(0.4, 0.65)
        edge = upper * 1.02
        flap = [(0, top - 0.02), (edge, top - 0.02), (edge, top), (upper * 0.95, drop - 0.08), (0, drop + 0.04)]
        s.cloth(mirrored(flap), NEUTRAL + 6)
        s.part(ellipse(0, drop - 0.02, 0.08, 0.06), s.metal)
    if s.chance(0.3):
        s.canvas.crease([(-lower * 0.9, low - 0.14), (lower * 0.9, low - 0.14)], DARKER, 0.014)


def sunglasses(s: Sketch) -> None:
    """Two dark lenses in a frame, a bridge, and temples; folded, open, or on a face."""
    worn = s.chance(0.3)
    if worn:
        head(s, 0.0, 0.12, 0.72)
    tall, wide = s.vary(0.18, 0.32), s.vary(0.28, 0.36)
    corner = s.vary(0.5, 1.0)
    lens = s.dark if s.chance(0.6) else s.second
    if not worn:
        for side in (-1, 1):
            fold = side * s.vary(0.55, 0.95) if s.chance(0.6) else -side * 0.3
            s.canvas.stroke([(side * 0.78, -0.08), (fold, -s.vary(0.3, 0.6))], s.main, s.vary(0.04, 0.08))
    s.canvas.stroke([(-0.2, -0.06), (0, -0.12), (0.2, -0.06)], s.main, s.vary(0.04, 0.09))
    rim = s.vary(0.03, 0.09)
    for side in (-1, 1):
        x = side * (wide + 0.1)
        upper, lower = -tall * 0.8, wide * corner
        outline = np.array([(x - wide, upper), (x - lower, tall), (x + lower, tall), (x + wide, upper)])
        if s.look.style == "round":
            outline = ellipse(x, 0, wide * 0.9, wide * 0.9)
        centre = outline.mean(axis=0)
        s.cloth(centre + (outline - centre) * (1 + rim / wide))
        s.part(centre + (outline - centre) * (1 - rim / wide), lens)
        s.canvas.crease([(x - wide * 0.4, -tall * 0.4), (x + wide * 0.1, tall * 0.3)], NEUTRAL + 80, s.vary(0.03, 0.1))


def watch(s: Sketch) -> None:
    """A strap, a case with a dial, marks and hands; at times on a wrist."""
    if s.chance(0.35):
        s.part(limb([(-1.8, 0.1), (0, 0), (1.8, -0.1)], [0.8, 0.66, 0.76]), s.skin)
        strap = limb([(0, -0.36), (0, 0), (0, 0.36)], [s.vary(0.36, 0.5)] * 3)
    else:
        bend, width = s.vary(0, 0.25), s.vary(0.3, 0.42)
        strap = limb([(bend, -1.15), (0, -0.5), (0, 0.5), (bend, 1.15)], [width * 0.75, width, width, width * 0.75])
    s.cloth(strap, rounds=1)
    for y in np.arange(0.5, 1.1, s.vary(0.09, 0.2)):
        s.canvas.crease([(-0.1, y), (0.1, y)], DARKER - 20, 0.03)
        s.canvas.crease([(-0.1, -y), (0.1, -y)], DARKER, 0.02)
    size = s.vary(0.32, 0.46)
    square = s.look.style == "square"
    case = box(0, 0, size, size) if square else ellipse(0, 0, size, size)
    s.part(case, s.metal)
    dial = s.light if s.chance(0.5) else (s.dark if s.chance(0.6) else s.second)
    s.part(case * s.vary(0.78, 0.88), dial)
    marks = s.dark if dial == s.light else s.light
    s.part(box(size + 0.03, 0, 0.03, 0.05), s.metal, rounds=0)
    for angle in np.arange(12) * math.pi / 6:
        tick = np.array([math.cos(angle), math.sin(angle)]) * size
        s.canvas.stroke([tick * 0.6, tick * 0.72], marks, 0.025)
    for reach, angle in ((0.4, s.vary(0, 6.28)), (0.6, s.vary(0, 6.28))):
        s.canvas.stroke([(0, 0), (reach * size * math.cos(angle), reach * size * math.sin(angle))], marks, 0.03)


ACCESSORIES: dict[str, Callable[[Sketch], None]] = {
    "hat": hat,
    "handbag": handbag,
    "sunglasses": sunglasses,
    "watch": watch,
}
