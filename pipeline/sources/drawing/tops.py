"""The demo source's silhouettes of tops and dresses, in units of about a torso's height."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.sources.drawing.canvas import NEUTRAL, box, ellipse, limb, mirrored
from pipeline.sources.drawing.figure import DARKER, LIGHTER, Path, Sketch, head, legs


@dataclass(frozen=True)
class Cut:
    """A top's measures, each in units from the middle line.

    Attributes:
        neck, shoulder, chest, hem: half widths.
        bottom: how far down it reaches.
        arms: where the two arms run: shoulder, elbow, wrist.
        worn: True on a person.
    """

    neck: float
    shoulder: float
    chest: float
    hem: float
    bottom: float
    arms: tuple[Path, Path]
    worn: bool


def _arm(s: Sketch, side: int, shoulder: float, angle: float, bend: float) -> Path:
    x, y = side * (shoulder - 0.07), -0.64
    elbow = (x + side * 0.52 * math.sin(angle), y + 0.52 * math.cos(angle))
    forearm = angle + bend
    return [(x, y), elbow, (elbow[0] + side * 0.5 * math.sin(forearm), elbow[1] + 0.5 * math.cos(forearm))]


def _along(path: Path, share: float) -> Path:
    """The first part of an arm, `share` of it from shoulder to wrist."""
    shoulder, elbow, wrist = path
    if share <= 0.5:
        return [shoulder, _between(shoulder, elbow, share)]
    return [shoulder, elbow, _between(elbow, wrist, 2 * share - 1)]


def _between(start: tuple[float, float], end: tuple[float, float], share: float) -> tuple[float, float]:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _cut(s: Sketch, bottom: float, worn: float = 0.4, loose: float = 0.0, bare: bool = False) -> Cut:
    """Measures at chance, and the person underneath where the top is worn."""
    on_person = s.chance(worn)
    shoulder = s.vary(0.42, 0.52) + loose
    angle = s.vary(0.1, 0.32) if on_person else s.vary(0.2, 0.85)
    arms = []
    for side in (-1, 1):
        swing = max(0.04, angle + s.vary(-0.06, 0.06))
        bend = s.vary(-1.6, 0.1) if on_person and s.chance(0.3) else s.vary(-0.25, 0.1)
        arms.append(_arm(s, side, shoulder, swing + (0.3 if bend < -0.6 else 0), bend))
    cut = Cut(
        neck=s.vary(0.15, 0.22),
        shoulder=shoulder,
        chest=shoulder * s.vary(0.84, 0.95),
        hem=shoulder * s.vary(0.78, 1.0) + loose,
        bottom=bottom,
        arms=(arms[0], arms[1]),
        worn=on_person,
    )
    if on_person:
        _person(s, cut, bare)
    elif s.chance(0.25):
        _hanger(s, cut)
    return cut


def _person(s: Sketch, cut: Cut, bare: bool) -> None:
    below = s.skin if bare else s.other
    legs(s, 0.35, s.vary(0, 0.12), s.skin if s.chance(0.2) else below)
    s.part(limb([(0, 0.1), (0, 0.55)], [0.6, 0.66]), below)
    head(s)
    s.part(mirrored([(0.1, -0.85), (0.34, -0.72), (0.38, -0.2), (0.3, 0.2)]), s.skin)
    for arm in cut.arms:
        s.part(limb(arm, [0.16, 0.14, 0.1]), s.skin)
        s.part(ellipse(*arm[-1], 0.07, 0.09), s.skin)


def _hanger(s: Sketch, cut: Cut) -> None:
    s.canvas.stroke([(-cut.shoulder * 0.8, -0.66), (0, -0.88), (cut.shoulder * 0.8, -0.66)], s.dark, 0.035)
    s.canvas.stroke([(0, -0.88), (0, -1.0), (0.06, -1.06), (0.02, -1.13), (-0.05, -1.08)], s.metal, 0.02)


def _sleeves(s: Sketch, cut: Cut, share: float, wide: float, cuff: float) -> None:
    """Two sleeves down `share` of the arms; `wide` at the shoulder and `cuff` where they end."""
    for arm in cut.arms:
        path = _along(arm, share)
        widths = [wide, cuff] if len(path) == 2 else [wide, (wide + cuff) / 2, cuff]
        s.cloth(limb(path, widths), tone=NEUTRAL - int(s.vary(2, 14)), rounds=1)
        if len(path) == 3:
            (x, y), away = path[1], s.vary(0.05, 0.1)
            s.canvas.crease([(x - away, y - 0.03), (x + away, y + 0.05)], DARKER, 0.025)


def _cuffs(s: Sketch, cut: Cut, share: float, cuff: float, tone: int) -> None:
    for arm in cut.arms:
        path = _along(arm, share)
        s.cloth(limb([_between(path[-2], path[-1], 0.84), path[-1]], [cuff, cuff * 0.92]), tone=tone, rounds=1)


def _torso(s: Sketch, cut: Cut, hem_curve: float = 0.0) -> None:
    """The body of a top, with folds."""
    low = cut.bottom
    waist = (cut.chest + cut.hem) / 2 * s.vary(0.88, 1.0)
    right = [(0.0, -0.76), (cut.neck, -0.8), (cut.neck, -0.8), (cut.shoulder, -0.68), (cut.shoulder, -0.62)]
    right += [(cut.chest, -0.34), (waist, (low - 0.3) / 2), (cut.hem, low - hem_curve), (cut.hem, low - hem_curve)]
    s.cloth(mirrored([*right, (cut.hem * 0.5, low), (0.0, low)]))
    s.folds(int(s.vary(3, 9)), -cut.hem * 0.8, cut.hem * 0.8, -0.5, low - 0.05)


def _neckline(s: Sketch, cut: Cut, deep: float, pointed: bool) -> None:
    """The opening for the head: skin where worn, else the inside of the back."""
    inside = s.skin if cut.worn else tuple(int(0.62 * value) for value in s.main)
    wide = cut.neck * 0.92
    shape = [(-wide, -0.82), (-wide, -0.82), (wide, -0.82), (wide, -0.82)]
    shape += [(0.0, -0.78 + deep)] * 2 if pointed else [(wide * 0.75, -0.74 + deep), (-wide * 0.75, -0.74 + deep)]
    s.part(shape, inside)
    edge = shape[2:] + shape[:1]
    s.canvas.crease(edge, DARKER if s.chance(0.6) else LIGHTER, s.vary(0.02, 0.05))


def _print(s: Sketch) -> None:
    """Something printed on the chest: a disc, a block, or lines of writing."""
    y, size = s.vary(-0.3, -0.05), s.vary(0.1, 0.24)
    sort = s.rng.integers(3)
    if sort == 0:
        s.part(ellipse(0, y, size, size), s.second)
        s.part(ellipse(s.vary(-0.05, 0.05), y, size * 0.6, size * 0.5), s.other)
    elif sort == 1:
        s.part(box(0, y, size, size), s.second, rounds=0)
    else:
        for line in range(int(s.vary(1, 4))):
            half = size * s.vary(0.6, 1.2)
            s.canvas.stroke([(-half, y + line * 0.11), (half, y + line * 0.11)], s.second, 0.055)


def tshirt(s: Sketch) -> None:
    """Short sleeves or none, a round or pointed neck, at times a print."""
    cut = _cut(s, s.vary(0.35, 0.62))
    if s.look.style == "tank":
        cut = Cut(cut.neck * 1.15, cut.shoulder * 0.68, cut.chest * 0.95, cut.hem, cut.bottom, cut.arms, cut.worn)
    else:
        share = s.vary(0.82, 0.95) if s.chance(0.12) else s.vary(0.3, 0.5)
        _sleeves(s, cut, share, s.vary(0.26, 0.36), s.vary(0.2, 0.32) if share < 0.5 else 0.15)
    _torso(s, cut, s.vary(-0.02, 0.05))
    _neckline(s, cut, s.vary(0.06, 0.16) + (0.1 if s.look.style == "tank" else 0), s.chance(0.3))
    if s.chance(0.4 if s.look.pattern == "plain" else 0.1):
        _print(s)
    if s.chance(0.12):
        s.cloth(box(s.vary(0.1, 0.22), -0.28, 0.1, 0.1), DARKER + 14, rounds=0)


def shirt(s: Sketch) -> None:
    """A collar, a row of buttons from neck to hem, a chest pocket."""
    cut = _cut(s, s.vary(0.42, 0.68))
    share = s.vary(0.25, 0.5) if s.chance(0.3) else s.vary(0.85, 1.0)
    cuff = s.vary(0.16, 0.2) if share > 0.5 else s.vary(0.24, 0.3)
    _sleeves(s, cut, share, s.vary(0.25, 0.32), cuff)
    _cuffs(s, cut, share, cuff * 1.1, NEUTRAL + 6)
    _torso(s, cut, s.vary(0.04, 0.14))
    s.canvas.crease([(0.045, -0.7), (0.045, cut.bottom - 0.02)], DARKER, 0.014)
    s.canvas.crease([(-0.045, -0.7), (-0.045, cut.bottom - 0.02)], DARKER, 0.01)
    deep = s.vary(0.08, 0.26)
    _neckline(s, cut, deep, True)
    for side in (-1, 1):
        tip = (side * s.vary(0.13, 0.2), -0.6 + s.vary(0, 0.08))
        collar = [(side * cut.neck * 0.8, -0.9), (side * cut.neck * 1.15, -0.78), tip, tip, (0, -0.74 + deep * 0.8)]
        s.cloth(collar, tone=NEUTRAL + 8, rounds=1)
    s.buttons(0.0, -0.66 + deep, cut.bottom - 0.08, int(s.vary(5, 8)))
    if s.chance(0.6):
        x = s.vary(0.17, 0.26)
        pocket = [(x - 0.1, -0.36), (x + 0.1, -0.36), (x + 0.1, -0.16), (x, -0.12), (x - 0.1, -0.16)]
        s.cloth(pocket, tone=NEUTRAL - 8, rounds=0)


def sweater(s: Sketch) -> None:
    """Long sleeves with ribbed ends; a hood, a pouch and strings where it is a hoodie."""
    cut = _cut(s, s.vary(0.36, 0.56), loose=s.vary(0.0, 0.06))
    hood = s.look.style == "hoodie"
    if hood:
        crown = -0.86 if cut.worn else -1.02
        shape = [(0.0, crown), (0.2, crown + 0.03), (0.3, -0.76), (0.26, -0.6), (0.0, -0.5)]
        s.cloth(mirrored(shape), tone=NEUTRAL - 14)
    wide = s.vary(0.3, 0.38)
    _sleeves(s, cut, 0.97, wide, 0.2)
    _torso(s, cut)
    ribs = DARKER + int(s.vary(-6, 16))
    _cuffs(s, cut, 1.0, 0.17, ribs)
    low, half = cut.bottom, cut.hem * 0.97
    s.cloth([(-half, low - 0.09), (half, low - 0.09), (half * 0.95, low + 0.03), (-half * 0.95, low + 0.03)], ribs, 0)
    for step in range(-9, 10, 2):
        s.canvas.crease([(half * step / 10, low - 0.08), (half * step / 10, low + 0.02)], ribs - 18, 0.01)
    if not hood:
        _neckline(s, cut, s.vary(0.02, 0.2), s.chance(0.25))
        return
    _neckline(s, cut, s.vary(0.08, 0.16), True)
    pouch = [(0.0, 0.02), (0.18, 0.02), (0.3, low - 0.14), (0.3, low - 0.09), (0.0, low - 0.09)]
    s.cloth(mirrored(pouch), DARKER + 14, 1)
    for side in (-1, 1):
        s.canvas.stroke([(side * 0.07, -0.62), (side * s.vary(0.05, 0.1), s.vary(-0.4, -0.2))], s.light, 0.018)
    if s.chance(0.35):
        s.canvas.stroke([(0, -0.6), (0, low)], s.metal, 0.02)


def jacket(s: Sketch) -> None:
    """Closed with a zip or open over a shirt; with lapels and down to the knees where it is a coat."""
    long = s.look.style == "coat"
    cut = _cut(s, s.vary(0.8, 1.15) if long else s.vary(0.32, 0.55), worn=0.45, loose=s.vary(0.02, 0.06))
    _sleeves(s, cut, s.vary(0.94, 1.0), s.vary(0.32, 0.4), s.vary(0.19, 0.24))
    _torso(s, cut)
    low = cut.bottom
    lapels = s.chance(0.8 if long else 0.4)
    gap = s.vary(0.1, 0.26) if s.chance(0.4) else 0.0
    if gap:
        s.part([(-0.12, -0.8), (0.12, -0.8), (gap, low + 0.01), (-gap, low + 0.01)], s.other, tone=DARKER, rounds=0)
    _neckline(s, cut, s.vary(0.2, 0.5) if lapels else 0.05, True)
    _fronts(s, cut, gap, lapels)
    for side in (-1, 1):
        x, y = side * cut.hem * 0.55, s.vary(0.02, 0.16)
        s.canvas.crease([(x - 0.11, y), (x + 0.11, y + side * s.vary(-0.1, 0.1))], DARKER - 30, 0.022)
    if long and s.chance(0.5):
        s.cloth(limb([(-cut.chest, 0.08), (cut.chest, 0.08)], [0.1, 0.1]), tone=DARKER, rounds=0)
        s.part(box(0, 0.08, 0.06, 0.07), s.dark, rounds=0)


def _fronts(s: Sketch, cut: Cut, gap: float, lapels: bool) -> None:
    """A jacket's two edges: lapels and buttons, or a stand-up collar and a zip."""
    low = cut.bottom
    for side in (-1, 1):
        outer = side * cut.neck * 1.3
        if lapels:
            tip = (side * s.vary(0.22, 0.3), -0.5)
            lapel = [(side * 0.1, -0.88), (outer, -0.78), tip, tip, (side * 0.03, -0.08), (side * 0.08, -0.5)]
            s.cloth(lapel, NEUTRAL + 10, 1)
        else:
            s.cloth([(0, -0.72), (side * 0.04, -0.92), (outer, -0.86), (outer, -0.72)], NEUTRAL - 12, 1)
        if gap:
            s.canvas.crease([(side * 0.1, -0.6), (side * gap, low)], DARKER - 30, 0.03)
    if lapels and not gap:
        s.canvas.crease([(0, -0.1), (0, low)], DARKER - 20, 0.016)
        for x in (-0.12, 0.12) if s.chance(0.4) else (0.03,):
            s.buttons(x, 0.0, min(low - 0.1, 0.6), int(s.vary(3, 5)))
    elif not gap:
        s.canvas.stroke([(0, -0.88), (0, low)], s.metal if s.chance(0.7) else s.dark, 0.03)


def dress(s: Sketch) -> None:
    """A bodice with a skirt below; to the floor where it is a formal one."""
    low = s.vary(0.95, 1.2) if s.look.style == "long" else s.vary(0.5, 0.85)
    cut = _cut(s, low, worn=0.6, bare=True)
    waist, flare = s.vary(0.24, 0.32), s.vary(0.36, 0.75)
    strapless = s.chance(0.45)
    if not strapless:
        share = s.vary(0.85, 1.0) if s.chance(0.25) else s.vary(0.14, 0.35)
        _sleeves(s, cut, share, s.vary(0.2, 0.3), s.vary(0.14, 0.26))
    top = [(0.12, -0.42), (0.26, -0.54)] if strapless else [(cut.neck, -0.8), (cut.shoulder * 0.92, -0.7)]
    right = [(0.0, top[0][1]), *top, (cut.chest * 0.8, -0.36), (waist, -0.04), (waist, 0.0)]
    right += [(flare * s.vary(0.6, 0.95), (low + 0.1) / 2), (flare, low), (flare, low), (flare * 0.5, low + 0.03)]
    s.cloth(mirrored([*right, (0, low + 0.04)]))
    if strapless:
        for side in (-1, 1):
            s.canvas.stroke([(side * 0.24, -0.52), (side * s.vary(0.13, 0.24), -0.8)], s.main, s.vary(0.02, 0.07))
    else:
        _neckline(s, cut, s.vary(0.08, 0.26), s.chance(0.5))
    s.pleats(waist, flare, 0.02, low)
    if s.chance(0.4):
        s.part(limb([(-waist, -0.02), (waist, -0.02)], [0.08, 0.08]), s.second if s.chance(0.5) else s.dark, rounds=0)


TOPS: dict[str, Callable[[Sketch], None]] = {
    "t-shirt": tshirt,
    "shirt": shirt,
    "sweater": sweater,
    "jacket": jacket,
    "dress": dress,
}
