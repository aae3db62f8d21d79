"""The demo source's pictures: sixteen kinds of garments, drawn from tables so that hardly two look alike."""

import re
from dataclasses import dataclass

import numpy as np

from pipeline.ingest.demo.canvas import NEUTRAL, Canvas, limb
from pipeline.ingest.demo.cloth import COLOURS, cloth, shift
from pipeline.ingest.demo.scene import photograph
from pipeline.ingest.demo.wardrobe import PAINTS, TABLES

_LEATHERS = "black, brown, beige, burgundy, grey, white, navy, red"
_SIZES = ((240, 320), (256, 320), (224, 300), (240, 300), (270, 270), (300, 240))
_CIRCLE = np.column_stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)])
_NOTATION = re.compile(r"(?:\[(.*)\] )?([a-z]+)(?: ([a-z]+))?(?: ?([+-]\d+)(?![\d:,]))?(.*?)(?: \*(.*))?")


@dataclass(frozen=True)
class Garment:
    """What can be said of a garment in words, decided before it is drawn: `second` is its pattern's second colour."""

    kind: str
    style: str
    colour: str
    second: str
    pattern: str


class _Part:
    """A part of a table, read. Its numbers are in units: the low ends of their ranges, and how far those reach."""

    def __init__(self, text: str):
        read = _NOTATION.fullmatch(text)
        if read is None:
            raise ValueError(f"not a part of a table: {text!r}")
        conditions, verb, paint, tone, points, copies = map(str, read.groups(default=""))
        self.verb, self.paint = verb, paint or ("" if tone else "cloth")
        self.conditions, self.tone = conditions.split(), NEUTRAL + int(tone or 0)
        self.points = self._ranges(re.sub(r"(\S+)!", r"\1 \1", points) or "0,0,100,100")
        self.copies = self._ranges(copies) if copies else None

    @staticmethod
    def _ranges(text: str) -> tuple[np.ndarray, np.ndarray]:
        rows = [[(number.split(":") * 2)[:2] for number in point.split(",")] for point in text.split()]
        low, high = np.moveaxis(np.array(rows, dtype=np.float64) / 100, -1, 0)
        return low, high - low


_BLOCKS = [re.split(r"; |\n", block.strip()) for block in re.split("^= ", TABLES, flags=re.MULTILINE)[1:]]
_PARTS = {head.split(":")[0]: [_Part(part) for part in parts] for head, *parts in _BLOCKS}
_CHOICES = {name: made.split(" / ") for name, _, made in (head.partition(": ") for head, *_ in _BLOCKS) if made}
KINDS: tuple[str, ...] = tuple(_CHOICES)


class _Sketch:
    """A garment being drawn: its paints, the words that hold, where arms and legs run, how later parts are fitted."""

    def __init__(self, canvas: Canvas, garment: Garment, rng: np.random.Generator):
        self._canvas, self._kind, self._rng, self._seed = canvas, garment.kind, rng, rng.integers(2**32)
        self._words, self._fit = {garment.style, garment.pattern}, np.array([[0.0, 1.0, 0.0]])
        self._bones: dict[str, np.ndarray] = {}
        self.paints = {
            "cloth": shift(COLOURS[garment.colour], 9, rng),
            "second": shift(COLOURS[garment.second], 9, rng),
        }
        for name, *choices in map(str.split, re.split("; |\n", PAINTS)):
            choice = choices[rng.integers(len(choices))]
            self.paints[name] = self.paints.get(choice) or shift(tuple(bytes.fromhex(choice)), 9, rng)
        self.paints["contrast"] = self.paints["dark" if sum(self.paints["trim"]) > 380 else "light"]

    def draw(self, table: str, offset: np.ndarray, factor: np.ndarray) -> None:
        """Draws a table, its points multiplied by `factor` and moved by `offset`."""
        # The same table used twice looks the same: two shoes are a pair.
        rng, self._rng = self._rng, np.random.default_rng(self._seed)
        for part in _PARTS.get(table) or _PARTS[self._kind]:
            if all(map(self._holds, part.conditions)):
                count, *step = self._drawn(part.copies)[0] if part.copies else (0.01,)
                for copy in range(round(100 * count)):
                    points = self._drawn(part.points)
                    if copy:
                        points[:, :2] += np.multiply(copy, step)
                    self._add(part, points, offset=offset, factor=factor)
        self._rng = rng

    def _holds(self, condition: str) -> bool:
        if condition.isdigit():
            return self._rng.random() < int(condition) / 100
        return (condition.strip("!") in self._words) != condition.startswith("!")

    def _drawn(self, ranges: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return ranges[0] + ranges[1] * self._rng.random(ranges[0].shape)

    def _add(self, part: _Part, points: np.ndarray, *, offset: np.ndarray, factor: np.ndarray) -> None:
        match part.verb:
            case "set":
                self._words.add(part.paint)
            case "fit":
                self._fit = points
            case "bone":
                joints = self._fitted(points)
                self._bones[part.paint] = np.vstack([joints, 1.6 * joints[2] - 0.6 * joints[1]])
            case "use":
                self.draw(part.paint, points[0, :2] * factor + offset, points[0, 2:] * factor)
            case _:
                outline = self._outline(part.verb, points)
                for side in (1,) if part.verb in ("one", "half") else (1, -1):
                    placed = outline * [side, 1] * factor + offset
                    colour = self.paints.get(part.paint)
                    self._canvas.fill(placed, part.tone, colour, cloth=part.paint == "cloth")

    def _outline(self, verb: str, points: np.ndarray) -> np.ndarray:
        if verb in self._bones:
            path = (np.interp(points[:, 0], [0, 0.5, 1, 1.3], axis) for axis in self._bones[verb].T)
            return limb(np.column_stack([*path, points[:, 1]]))
        outline = self._fitted(points)
        if outline.shape[1] > 2:
            outline = limb(outline) if outline.shape[1] == 3 else outline[0, :2] + outline[0, 2:] * _CIRCLE
        return np.concatenate([outline, outline[::-1] * [-1, 1]]) if verb == "half" else outline

    def _fitted(self, points: np.ndarray) -> np.ndarray:
        breadth, shifted = (np.interp(points[:, 1], self._fit[:, 0], column) for column in self._fit[:, 1:].T)
        return np.column_stack([points[:, 0] * breadth, points[:, 1] + shifted, points[:, 2:]])


def imagine(kind: str, rng: np.random.Generator) -> Garment:
    """Decides what can be said of a garment in words, before it is drawn."""
    styles, patterns, palette, _ = _CHOICES[kind]
    palette = palette.replace("any", ", ".join(COLOURS)).replace("leather", _LEATHERS)
    lists = (styles.split(), patterns.split(), palette.split(", "))
    style, pattern, colour = (choices[rng.integers(len(choices))] for choices in lists)
    seconds = [name for name in COLOURS if name != colour]
    return Garment(kind, style, colour, seconds[rng.integers(len(seconds))], pattern)


def depict(garment: Garment, rng: np.random.Generator, *, quality: tuple[int, int] = (75, 93)) -> bytes:
    """Draws the garment as if photographed for a shop; the same generator gives the same JPEG bytes.

    Args:
        garment: what is drawn.
        rng: draws all that the words leave open.
        quality: of the JPEG, from the first to below the second.
    """
    size = _SIZES[rng.integers(len(_SIZES))]
    near = rng.uniform(0.5, 1.15) if rng.random() < 0.6 else rng.uniform(0.3, 1.8)
    scale, centre, *shown = _CHOICES[garment.kind][3].split()
    # A portrait's smaller side is its width, but clothes are taller than they are wide.
    unit = min(size[0], size[1] / 1.15) / 2 * near * int(scale) / 100
    canvas = Canvas(size, unit, int(centre) / 100, rng=rng)
    sketch = _Sketch(canvas, garment, rng)
    sketch.draw(shown[0] if shown else garment.kind, np.zeros(2), np.ones(2))
    sheet = cloth(garment.pattern, (sketch.paints["cloth"], sketch.paints["second"]), canvas, rng=rng)
    return photograph(canvas, sheet, rng, quality=quality)
