"""How sure a figure is: the bootstrap over users."""

import numpy as np

LEVEL = 0.95


def resample(n: int, times: int, seed: int) -> np.ndarray:
    """How often each of n users is in each bootstrap sample: float32 [times, n], each row sums to n."""
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, n, (times, n))
    return np.stack([np.bincount(draw, minlength=n) for draw in draws]).astype(np.float32)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of a figure's bootstrap values: the percentile interval (Efron, 1979)."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
