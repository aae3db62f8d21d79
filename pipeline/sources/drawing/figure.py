"""The demo source's sketch of one garment: its canvas and colours, and the person who may be wearing it."""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.sources.drawing.canvas import NEUTRAL, Canvas, Colour, Points, ellipse, limb
from pipeline.sources.drawing.fabrics import COLOURS, shift

SKINS: tuple[Colour, ...] = ((240, 208, 184), (224, 180, 148), (196, 146, 110), (142, 98, 68), (92, 62, 44))
HAIRS: tuple[Colour, ...] = ((32, 26, 24), (70, 46, 32), (128, 88, 52), (206, 170, 110), (120, 116, 112))
STEEL: Colour = (176, 178, 184)
GOLD: Colour = (204, 166, 88)
DARKER = NEUTRAL - 26
LIGHTER = NEUTRAL + 18
Path = list[tuple[float, float]]


@dataclass(frozen=True)
class Look:
    """What can be said of a garment in words, decided before it is drawn.

    Attributes:
        kind: one of garments.KINDS.
        style: one of the kind's styles, such as "long" for a dress.
        colour: the main colour's name.
        second: the pattern's other colour's name.
        pattern: one of fabrics.PATTERNS.
    """

    kind: str
    style: str
    colour: str
    second: str
    pattern: str


class Sketch:
    """A garment being drawn: what the silhouettes have in common.

    Args:
        canvas: where it is drawn.
        look: what is drawn.
        rng: draws everything that the look leaves open.
    """

    def __init__(self, canvas: Canvas, look: Look, rng: np.random.Generator):
        self.canvas = canvas
        self.look = look
        self.rng = rng
        self.main = shift(COLOURS[look.colour], rng, 9)
        self.second = shift(COLOURS[look.second], rng, 9)
        self.dark = shift((44, 42, 44), rng, 10)
        self.light = shift((224, 222, 216), rng, 10)
        self.metal = shift(STEEL if self.chance(0.6) else GOLD, rng, 8)
        self.skin = shift(SKINS[rng.integers(len(SKINS))], rng, 7)
        self.hair = shift(HAIRS[rng.integers(len(HAIRS))], rng, 6)
        names = list(COLOURS)
        self.other = shift(COLOURS[names[rng.integers(len(names))]], rng, 15)

    def vary(self, low: float, high: float) -> float:
        """A number between the two."""
        return float(self.rng.uniform(low, high))

    def chance(self, likely: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < likely)

    def cloth(self, points: Points, tone: int = NEUTRAL, rounds: int = 2) -> None:
        """A part that the pattern covers."""
        self.canvas.fill(points, self.main, cloth=True, tone=tone, rounds=rounds)

    def part(self, points: Points, colour: Colour, tone: int = NEUTRAL, rounds: int = 2) -> None:
        """A part in one colour."""
        self.canvas.fill(points, colour, tone=tone, rounds=rounds)

    def folds(self, number: int, left: float, right: float, top: float, bottom: float, lean: float = 0.1) -> None:
        """Soft folds that hang at chance within the given limits."""
        for _ in range(number):
            x, y = self.vary(left, right), self.vary(top, bottom)
            length = self.vary(0.1, 0.4) * (bottom - top)
            tone = NEUTRAL + int(self.rng.choice([-22, -14, 12]))
            self.canvas.crease([(x, y), (x + self.vary(-lean, lean), y + length)], tone, self.vary(0.012, 0.04))

    def pleats(self, waist: float, hem: float, top: float, low: float) -> None:
        """Folds that spread from a waist of half width `waist` to a hem of half width `hem`."""
        for step in range(int(self.vary(4, 11))):
            at = self.vary(-0.9, 0.9)
            start = (at * waist, top + self.vary(0, 0.3) * (low - top))
            self.canvas.crease([start, (at * hem, low)], NEUTRAL + (-24 if step % 2 else 12), self.vary(0.015, 0.04))

    def buttons(self, x: float, top: float, bottom: float, number: int) -> None:
        """A row of buttons downwards."""
        colour = self.light if self.chance(0.6) else self.dark
        for y in np.linspace(top, bottom, number).tolist():
            self.part(ellipse(x, y, 0.022, 0.022), colour, rounds=0)


def head(s: Sketch, x: float = 0.0, y: float = -1.1, size: float = 0.19) -> None:
    """A head from the front, with hair and a hint of a face, and the neck below it."""
    if s.chance(0.5):
        s.part(
            limb([(x, y - size), (x, y), (x, y + size * s.vary(1.2, 3))], [size * 1.8, size * 2.7, size * 2.3]), s.hair
        )
    s.part(limb([(x, y), (x, y + size * 2.3)], [size, size * 1.15]), s.skin, tone=NEUTRAL - 16)
    s.part(ellipse(x, y - size * 0.3, size * 1.08, size * 1.2), s.hair)
    s.part(ellipse(x, y, size * 0.9, size * 1.18), s.skin)
    s.part(ellipse(x, y - size * 0.75, size * 0.95, size * 0.55, math.pi * 0.95, math.pi * 2.05), s.hair)
    for side in (-1, 1):
        s.part(ellipse(x + side * size * 0.38, y - size * 0.05, size * 0.13, size * 0.07), s.dark)
    s.part(ellipse(x, y + size * 0.55, size * 0.26, size * 0.08), (166, 84, 80))


def legs(s: Sketch, top: float, spread: float, colour: Colour, length: float = 1.5) -> list[Path]:
    """Two legs down from the hips, in any colour; returns where they run, so that trousers can follow them."""
    paths = []
    for side in (-1, 1):
        knee, foot = side * (0.17 + spread / 2), side * (0.17 + spread)
        path = [(side * 0.17, top), (knee, top + length / 2), (foot, top + length)]
        s.part(limb(path, [0.34, 0.24, 0.15]), colour)
        paths.append(path)
    return paths


def feet(s: Sketch, paths: list[Path]) -> None:
    """Plain shoes at the end of two legs."""
    for path in paths:
        x, y = path[-1]
        s.part(ellipse(x * 1.1, y + 0.04, 0.12, 0.09), s.dark if s.look.colour != "black" else s.light)
