"""The crops of an image that training sees: the first one is stage one's, the others are random, the same each time."""

import numpy as np

from pipeline.images import Crop, resize_crop

LEAST_AREA = 0.35  # of the image, that a random view shows
SHAPES = (3 / 4, 4 / 3)  # width to height of what it shows, between these
CONTRAST, BRIGHTNESS = 0.2, 0.15  # at most, up or down; brightness as a share of white
MIDDLE, WHITE = 128, 255


def views(pixels: np.ndarray, crop: Crop, count: int, *, seed: tuple[int, ...]) -> np.ndarray:
    """Some views of an image.

    Args:
        pixels: uint8 [height, width, 3].
        crop: what stage one takes of an image.
        count: how many.
        seed: of what is drawn.

    Returns:
        uint8 [count, size, size, 3]; the first is stage one's.

    >>> views(np.zeros((40, 30, 3), np.uint8), Crop(8, 9, "bicubic"), 3, seed=(0, 1)).shape
    (3, 8, 8, 3)
    """
    rng = np.random.default_rng(seed)
    return np.stack([resize_crop(pixels, crop), *(_random(pixels, crop, rng) for _ in range(count - 1))])


def _random(pixels: np.ndarray, crop: Crop, rng: np.random.Generator) -> np.ndarray:
    """A part of the image, upright or mirrored, lighter or darker, made as large as stage one's square."""
    height, width = pixels.shape[:2]
    area = rng.uniform(LEAST_AREA, 1) * height * width
    shape = np.exp(rng.uniform(*np.log(SHAPES)))
    wide, high = (
        int(np.clip(side, 1, most)) for side, most in ((np.sqrt(area * shape), width), (np.sqrt(area / shape), height))
    )
    left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
    square = Crop(crop.size, crop.size, crop.interpolation)
    part = resize_crop(np.ascontiguousarray(pixels[top : top + high, left : left + wide]), square).astype(np.float32)
    part = (
        (part - MIDDLE) * (1 + rng.uniform(-CONTRAST, CONTRAST)) + MIDDLE + WHITE * rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    )
    return np.clip(part[:, ::-1] if rng.integers(2) else part, 0, WHITE).astype(np.uint8)
