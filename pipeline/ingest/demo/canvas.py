"""Where the demo source draws: shapes in a garment's units, kept as layers until the photograph is made."""

import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

# Shapes are drawn this many times larger than the photograph and averaged down, which smooths their edges.
SUPERSAMPLING = 2
# The shading layer is a factor in units of 1/128, so that a byte holds both shadows and highlights.
NEUTRAL = 128
Colour = tuple[int, ...]


def limb(path: np.ndarray) -> np.ndarray:
    """The outline of a sleeve, strap or line, square at both ends, from rows of x, y and how broad it is there."""
    spine = path[:, 0] + 1j * path[:, 1]
    steps = np.diff(spine)
    along = np.concatenate([steps[:1], steps]) + np.concatenate([steps, steps[-1:]])
    offset = 0.5j * path[:, 2] * along / (np.abs(along) + 1e-9)
    left, right = spine + offset, spine - offset
    outline = np.concatenate([left[:1], left, left[-1:], right[-1:], right[::-1], right[:1]])
    return outline.view(np.float64).reshape(-1, 2)


@cache
def _rounding(count: int) -> np.ndarray:
    """The matrix that rounds an outline by cutting its corners twice: float64 [4 * count, count]."""
    matrix = np.eye(count)
    for _ in range(2):
        following = np.roll(matrix, -1, axis=0)
        matrix = np.hstack([0.75 * matrix + 0.25 * following, 0.25 * matrix + 0.75 * following]).reshape(-1, count)
    return matrix


class Canvas:
    """Four layers that grow together: colour, coverage, which part is cloth, and how light or dark it is.

    Args:
        size: the photograph's width and height in pixels.
        scale: pixels to one unit, before the garment is turned, stretched and moved a little.
        centre: the height in units that lies in the photograph's middle; x points to the right and y down.
        rng: draws the pose, and the unevenness of outlines.
    """

    def __init__(self, size: tuple[int, int], scale: float, centre: float, *, rng: np.random.Generator):
        self.size, self._rng = size, rng
        # The colour layer begins grey, because soft edges are mixed with it.
        fills = (("RGB", (128, 128, 128)), ("L", 0), ("L", 0), ("L", NEUTRAL))
        large = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
        self.layers = [Image.new(mode, large, fill) for mode, fill in fills]
        self._pens = [ImageDraw.Draw(layer) for layer in self.layers]
        tilt, stretch = rng.normal(0, 0.08 if rng.random() < 0.8 else 0.4), math.exp(rng.normal(0, 0.06))
        turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
        flip = 1 if rng.random() < 0.5 else -1
        self._matrix = scale * turn @ np.array([[flip * stretch, rng.normal(0, 0.05)], [0, 1 / stretch]])
        middle = np.array(size) * (0.5 + np.clip(rng.normal(0, 0.045, 2), -0.1, 0.1))
        self._origin = middle - self._matrix @ [0, centre]

    def fill(self, outline: np.ndarray, tone: int, colour: Colour | None, *, cloth: bool) -> None:
        """Fills a closed outline, float64 [points, 2] in units; it is rounded, but a point given twice stays a corner.

        A tone of NEUTRAL leaves the colour as it is; without a colour, what is there only gets the tone. Where it is
        cloth, the garment's pattern covers it.
        """
        uneven = outline + 0.006 * self._rng.standard_normal(outline.shape) if colour else outline
        points = _rounding(len(uneven)) @ (uneven @ self._matrix.T + self._origin) * SUPERSAMPLING
        pixels = points.ravel().tolist()
        self._pens[3].polygon(pixels, fill=tone)
        if colour:
            fills: tuple[Colour | int, ...] = (colour, 255, 255 * cloth)
            for pen, fill in zip(self._pens, fills, strict=False):
                pen.polygon(pixels, fill=fill)
            # Where two parts of one colour overlap, only the crease between them shows that they are two.
            self._pens[3].line([*pixels, *pixels[:2]], fill=max(0, tone - 34), width=SUPERSAMPLING)

    def coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """Every pixel's x and y in units: two float32 [height, width]; so a pattern turns with its garment."""
        across, down = (np.arange(side, dtype=np.float32) for side in self.size)
        (xu, yu), (xv, yv) = np.linalg.inv(self._matrix).astype(np.float32)
        across, down = across - np.float32(self._origin[0]), down[:, None] - np.float32(self._origin[1])
        return xu * across + yu * down, xv * across + yv * down
