"""Probabilities that mean what they say: of all labels to which a head gives 0.7, seven in ten are there.

J. Platt, "Probabilistic outputs for support vector machines", 1999: the logits z become slope z + offset, fitted to the
truth of the validation sets. One pair for all labels: what puts heads off is the weight of positives in the loss, the
same for every label, and that training goes on beyond the best fit. So no order changes, neither that of the labels of
a set nor that of the sets of a label, and every ranking metric stays as it was.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEAK = 1e4  # inverse of the penalty on the slope: it only keeps one finite where truth and scores agree in everything
SURE = 80.0  # a logit beyond it is no surer
AS_IT_IS = (1.0, 0.0)


def fit_calibration(logits: "NDArray[np.floating]", truth: "NDArray[np.bool_]") -> tuple[float, float]:
    """Slope, above 0, and offset with which the sigmoid of logits fits the truth best, by its log loss.

    Args:
        logits: of validation sets, float [n, c].
        truth: bool [n, c].

    Returns:
        (1, 0) where nothing can be fitted: all labels are true or none is, or the labels with the higher logits are
        true less often.

    >>> logits = np.repeat([[-2.0, 2.0]], 10, axis=0)  # probabilities 0.12 and 0.88
    >>> truth = np.array([[False, True]] * 7 + [[True, False]] * 3)
    >>> slope, offset = fit_calibration(logits, truth)
    >>> (1 / (1 + np.exp(-(slope * logits[0] + offset)))).round(3)
    array([0.3, 0.7])
    """
    from sklearn.linear_model import LogisticRegression  # here: it takes a second

    if truth.all() or not truth.any():
        return AS_IT_IS
    bounded = np.clip(logits.reshape(-1, 1).astype(np.float64), -SURE, SURE)
    fitted = LogisticRegression(C=WEAK).fit(bounded, truth.ravel())
    slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return (slope, offset) if slope > 0 else AS_IT_IS
