"""The figures: worked out by hand, against scikit-learn, and against their own definitions."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from pipeline import metrics, statistics
from pipeline.params import EvaluateSettings
from pipeline.summary import summarise

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


# Figures at k. Scores .9 .6 .6 .2 .1, true labels 0, 2 and 3: the tied labels 1 and 2 rank in this order.
# k = 2 recommends 0 1; k = 3 recommends 0 1 2; k = 4 recommends 0 1 2 3; k = 10 recommends all five.
# The published definition never counts 3 and 4, whose scores are below 0.5.
HAND = [  # k, precision, recall, f1, ceiling, published precision, recall, f1
    (1, 1 / 1, 1 / 3, 2 / 4, 2 / 4, 1 / 1, 1 / 3, 2 / 4),
    (2, 1 / 2, 1 / 3, 2 / 5, 4 / 5, 1 / 2, 1 / 3, 2 / 5),
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


def test_ties_are_broken_by_the_labels_order():
    scores = np.zeros((2, 300), np.float32)
    scores[1, 150:] = 0.5
    assert metrics.ranking(scores)[0].tolist() == list(range(300))
    assert metrics.ranking(scores)[1].tolist() == [*range(150, 300), *range(150)]


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


# How sure a figure is


def test_a_resample_is_as_large_as_the_split_and_the_same_each_time():
    one = statistics.resample(30, 200, seed=4)
    assert one.shape == (200, 30) and (one.sum(1) == 30).all() and (one >= 0).all() and (one % 1 == 0).all()
    assert np.array_equal(one, statistics.resample(30, 200, seed=4))
    assert not np.array_equal(one, statistics.resample(30, 200, seed=5))
    assert len(np.unique(one, axis=0)) == 200
    assert (one == 0).mean() == pytest.approx(np.exp(-1), abs=0.02)  # drawn with replacement: a third are left out


def test_the_interval_is_the_middle_95_percent():
    assert statistics.interval(np.random.default_rng(0).permutation(1001)) == pytest.approx((25, 975))
    assert statistics.interval(np.full(9, 0.25)) == (0.25, 0.25)


def test_a_summary_is_each_figure_of_each_seed_their_mean_and_its_interval():
    settings = EvaluateSettings(ks=[1, 3], resamples=100)
    truth = case(11)[1]
    scores, thresholds = [case(11)[0], case(12)[0], case(13, steps=5)[0]], [0.4, 0.5, 0.6]
    summary = summarise(scores, truth, thresholds, settings)
    assert list(summary) == ["micro_f1", "macro_f1", "micro_ap", "macro_ap"] + [
        f"{name}@{k}" for k in (1, 3) for name in FIGURES
    ]

    def macro_f1(s, t, threshold):
        return f1_score(t, s >= threshold, average="macro", labels=np.flatnonzero(t.any(0)), zero_division=0)

    direct = {
        "micro_f1": lambda s, t, threshold: f1_score(t, s >= threshold, average="micro"),
        "macro_f1": macro_f1,
        "micro_ap": lambda s, t, threshold: average_precision_score(t, s, average="micro"),
        "f1@3": lambda s, t, threshold: metrics.at_k(s, t, 3)["f1"].mean(),
        "published_precision@1": lambda s, t, threshold: metrics.at_k(s, t, 1)["published_precision"].mean(),
    }
    samples = statistics.resample(40, 100, seed=0).astype(int)
    for name, figure in direct.items():
        seeds = [figure(s, truth, threshold) for s, threshold in zip(scores, thresholds)]
        assert summary[name]["seeds"] == pytest.approx(seeds, abs=1e-6), name
        assert summary[name]["mean"] == pytest.approx(np.mean(seeds), abs=1e-6), name
        means = [
            np.mean(
                [
                    figure(np.repeat(s, count, 0), np.repeat(truth, count, 0), threshold)
                    for s, threshold in zip(scores, thresholds)
                ]
            )
            for count in samples
        ]
        assert summary[name]["interval"] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=1e-6), name
        assert set(summary[name]) == {"mean", "seeds", "interval"}
