"""Arithmetic on vectors that several rooms need."""

import numpy as np


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine between the vectors of two arrays, row by row, in float64.

    Args:
        a: float [n, d].
        b: float [n, d].

    Returns:
        float64 [n]; 0 where a vector is all zeros, NaN where one is not finite: compare with `not cosine >= least`.

    >>> cosines(np.array([[1.0, 0.0], [0.0, 0.0], [np.nan, 1.0]]), np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    array([ 1.,  0., nan])
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(1), lengths, out=np.zeros(len(a)), where=lengths != 0)
