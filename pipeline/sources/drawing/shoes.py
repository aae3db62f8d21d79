"""The demo source's silhouettes of shoes, seen from the side, in units of about half a shoe's length."""

import math
from collections.abc import Callable

import numpy as np

from pipeline.sources.drawing.canvas import NEUTRAL, Colour, Points, ellipse, limb
from pipeline.sources.drawing.fabrics import shift
from pipeline.sources.drawing.figure import DARKER, LIGHTER, Sketch

# Moves a shoe's points to where that shoe of a pair stands.
Place = Callable[[Points], np.ndarray]


def _places(s: Sketch, worn: bool) -> list[Place]:
    """One shoe, or a pair: the far one first, smaller, and turned round at times, though not on feet."""
    if s.chance(0.45):
        return [np.asarray]
    back = np.array([s.vary(-0.2, 0.2), s.vary(-0.5, -0.3)])
    turn = np.array([-1.0 if s.chance(0.5) and not worn else 1.0, 1.0]) * s.vary(0.8, 0.95)
    return [lambda points: np.asarray(points) * turn + back, lambda points: np.asarray(points) * 0.95 + [0, 0.2]]


def _leg(s: Sketch, at: Place, ankle: float) -> None:
    s.part(at(limb([(-0.55, -1.8), (-0.5, -0.8), (-0.52, ankle)], [0.52, 0.4, 0.3])), s.skin)


def sneaker(s: Sketch) -> None:
    """A thick pale sole, laces over the tongue, a mark on the side."""
    high = s.vary(0.3, 0.42) if s.chance(0.7) else s.vary(0.55, 0.75)
    thick, mark, toe = s.vary(0.1, 0.2), int(s.rng.integers(3)), s.chance(0.5)
    sole, worn = s.light if s.chance(0.75) else s.second, s.chance(0.2)
    for at in _places(s, worn):
        if worn:
            _leg(s, at, 0.0)
        upper = [(-0.84, 0.25), (-0.86, -0.05), (-0.8, -high), (-0.8, -high), (-0.6, -high + 0.08), (-0.36, -high)]
        upper += [(-0.3, -high), (-0.1, -0.2), (0.25, -0.02), (0.62, 0.02), (0.86, 0.14), (0.88, 0.28)]
        s.cloth(at(upper))
        _rubber(s, at, sole, thick, toe)
        for step in range(5):
            x, y = -0.24 + step * 0.12, -0.26 - (high - 0.4) * 0.3 * (4 - step) / 4 + step * 0.055
            s.canvas.stroke(at([(x - 0.06, y + 0.12), (x + 0.05, y)]), s.light, 0.032)
        _mark(s, at, mark)
        s.canvas.crease(at([(-0.6, -high + 0.1), (-0.58, 0.2)]), DARKER, 0.016)


def _rubber(s: Sketch, at: Place, colour: Colour, thick: float, toe: bool) -> None:
    """A sneaker's sole, and the cap over its toes."""
    if toe:
        s.part(at([(0.52, 0.02), (0.75, 0.06), (0.9, 0.18), (0.9, 0.28), (0.46, 0.28)]), colour, tone=NEUTRAL - 8)
    low = 0.22 + thick
    s.part(at([(-0.88, 0.2), (0.6, 0.22), (0.95, 0.18), (0.92, low), (-0.86, low)]), colour, rounds=1)
    s.canvas.crease(at([(-0.86, low - thick / 2), (0.9, low - thick / 2)]), DARKER, 0.014)


def _mark(s: Sketch, at: Place, sort: int) -> None:
    """A sneaker's side: a bent stripe, three bars, or nothing."""
    if sort == 0:
        s.canvas.stroke(at([(-0.6, -0.1), (-0.35, 0.1), (0.1, 0.0)]), s.second, 0.06)
    elif sort == 1:
        for x in (-0.4, -0.26, -0.12):
            s.canvas.stroke(at([(x, -0.03 + 0.2 * x), (x + 0.12, 0.18)]), s.second, 0.045)


def boot(s: Sketch) -> None:
    """A shaft over the ankle or up to the knee, a heel, laces or a zip."""
    top = s.vary(-1.25, -0.95) if s.look.style == "knee" else s.vary(-0.55, -0.35)
    low = 0.62 - s.vary(0.06, 0.34)
    wide, laced, worn = s.vary(0.24, 0.32), s.chance(0.45), s.chance(0.2)
    left, right = -0.52 - wide / 2, -0.48 + wide
    shape = [(left, top), (left, top), (right, top + 0.03), (right, top + 0.03), (-0.2, low - 0.5), (0.0, low - 0.28)]
    shape += [(0.42, 0.15 + low / 2), (0.62, 0.46), (0.64, 0.58), (0.2, 0.58), (-0.2, low), (-0.74, low)]
    shape += [(-0.74, low - 0.3)]
    sole = [(-0.74, low - 0.02), (-0.2, low - 0.02), (0.1, 0.56), (0.66, 0.56), (0.64, 0.64), (0.1, 0.64)]
    for at in _places(s, worn):
        if worn:
            _leg(s, at, top + 0.2)
        s.cloth(at(shape))
        s.part(at([(-0.74, low - 0.02), (-0.42, low - 0.02), (-0.5, 0.66), (-0.7, 0.66)]), s.dark, rounds=0)
        s.part(at([*sole, (-0.3, low + 0.06)]), s.dark, rounds=1)
        if laced:
            for y in np.linspace(max(top + 0.1, -0.5), low - 0.36, 6):
                s.canvas.stroke(at([(-0.42, y + 0.05), (right - 0.08, y)]), s.light, 0.022)
        else:
            s.canvas.stroke(at([(-0.5, top + 0.06), (-0.46, low - 0.12)]), s.metal, 0.014)
        s.canvas.crease(at([(-0.3, low - 0.42), (-0.6, low - 0.3)]), DARKER, 0.03)
        s.canvas.crease(at([(left + 0.06, top + 0.1), (left + 0.09, low - 0.4)]), LIGHTER + 16, 0.05)


def sandal(s: Sketch) -> None:
    """Straps over an open foot-bed, flat or on a high heel."""
    heel = s.vary(0.35, 0.65) if s.look.style == "heel" else s.vary(0.0, 0.12)
    straps, broad, rear = int(s.vary(1, 4)), s.vary(0.1, 0.2), 0.42 - heel
    leather = s.dark if s.chance(0.5) else shift((150, 110, 74), s.rng, 14)
    worn = s.chance(0.45)
    for at in _places(s, worn):
        if worn:
            _leg(s, at, rear - 0.15)
            foot = [(-0.68, rear - 0.4), (-0.82, rear - 0.1), (-0.6, rear + 0.02), (0.1, 0.36), (0.72, 0.4)]
            s.part(at([*foot, (0.8, 0.32), (0.4, 0.16), (-0.05, rear / 2 - 0.12), (-0.36, rear - 0.42)]), s.skin)
        if heel > 0.2:
            s.cloth(at([(-0.86, rear), (-0.6, rear + 0.06), (-0.72, 0.52), (-0.8, 0.52)]), rounds=0)
        bed = [(-0.84, rear), (-0.5, rear + heel * 0.15), (0.1, 0.38), (0.5, 0.44), (0.86, 0.42)]
        s.part(at(limb(bed, [0.12, 0.11, 0.11, 0.12, 0.09])), leather, rounds=1)
        s.canvas.crease(at(bed), LIGHTER, 0.02)
        s.cloth(at([(-0.86, rear), (-0.86, rear - 0.3), (-0.7, rear - 0.34), (-0.56, rear)]), tone=NEUTRAL - 10)
        ankle = [(-0.84, rear - 0.26), (-0.56, rear - 0.36), (-0.34, rear - 0.3), (-0.38, rear + 0.04)]
        s.cloth(at(limb(ankle, [0.1] * 4)), rounds=1)
        for x in np.linspace(0.12, 0.58, straps):
            _strap(s, at, float(x), broad, worn)


def _strap(s: Sketch, at: Place, x: float, broad: float, worn: bool) -> None:
    """A sandal's strap over the toes, and the dark under it where no foot is."""
    tall = 0.3 - 0.18 * x
    if not worn:
        s.part(at(ellipse(x, 0.4, 0.15, tall * 0.9, math.pi, 2 * math.pi)), s.dark, tone=DARKER)
    arch = ellipse(x, 0.4, 0.17, tall, math.pi, 2 * math.pi)[::3]
    s.cloth(at(limb(arch, [broad] * len(arch))), rounds=1)


SHOES: dict[str, Callable[[Sketch], None]] = {"sneaker": sneaker, "boot": boot, "sandal": sandal}
