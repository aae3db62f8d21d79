"""The figures: worked out by hand, against scikit-learn, and against their own definitions."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_recall_curve,
    precision_recall_fscore_support,
)

from pipeline import metrics, statistics, summary
from pipeline.params import EvaluateSettings

FIGURES = ("precision", "recall", "f1", "ceiling", "published_precision", "published_recall", "published_f1")
ONCE = np.ones((1, 40))


def case(seed, labels=7, sets=40, steps=None):
    """Scores that say something of the truth, in `steps` distinct values; every set has a label, no set the last."""
    generator = np.random.default_rng(seed)
    truth = generator.random((sets, labels)) < 0.3
    truth[:, 0] |= ~truth[:, :-1].any(1)
    truth[:, -1] = False
    scores = np.clip(0.3 * truth + 0.7 * generator.random((sets, labels)), 0, 1)
    return (np.round(scores * steps) / steps if steps else scores).astype(np.float32), truth


def row(scores, labels):
    return np.array([scores]), np.isin(np.arange(len(scores)), labels)[None]


# Figures at k. Scores .9 .6 .6 .2 .1, true labels 0, 2 and 3: of the tied labels 1 and 2, one is true.
# k = 2 recommends 0 and either of them, half a hit; k = 3 recommends 0 1 2; k = 4 0 1 2 3; k = 10 all five.
# The published definition never counts 3 and 4, whose scores are below 0.5.
HAND = [  # k, precision, recall, f1, ceiling, published precision, recall, f1
    (1, 1 / 1, 1 / 3, 2 / 4, 2 / 4, 1 / 1, 1 / 3, 2 / 4),
    (2, 3 / 4, 1 / 2, 3 / 5, 4 / 5, 3 / 4, 1 / 2, 3 / 5),
    (3, 2 / 3, 2 / 3, 4 / 6, 6 / 6, 2 / 3, 2 / 3, 4 / 6),
    (4, 3 / 4, 3 / 3, 6 / 7, 6 / 7, 2 / 3, 2 / 3, 4 / 6),
    (10, 3 / 10, 3 / 3, 6 / 13, 6 / 13, 2 / 3, 2 / 3, 4 / 6),
]


@pytest.mark.parametrize(("k", "wanted"), [(line[0], line[1:]) for line in HAND])
def test_figures_at_k_by_hand(k, wanted):
    figures = metrics.at_k(*row([0.9, 0.6, 0.6, 0.2, 0.1], [0, 2, 3]), k)
    assert tuple(figures) == FIGURES
    assert [figures[name].item() for name in FIGURES] == pytest.approx(list(wanted))


def test_a_score_of_one_half_is_a_prediction_and_less_is_none():
    scores, truth = row([0.5, 0.49, 0.3], [0, 1])
    figures = metrics.at_k(scores, truth, 2)
    assert (figures["precision"], figures["published_precision"], figures["published_recall"]) == (1.0, 1.0, 0.5)
    nothing = metrics.at_k(scores - 0.01, truth, 2)
    assert [nothing[name].item() for name in FIGURES] == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_no_hit_is_zero_everywhere():
    figures = metrics.at_k(*row([0.9, 0.8, 0.1], [2]), 2)
    assert [figures[name].item() for name in FIGURES] == [0, 0, 0, pytest.approx(2 / 3), 0, 0, 0]


def test_labels_are_shown_in_the_order_of_scores_then_of_labels():
    scores = np.zeros((2, 300), np.float32)
    scores[1, 150:] = 0.5
    assert metrics.ranking(scores)[0].tolist() == list(range(300))
    assert metrics.ranking(scores)[1].tolist() == [*range(150, 300), *range(150)]


@pytest.mark.parametrize("k", [1, 2, 3, 6, 20])
@pytest.mark.parametrize("steps", [1, 3])
def test_ties_favour_nobody(k, steps):
    """A figure is the mean over random orders of equal scores, and the order of the labels does not matter."""
    scores, truth = case(3, steps=steps)
    found = metrics.at_k(scores, truth, k)
    generator = np.random.default_rng(0)
    sums = dict.fromkeys(FIGURES, 0.0)
    for _ in range(600):
        broken = metrics.at_k(scores + 1e-3 * generator.random(scores.shape), truth, k)
        sums = {name: sums[name] + broken[name] / 600 for name in FIGURES}
    for name in FIGURES:
        np.testing.assert_allclose(found[name], sums[name], atol=0.1, err_msg=name)
        assert found[name].mean() == pytest.approx(sums[name].mean(), abs=5e-3)
    backwards = metrics.at_k(scores[:, ::-1], truth[:, ::-1], k)
    for name in FIGURES:
        np.testing.assert_allclose(found[name], backwards[name])


@pytest.mark.parametrize("k", [1, 3, 7])
def test_scikit_learn_agrees_on_the_figures_at_k(k):
    scores, truth = case(4)
    recommended = np.zeros_like(truth)
    np.put_along_axis(recommended, np.argsort(-scores, 1)[:, :k], True, 1)
    for prefix, predicted in (("", recommended), ("published_", recommended & (scores >= 0.5))):
        wanted = precision_recall_fscore_support(truth, predicted, average="samples", zero_division=0)
        figures = [metrics.at_k(scores, truth, k)[prefix + name].mean() for name in ("precision", "recall", "f1")]
        assert figures == pytest.approx(wanted[:3])


@pytest.mark.parametrize("k", [1, 3, 6, 20])
def test_the_ceiling_is_what_a_perfect_ranking_reaches(k):
    scores, truth = case(1)
    perfect = metrics.at_k(truth.astype(np.float32), truth, k)
    np.testing.assert_allclose(perfect["f1"], perfect["ceiling"])
    assert (metrics.at_k(scores, truth, k)["f1"] <= perfect["ceiling"] + 1e-12).all()


# Figures over the whole split

CASES = [(0, None), (1, None), (2, 20), (3, 4), (4, 2), (5, 1)]  # seed, distinct scores: from no tie to nearly all tied


@pytest.mark.parametrize(("seed", "steps"), CASES)
def test_scikit_learn_agrees(seed, steps):
    scores, truth = case(seed, steps=steps)
    present, predicted = np.flatnonzero(truth.any(0)), scores >= 0.5
    assert len(present) < truth.shape[1]  # a label that nobody has takes no part in the macro figures
    assert metrics.micro_f1(predicted, truth, ONCE) == pytest.approx(f1_score(truth, predicted, average="micro"))
    macro = f1_score(truth, predicted, average="macro", labels=present, zero_division=0)
    assert metrics.macro_f1(predicted, truth, ONCE) == pytest.approx(macro)
    micro = average_precision_score(truth, scores, average="micro")
    assert metrics.micro_ap(scores, truth, ONCE) == pytest.approx(micro)
    macro = average_precision_score(truth[:, present], scores[:, present], average="macro")
    assert metrics.macro_ap(scores, truth, ONCE) == pytest.approx(macro)


def test_average_precision_by_hand():
    scores, truth = np.array([0.9, 0.8, 0.8, 0.7, 0.1]), np.array([True, True, False, False, True])
    # Behind 0.9: 1 of 1. Behind the two 0.8: 2 of 3. Behind 0.1: 3 of 5. Each step is one of three positives.
    assert metrics.average_precision(scores, truth, np.ones((1, 5))) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert metrics.average_precision(scores, ~truth & truth, np.ones((2, 5))).tolist() == [0, 0]


def test_scikit_learn_agrees_on_each_label():
    scores, truth = case(9)
    wanted = precision_recall_fscore_support(truth, scores >= 0.5, zero_division=0)
    found = metrics.of_labels(scores >= 0.5, truth, ONCE)
    for name, own in zip(("precision", "recall", "f1"), wanted):
        assert found[name][0] == pytest.approx(own), name


def test_nothing_predicted_is_zero():
    truth = case(0)[1]
    nothing = np.zeros_like(truth)
    assert metrics.micro_f1(nothing, truth, ONCE) == metrics.macro_f1(nothing, truth, ONCE) == 0


@pytest.mark.parametrize("steps", [None, 4])
def test_weights_are_repeated_rows(steps):
    scores, truth = case(7, steps=steps)
    truth[20:, 1] = False
    counts = np.random.default_rng(0).integers(0, 4, (6, 40))
    counts[5, :20] = 0  # label 1 is in no set of the last sample
    for measure, claims in (
        (metrics.micro_f1, scores >= 0.5),
        (metrics.macro_f1, scores >= 0.5),
        (metrics.micro_ap, scores),
        (metrics.macro_ap, scores),
    ):
        answers = measure(claims, truth, counts.astype(np.float32))
        for count, answer in zip(counts, answers, strict=True):
            repeated = (np.repeat(part, count, 0) for part in (claims, truth))
            assert answer == pytest.approx(measure(*repeated, np.ones((1, count.sum())))[0]), measure.__name__


def test_many_samples_are_worked_on_in_parts_without_a_seam(monkeypatch):
    scores, truth = case(8, steps=20)
    weights = statistics.resample(40, 50, seed=1)
    whole = metrics.micro_ap(scores, truth, weights), metrics.macro_ap(scores, truth, weights)
    monkeypatch.setattr(metrics, "CELLS", 300)
    np.testing.assert_allclose(metrics.micro_ap(scores, truth, weights), whole[0])
    np.testing.assert_allclose(metrics.macro_ap(scores, truth, weights), whole[1])


@pytest.mark.parametrize(("seed", "steps"), CASES)
def test_the_threshold_is_the_best_there_is(seed, steps):
    scores, truth = case(seed, steps=steps)
    threshold = metrics.best_threshold(scores, truth)
    tried = np.unique(scores)
    quality = [metrics.micro_f1(scores >= value, truth, ONCE)[0] for value in tried]
    assert metrics.micro_f1(scores >= threshold, truth, ONCE)[0] == max(quality)
    assert threshold == max(value for value, own in zip(tried, quality) if own == max(quality))
    precision, recall, _ = precision_recall_curve(truth.ravel(), scores.ravel())
    assert max(quality) == pytest.approx((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def test_of_equal_thresholds_the_highest_is_taken():
    assert metrics.best_threshold(*row([0.9, 0.8, 0.7, 0.6], [0, 3])) == 0.9  # F1 2/3, 2/4, 2/5, then 4/6
    assert metrics.best_threshold(*row([0.9, 0.8, 0.7, 0.6], [0, 2])) == 0.7  # F1 2/3, 2/4, then 4/5


# All figures of a head

SETTINGS = EvaluateSettings(ks=[1, 3], resamples=100)
NAMES = [f"label {label}" for label in range(7)]


def summarised(segments=()):
    truth = case(11)[1]
    scores, thresholds = [case(11)[0], case(12)[0], case(13, steps=5)[0]], [0.4, 0.5, 0.6]
    frame = summary.figures(scores, truth, thresholds, [0, 1, 5], NAMES, list(segments), SETTINGS)
    return scores, truth, thresholds, frame


def samples(frame, metric, k=None, by="all", segment=""):
    rows = frame.filter(pl.col("k").eq_missing(pl.lit(k)), metric=metric, by=by, segment=segment)
    return rows["n"].to_list(), np.column_stack([rows["value"], np.array(rows["samples"].to_list())])


def test_figures_are_those_of_each_seed_on_all_users_and_on_each_resample():
    scores, truth, thresholds, frame = summarised()
    assert frame["seed"].unique().to_list() == [0, 1, 5]

    def macro_f1(s, t, threshold):
        return f1_score(t, s >= threshold, average="macro", labels=np.flatnonzero(t.any(0)), zero_division=0)

    direct = {
        ("micro_f1", None): lambda s, t, threshold: f1_score(t, s >= threshold, average="micro"),
        ("macro_f1", None): macro_f1,
        ("micro_ap", None): lambda s, t, threshold: average_precision_score(t, s, average="micro"),
        ("f1", 3): lambda s, t, threshold: metrics.at_k(s, t, 3)["f1"].mean(),
        ("published_precision", 1): lambda s, t, threshold: metrics.at_k(s, t, 1)["published_precision"].mean(),
    }
    counts = np.vstack([np.ones(40, int), statistics.resample(40, 100, seed=0).astype(int)])
    for (name, k), figure in direct.items():
        wanted = [
            [figure(np.repeat(s, count, 0), np.repeat(truth, count, 0), threshold) for count in counts]
            for s, threshold in zip(scores, thresholds)
        ]
        np.testing.assert_allclose(samples(frame, name, k)[1], wanted, atol=1e-6, err_msg=name)


def test_a_part_of_the_sets_or_labels_has_the_figures_of_that_part():
    images = np.array([1, 2, 3, 4, 9] * 8)
    truth = case(11)[1]
    parts = summary.segments(images, (images == 9) * 1.0, truth, frequency=np.array([5, 9, 1, 8, 2, 7, 0]))
    assert [(part.by, part.name, int(part.sets.sum())) for part in parts if part.by in ("images", "unseen")] == [
        ("images", "1", 8),
        ("images", "2-3", 16),
        ("images", "4-7", 8),
        ("images", "8-9", 8),
        ("unseen", "none", 32),
        ("unseen", "all", 8),
    ]
    thirds = {part.name: np.flatnonzero(part.labels).tolist() for part in parts if part.by == "frequency"}
    assert thirds == {"head": [1, 3, 5], "middle": [0, 4], "tail": [2, 6]}
    for by in ("images", "labels", "unseen"):
        assert (np.sum([part.sets for part in parts if part.by == by], 0) == 1).all(), by
    scores, truth, thresholds, frame = summarised(parts)
    few = images == 1
    n, found = samples(frame, "micro_f1", None, "images", "1")
    assert n == [8, 8, 8] and found[0, 0] == pytest.approx(
        f1_score(truth[few], scores[0][few] >= thresholds[0], average="micro")
    )
    tail = samples(frame, "micro_ap", None, "frequency", "tail")[1][1, 0]
    assert tail == pytest.approx(average_precision_score(truth[:, [2, 6]], scores[1][:, [2, 6]], average="micro"))
    n, found = samples(frame, "recall", None, "label", "label 3")
    assert n == [truth[:, 3].sum()] * 3
    assert found[2, 0] == pytest.approx((truth[:, 3] & (scores[2][:, 3] >= thresholds[2])).sum() / truth[:, 3].sum())


def test_a_set_without_a_label_is_left_out():
    truth = case(11)[1]
    bare = np.vstack([truth, np.zeros((3, 7), bool)])
    scores = np.vstack([case(11)[0], np.ones((3, 7), np.float32)])
    part = summary.Segment("images", "1", np.ones(43, bool), np.ones(7, bool))
    frame = summary.figures([scores], bare, [0.4], [0], NAMES, [part], SETTINGS)
    assert samples(frame, "micro_f1")[0] == [40] and samples(frame, "micro_f1", None, "images", "1")[0] == [40]
    plain = summary.figures([scores[:40]], truth, [0.4], [0], NAMES, [], SETTINGS)
    np.testing.assert_array_equal(samples(frame, "micro_ap")[1], samples(plain, "micro_ap")[1])
