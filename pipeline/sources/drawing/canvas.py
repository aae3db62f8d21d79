"""Where the demo source draws: shapes in a garment's own coordinates, kept as layers until the photograph is made."""

import math

import numpy as np
from PIL import Image, ImageDraw

# Shapes are drawn this many times larger than the photograph and averaged down, which smooths their edges.
SUPERSAMPLING = 2
# The shading layer is a factor in units of 1/128, so that a byte holds both shadows and highlights.
NEUTRAL = 128
# What soft edges are mixed with: a colour layer that began black would outline everything.
GREY = (128, 128, 128)

Colour = tuple[int, int, int]
Points = np.ndarray | list[tuple[float, float]]


def smooth(points: Points, rounds: int = 2) -> np.ndarray:
    """Rounds a closed outline by cutting its corners; a point given twice stays a corner."""
    outline = np.asarray(points, dtype=np.float64)
    for _ in range(rounds):
        following = np.roll(outline, -1, axis=0)
        outline = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following], axis=1)
        outline = outline.reshape(-1, 2)
    return outline


def mirrored(right: Points) -> np.ndarray:
    """The closed outline whose right half, from top to bottom, is `right`."""
    half = np.asarray(right, dtype=np.float64)
    return np.concatenate([half, half[::-1] * [-1.0, 1.0]])


def limb(path: Points, widths: list[float]) -> np.ndarray:
    """The outline of a sleeve, leg or strap along `path`: at each point as wide as `widths` says, square at the end."""
    spine = np.asarray(path, dtype=np.float64)
    along = np.gradient(spine, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    offset = np.stack([-along[:, 1], along[:, 0]], axis=1) * np.asarray(widths)[:, None] / 2
    left, right = spine + offset, (spine - offset)[::-1]
    return np.concatenate([left, left[-1:], right[:1], right])


def ellipse(x: float, y: float, across: float, down: float, start: float = 0.0, end: float = 2 * math.pi) -> np.ndarray:
    """Points on an ellipse of the given half axes, from angle `start` to `end` (clockwise, as y points down)."""
    angles = np.linspace(start, end, 28)
    return np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], axis=1)


def box(x: float, y: float, across: float, down: float) -> np.ndarray:
    """A rectangle around a point, of the given half sides."""
    return np.array([(x - across, y - down), (x + across, y - down), (x + across, y + down), (x - across, y + down)])


class Canvas:
    """Four layers that grow together: colour, coverage, which part is cloth, and how light or dark it is.

    Coordinates: x to the right and y down from the garment's centre; a garment lies within about one unit of it. The
    canvas turns, scales and moves them to pixels, so silhouettes need not know where in the photograph they are.

    Args:
        size: the photograph's width and height.
        scale: the photograph's pixels to one unit.
        rng: draws the placement, and the unevenness of outlines.
    """

    def __init__(self, size: tuple[int, int], scale: float, rng: np.random.Generator):
        self.size = size
        self.rng = rng
        large = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
        self.layers = [
            Image.new(mode, large, fill) for mode, fill in (("RGB", GREY), ("L", 0), ("L", 0), ("L", NEUTRAL))
        ]
        self._colour, self._cover, self._cloth, self._shade = map(ImageDraw.Draw, self.layers)
        self.matrix = self._pose(scale)
        self.origin = np.array(size) * (0.5 + np.clip(rng.normal(0, 0.035, 2), -0.08, 0.08))

    def _pose(self, scale: float) -> np.ndarray:
        """The matrix from units to pixels: tilted, stretched and slanted a little, at times mirrored."""
        tilt = self.rng.normal(0, 0.07) if self.rng.random() < 0.85 else self.rng.normal(0, 0.35)
        stretch = math.exp(self.rng.normal(0, 0.06))
        slant = self.rng.normal(0, 0.05)
        turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
        flip = -1.0 if self.rng.random() < 0.5 else 1.0
        return scale * turn @ np.array([[flip * stretch, slant], [0.0, 1 / stretch]])

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        placed = (np.asarray(points) @ self.matrix.T + self.origin) * SUPERSAMPLING
        return list(map(tuple, placed.tolist()))

    def fill(self, points: Points, colour: Colour, cloth: bool = False, tone: int = NEUTRAL, rounds: int = 2) -> None:
        """Fills a closed outline.

        Args:
            points: the outline, rounded before it is filled.
            colour: its colour, which only shows where it is not cloth.
            cloth: True where the look's pattern covers it.
            tone: how light it is; NEUTRAL for as it is.
            rounds: how much the outline is rounded; 0 for not at all.
        """
        uneven = np.asarray(points) + self.rng.normal(0, 0.006, (len(points), 2))
        outline = self._pixels(smooth(uneven, rounds))
        self._colour.polygon(outline, fill=colour)
        self._cover.polygon(outline, fill=255)
        self._cloth.polygon(outline, fill=255 if cloth else 0)
        self._shade.polygon(outline, fill=tone)
        # Where two parts of one colour overlap, only the crease between them shows that they are two.
        self._shade.line([*outline, outline[0]], fill=max(0, tone - 34), width=SUPERSAMPLING)

    def crease(self, path: Points, tone: int, width: float) -> None:
        """Darkens or lightens a line without changing its colour: a seam, a fold, a pleat."""
        self._shade.line(self._pixels(path), fill=tone, width=self._thick(width), joint="curve")

    def stroke(self, path: Points, colour: Colour, width: float) -> None:
        """Draws a line in a colour of its own, over whatever is there: a lace, a zip, a stitch, a wire."""
        line = self._pixels(path)
        thick = self._thick(width)
        self._colour.line(line, fill=colour, width=thick, joint="curve")
        self._cover.line(line, fill=255, width=thick, joint="curve")
        self._cloth.line(line, fill=0, width=thick, joint="curve")

    def _thick(self, width: float) -> int:
        return max(1, round(width * SUPERSAMPLING * math.sqrt(abs(np.linalg.det(self.matrix)))))

    def coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """Every pixel's place in the garment's own coordinates, so that a pattern turns with its garment."""
        width, height = self.size
        x = np.arange(width, dtype=np.float32)[None, :] - np.float32(self.origin[0])
        y = np.arange(height, dtype=np.float32)[:, None] - np.float32(self.origin[1])
        (xu, yu), (xv, yv) = np.linalg.inv(self.matrix).astype(np.float32)
        return xu * x + yu * y, xv * x + yv * y
