"""The demo source's pictures: sixteen kinds of garment, each drawn so that hardly two look alike."""

from dataclasses import dataclass

import numpy as np

from pipeline.sources.drawing.accessories import ACCESSORIES
from pipeline.sources.drawing.bottoms import BOTTOMS
from pipeline.sources.drawing.canvas import Canvas
from pipeline.sources.drawing.fabrics import COLOURS, background, cloth, develop, photograph
from pipeline.sources.drawing.figure import Look, Sketch
from pipeline.sources.drawing.shoes import SHOES
from pipeline.sources.drawing.tops import TOPS

_LEATHERS = ("black", "brown", "beige", "burgundy", "grey", "white", "navy", "red")
_SIZES = ((240, 320), (256, 320), (224, 300), (240, 300), (270, 270), (300, 240))


@dataclass(frozen=True)
class Range:
    """What a kind of garment is made in.

    Attributes:
        styles: its styles; one is drawn evenly.
        patterns: its patterns; one given twice is twice as likely.
        colours: its colours.
        scale: how large it is in the photograph: half the photograph's smaller side times this to a unit.
    """

    styles: tuple[str, ...]
    patterns: tuple[str, ...]
    colours: tuple[str, ...]
    scale: float


_BOLD = ("plain", "plain", "plain", "striped", "dotted", "checked", "floral")
_CALM = ("plain", "plain", "plain", "pinstriped", "checked")
_ALL = tuple(COLOURS)
_DENIMS = ("blue", "navy", "light blue", "black", "grey")
_RANGES: dict[str, Range] = {
    "t-shirt": Range(("short", "short", "tank"), (*_BOLD, "ombre", "camouflage"), _ALL, 1.0),
    "shirt": Range(
        ("button-down",), ("plain", "plain", "checked", "checked", "pinstriped", "striped", "floral"), _ALL, 1.0
    ),
    "sweater": Range(("pullover", "hoodie"), ("plain", "knitted", "knitted", "striped", "ombre"), _ALL, 1.0),
    "jacket": Range(("short", "coat"), ("plain", "plain", "plain", "checked", "denim", "camouflage"), _ALL, 0.95),
    "dress": Range(("short", "short", "long"), (*_BOLD, "ombre", "floral"), _ALL, 0.95),
    "skirt": Range(("skirt",), (*_BOLD, "denim"), _ALL, 1.05),
    "trousers": Range(("trousers",), (*_CALM, "camouflage"), _ALL, 0.95),
    "jeans": Range(("jeans",), ("denim",), _DENIMS, 0.95),
    "shorts": Range(("casual", "sport"), ("plain", "plain", "denim", "checked", "floral", "camouflage"), _ALL, 1.15),
    "sneaker": Range(("low",), ("plain", "plain", "plain", "ombre", "checked", "camouflage"), _ALL, 0.95),
    "boot": Range(("ankle", "knee"), ("plain",), _LEATHERS, 0.95),
    "sandal": Range(("flat", "heel"), ("plain", "plain", "dotted"), (*_LEATHERS, "pink", "yellow", "blue"), 0.95),
    "hat": Range(("cap", "brim"), (*_CALM, "camouflage", "knitted"), _ALL, 0.85),
    "handbag": Range(("tote", "shoulder"), ("plain", "plain", "plain", "striped", "checked", "floral"), _ALL, 0.9),
    "sunglasses": Range(("square", "round"), ("plain", "plain", "plain", "ombre"), _ALL, 0.95),
    "watch": Range(("round", "square"), ("plain",), _LEATHERS, 0.85),
}
KINDS: tuple[str, ...] = tuple(_RANGES)
_DRAWERS = TOPS | BOTTOMS | SHOES | ACCESSORIES


def imagine(kind: str, rng: np.random.Generator) -> Look:
    """Decides what can be said of a garment in words, before it is drawn."""
    made = _RANGES[kind]
    style, pattern, colour = (
        str(choices[rng.integers(len(choices))]) for choices in (made.styles, made.patterns, made.colours)
    )
    others = [name for name in COLOURS if name != colour]
    return Look(kind, style, colour, others[rng.integers(len(others))], pattern)


def draw(kind: str, rng: np.random.Generator) -> bytes:
    """Draws a garment of the kind as if photographed for a shop; the same generator gives the same JPEG bytes."""
    return depict(imagine(kind, rng), rng)


def depict(look: Look, rng: np.random.Generator) -> bytes:
    """Draws what `imagine` decided; `rng` as `imagine` left it gives the same picture as `draw`."""
    size = _SIZES[rng.integers(len(_SIZES))]
    near = rng.uniform(0.68, 1.04) if rng.random() < 0.8 else rng.uniform(0.5, 1.35)
    # A portrait's smaller side is its width, but clothes are taller than they are wide.
    unit = min(size[0], size[1] / 1.15) / 2
    canvas = Canvas(size, unit * near * _RANGES[look.kind].scale, rng)
    sketch = Sketch(canvas, look, rng)
    _DRAWERS[look.kind](sketch)
    sheet = cloth(look.pattern, sketch.main, sketch.second, canvas, rng)
    return develop(photograph(canvas, sheet, background(size, rng), rng), rng)
