"""The demo source's silhouettes of skirts, trousers and shorts, in units of about half a leg's length."""

from collections.abc import Callable

from pipeline.sources.drawing.canvas import NEUTRAL, box, ellipse, limb, mirrored
from pipeline.sources.drawing.figure import DARKER, Path, Sketch, feet, legs


def _waist_down(s: Sketch, top: float, length: float, worn: float = 0.45) -> list[Path] | None:
    """The person under a skirt or trousers, where there is one; returns where the legs run."""
    if not s.chance(worn):
        return None
    torso = [(0, top - 1.0), (0.34, top - 0.95), (0.4, top - 0.7), (0.31, top - 0.2), (0.36, top + 0.12)]
    s.part(mirrored(torso), s.other)
    for side in (-1, 1):
        path = [(side * 0.4, top - 0.8), (side * s.vary(0.45, 0.6), top - 0.3), (side * s.vary(0.35, 0.5), top + 0.15)]
        s.part(limb(path, [0.17, 0.14, 0.1]), s.other if s.chance(0.6) else s.skin)
    paths = legs(s, top + 0.2, s.vary(0, 0.14), s.skin, length)
    feet(s, paths)
    return paths


def skirt(s: Sketch) -> None:
    """A waistband and a panel that widens downwards."""
    top, low = s.vary(-0.6, -0.45), s.vary(0.15, 0.8)
    _waist_down(s, top, s.vary(1.35, 1.5))
    waist, hem = s.vary(0.29, 0.36), s.vary(0.38, 0.85)
    middle = waist + (hem - waist) * s.vary(0.4, 0.75)
    panel = [(0, top), (waist, top), (waist, top), (middle, (top + low) / 2), (hem, low), (hem, low), (0, low + 0.05)]
    s.cloth(mirrored(panel))
    s.pleats(waist, hem, top + 0.1, low)
    s.cloth(box(0, top, waist, 0.055), DARKER + 8, 0)
    if s.chance(0.3):
        s.buttons(0.0, top + 0.1, low - 0.1, 6)


def _bifurcated(s: Sketch, length: float, thigh: float, ankle: float) -> float:
    """Two trouser legs and a waistband; returns where the waist is."""
    top = s.vary(-1.05, -0.85) if length > 1 else s.vary(-0.5, -0.35)
    paths = _waist_down(s, top, 1.75)
    spread = s.vary(0.04, 0.24)
    waist = s.vary(0.31, 0.37)
    for side, worn in zip((-1, 1), paths or (None, None), strict=True):
        foot = worn[-1][0] - side * 0.17 if worn else side * spread
        knee = (side * 0.185 + foot / 2, top + 0.3 + length / 2)
        path = [(side * 0.18, top + 0.3), knee, (side * 0.19 + foot, top + 0.3 + length)]
        widths = [thigh, (thigh + ankle) / 2 * s.vary(0.92, 1.02), ankle]
        s.cloth(limb(path, widths), NEUTRAL - int(s.vary(0, 12)), rounds=1)
        s.folds(3, knee[0] - 0.08, knee[0] + 0.08, top + 0.4, top + 0.25 + length)
    hips = 0.185 + thigh / 2
    seat = [(0, top), (waist, top), (waist, top), (hips, top + 0.3), (hips * 0.96, top + 0.4), (0.03, top + 0.58)]
    s.cloth(mirrored(seat))
    s.cloth(box(0, top, waist * 1.01, 0.055), DARKER + 14, 0)
    s.canvas.crease([(0, top + 0.05), (0.02, top + 0.3), (0, top + 0.52)], DARKER - 20, 0.02)
    return top


def trousers(s: Sketch) -> None:
    """Pressed creases, slanted pockets, at times a belt."""
    length, ankle = s.vary(1.5, 1.75), s.vary(0.18, 0.42)
    top = _bifurcated(s, length, s.vary(0.36, 0.42), ankle)
    for side in (-1, 1):
        s.canvas.crease([(side * 0.3, top + 0.08), (side * 0.36, top + 0.3)], DARKER - 10, 0.018)
        if s.chance(0.6):
            s.canvas.crease([(side * 0.18, top + 0.35), (side * 0.22, top + length + 0.2)], DARKER + 8, 0.016)
    if s.chance(0.35):
        s.part(limb([(-0.35, top), (0.35, top)], [0.08, 0.08]), s.dark, rounds=0)
        s.part(box(0, top, 0.06, 0.05), s.metal, rounds=0)


def jeans(s: Sketch) -> None:
    """Stitched seams, round pockets, rivets, faded knees."""
    length, ankle = s.vary(1.45, 1.75), s.vary(0.16, 0.36)
    top = _bifurcated(s, length, s.vary(0.36, 0.41), ankle)
    thread = (202, 146, 74) if s.chance(0.7) else s.light
    for side in (-1, 1):
        s.canvas.stroke([(side * 0.17, top + 0.08), (side * 0.2, top + 0.17), (side * 0.36, top + 0.2)], thread, 0.012)
        s.canvas.stroke([(side * 0.34, top + 0.3), (side * 0.32, top + 0.7)], thread, 0.008)
        fade = [(side * 0.2, top + 0.45), (side * 0.21, top + s.vary(0.8, 1.2))]
        s.canvas.crease(fade, NEUTRAL + int(s.vary(5, 45)), s.vary(0.08, 0.16))
        if s.chance(0.2):
            y = top + s.vary(0.8, 1.1)
            s.part(ellipse(side * 0.21, y, 0.09, 0.03), s.skin if s.chance(0.5) else s.light)
    s.part(ellipse(0, top, 0.025, 0.025), s.metal, rounds=0)
    for x in (-0.26, -0.12, 0.12, 0.26):
        s.canvas.stroke([(x, top - 0.06), (x, top + 0.07)], thread, 0.012)


def shorts(s: Sketch) -> None:
    """Trousers that end above the knee; with a drawstring and side stripes where they are for sport."""
    length, wide = s.vary(0.3, 0.68), s.vary(0.36, 0.47)
    top = _bifurcated(s, length, s.vary(0.37, 0.42), wide)
    if s.look.style == "sport":
        for side in (-1, 1):
            s.canvas.stroke([(side * 0.02, top + 0.02), (side * s.vary(0.04, 0.1), top + 0.24)], s.light, 0.018)
            if s.chance(0.6):
                s.canvas.stroke([(side * 0.36, top + 0.1), (side * 0.42, top + 0.3 + length)], s.second, 0.04)
        return
    for side in (-1, 1):
        s.canvas.crease([(side * 0.2, top + 0.07), (side * 0.36, top + 0.24)], DARKER - 14, 0.016)
        if s.chance(0.3):
            s.cloth(box(side * 0.27, top + 0.6, 0.1, 0.1), DARKER + 10, 0)


BOTTOMS: dict[str, Callable[[Sketch], None]] = {
    "skirt": skirt,
    "trousers": trousers,
    "jeans": jeans,
    "shorts": shorts,
}
