"""Calibration: it finds what was done to the logits, changes no order, and leaves alone what it cannot mend."""

import numpy as np
import pytest

from pipeline.training.calibration import fit_calibration


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def drawn(rng, slope=1.0, offset=0.0, shape=(2000, 6)):
    """Logits, and labels drawn with the probability sigmoid(slope z + offset)."""
    logits = rng.normal(-1, 2, shape).astype(np.float32)
    return logits, rng.random(shape) < 1 / (1 + np.exp(-(slope * logits + offset)))


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -2.0), (2.0, 1.0)])
def test_it_finds_slope_and_offset(rng, slope, offset):
    found = fit_calibration(*drawn(rng, slope, offset))
    assert found == pytest.approx((slope, offset), abs=0.1)


def test_scores_that_separate_the_labels_have_a_finite_slope():
    slope, offset = fit_calibration(np.array([[-1.0, 1.0]] * 50), np.array([[False, True]] * 50))
    assert 0 < slope < 1e4 and np.isfinite(offset)


@pytest.mark.parametrize("truth", [np.zeros((4, 3), bool), np.ones((4, 3), bool)])
def test_labels_that_are_all_alike_leave_the_head_as_it_is(truth, rng):
    assert fit_calibration(rng.normal(size=(4, 3)), truth) == (1.0, 0.0)


def test_a_head_whose_order_is_the_wrong_way_round_is_left_as_it_is(rng):
    logits, truth = drawn(rng)
    assert fit_calibration(-logits, truth) == (1.0, 0.0)


def test_infinite_logits_are_taken_as_very_sure():
    logits, truth = np.array([[-np.inf, np.inf]] * 50), np.array([[False, True]] * 50)
    assert all(np.isfinite(fit_calibration(logits, truth)))
