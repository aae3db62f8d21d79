"""Calibration: it finds what was done to the logits, changes no order, and leaves alone what it cannot mend.

And how far probabilities are from what is true: by hand, as scikit-learn has it, and on resamples of the users.
"""

import numpy as np
import polars as pl
import pytest
from sklearn.calibration import calibration_curve

from pipeline.metrics.bootstrap import estimate, resample, sample_weights
from pipeline.metrics.calibration import error_by_chance, expected_calibration_error, reliability, without_excess
from pipeline.metrics.measure import Predictions, Protocol, main_values, measure
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


# How far probabilities are from what is true

SCORES = np.array([[0.05, 0.95], [0.05, 0.85], [0.15, 0.95]])
TRUTH = np.array([[False, True], [True, False], [False, False]])
ONCE = np.ones((1, 3))


def test_the_error_is_that_of_the_formula_worked_out_by_hand():
    """Bins: 0.05 twice, one true; 0.15, false; 0.85, false; 0.95 twice, one true."""
    wanted = (2 * abs(0.05 - 0.5) + 0.15 + 0.85 + 2 * abs(0.95 - 0.5)) / 6
    assert expected_calibration_error(SCORES, TRUTH, ONCE) == pytest.approx([wanted])
    bins = [(part.name, part.n, *part.probability, *part.share_true) for part in reliability(SCORES, TRUTH, ONCE)]
    assert bins == [
        ("0.0-0.1", 2, 0.05, 0.5),
        ("0.1-0.2", 1, 0.15, 0),
        ("0.8-0.9", 1, 0.85, 0),
        ("0.9-1.0", 2, 0.95, 0.5),
    ]


def test_an_upper_edge_belongs_to_its_bin_and_both_ends_to_one():
    scores = np.array([[0.0, 0.1, 0.3, 0.5, 1.0]])
    names = [part.name for part in reliability(scores, scores > 0.4, np.ones((1, 1)))]
    assert names == ["0.0-0.1", "0.2-0.3", "0.4-0.5", "0.9-1.0"]


def test_bins_and_error_are_those_of_scikit_learn_s_curve(rng):
    logits, truth = drawn(rng, slope=0.5, offset=-1)
    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    share_true, probability = calibration_curve(truth.ravel(), scores.ravel(), n_bins=10)
    bins = reliability(scores, truth, np.ones((1, len(scores))))
    assert [part.share_true[0] for part in bins] == pytest.approx(share_true)
    assert [part.probability[0] for part in bins] == pytest.approx(probability)
    assert sum(part.n for part in bins) == truth.size
    error = np.average(abs(share_true - probability), weights=[part.n for part in bins])
    assert expected_calibration_error(scores, truth, np.ones((1, len(scores)))) == pytest.approx([error])


def test_a_resample_is_the_sets_that_are_in_it(rng):
    logits, truth = drawn(rng, shape=(40, 3))
    scores, weights = 1 / (1 + np.exp(-logits)), resample(40, 5, seed=0)
    sampled = expected_calibration_error(scores, truth, weights)
    by_name = {part.name: part for part in reliability(scores, truth, weights)}
    for row, value in enumerate(sampled):
        sets = np.repeat(np.arange(40), weights[row].astype(int))
        once = np.ones((1, len(sets)))
        assert expected_calibration_error(scores[sets], truth[sets], once) == pytest.approx([value])
        for part in reliability(scores[sets], truth[sets], once):
            assert by_name[part.name].share_true[row] == pytest.approx(part.share_true[0])
            assert by_name[part.name].probability[row] == pytest.approx(part.probability[0])


def test_a_resample_without_a_pair_of_a_bin_says_nothing_of_it():
    *_, last = reliability(SCORES, TRUTH, np.array([[1, 1, 1], [0, 3, 0]]))
    assert (last.probability.tolist(), last.share_true.tolist()) == ([0.95, 0.95], [0.5, 0.5])


def test_a_head_that_claims_too_much_is_further_from_the_truth_before_than_after(rng):
    logits, truth = drawn(rng, slope=0.4, offset=-1.5, shape=(4000, 6))
    slope, offset = fit_calibration(logits[:2000], truth[:2000])
    once = np.ones((1, 2000))
    before, after = (
        expected_calibration_error(1 / (1 + np.exp(-values)), truth[2000:], once)[0]
        for values in (logits[2000:], slope * logits[2000:] + offset)
    )
    assert before > 0.1
    assert after < 0.02
    assert all(
        part.share_true < part.probability
        for part in reliability(1 / (1 + np.exp(-logits[:2000])), truth[:2000], once)[3:]
    )


def test_the_error_by_chance_is_that_of_labels_drawn_as_the_probabilities_say(rng):
    scores = 1 / (1 + np.exp(-rng.normal(-2, 2, (180, 16))))
    once = np.ones((1, 180))
    drawn_errors = [expected_calibration_error(scores, rng.random(scores.shape) < scores, once) for _ in range(300)]
    assert error_by_chance(scores, once) == pytest.approx(np.mean(drawn_errors), rel=0.05)
    assert error_by_chance(scores[:45], once[:, :45]) > 1.5 * error_by_chance(scores, once), "fewer pairs"


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -1.0)])
def test_intervals_of_the_error_cover_its_mean_also_where_it_is_all_chance(rng, slope, offset):
    """As they come from the resamples, in the first case they cover it in two of three runs."""
    weights, runs = sample_weights(120, 200), []
    for _ in range(60):
        logits, truth = drawn(rng, slope, offset, shape=(120, 8))
        runs.append(expected_calibration_error(1 / (1 + np.exp(-logits)), truth, weights))
    mean = np.mean([errors[0] for errors in runs])
    intervals = [estimate(without_excess(errors)[None]) for errors in runs]
    assert np.mean([interval.low <= mean <= interval.high for interval in intervals]) > 0.85
    assert all(interval.low < interval.value < interval.high for interval in intervals)


def test_what_is_calibrated_has_values_before_and_after_and_all_others_stay(rng):
    logits, truth = drawn(rng, shape=(50, 4))
    truth[:, 0] |= ~truth.any(1)
    protocol = Protocol(labels=list("abcd"), ks=[2], resamples=20)
    scores = 1 / (1 + np.exp(-logits))
    plain = measure([Predictions(scores, truth, 0.5)], [3], protocol)
    values = measure([Predictions(scores, truth, 0.5, scores**0.5)], [3], protocol)
    added = pl.col("by").is_in(["calibration", "reliability before", "reliability after"])
    assert values.filter(~added).equals(plain)
    assert not len(plain.filter(added))
    errors = dict(values.filter(metric="ece", by="calibration", seed=3).select("segment", "value").iter_rows())
    once = np.ones((1, 50))
    assert errors["before"] == expected_calibration_error(scores**0.5, truth, once)[0]
    assert errors["after"] == expected_calibration_error(scores, truth, once)[0]
    assert errors["by chance"] == error_by_chance(scores, once)[0]
    for when in ("before", "after"):
        for metric in ("probability", "share_true"):
            assert values.filter(metric=metric, by=f"reliability {when}")["n"].sum() == truth.size
    assert set(values["samples"].list.len()) == {20}
    assert main_values(values) == main_values(plain)
