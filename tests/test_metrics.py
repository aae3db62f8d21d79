"""The metrics: worked out by hand, against scikit-learn, and against their own definitions."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, precision_recall_fscore_support

from pipeline.metrics import measure, ranking, selection
from pipeline.metrics.at_k import at_k
from pipeline.metrics.bootstrap import resample, sample_weights
from pipeline.metrics.measure import Predictions, Protocol, Segment
from pipeline.metrics.schema import SCHEMA

NAMES_AT_K = ("precision", "recall", "f1", "ceiling", "published_precision", "published_recall", "published_f1")
ONCE = np.ones((1, 40))


def case(seed, labels=7, sets=40, steps=None):
    """Scores that say something of the truth, in `steps` distinct values; every set has a label, no set the last."""
    generator = np.random.default_rng(seed)
    truth = generator.random((sets, labels)) < 0.3
    truth[:, 0] |= ~truth[:, :-1].any(1)
    truth[:, -1] = False
    scores = np.clip(0.3 * truth + 0.7 * generator.random((sets, labels)), 0, 1)
    return (np.round(scores * steps) / steps if steps else scores).astype(np.float32), truth


def one_set(scores, labels):
    """One set's scores, and which labels are true."""
    return np.array([scores]), np.isin(np.arange(len(scores)), labels)[None]


# At k. Scores .9 .6 .6 .2 .1, true labels 0, 2 and 3: of the tied labels 1 and 2, one is true.
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
def test_metrics_at_k_by_hand(k, wanted):
    values = at_k(*one_set([0.9, 0.6, 0.6, 0.2, 0.1], [0, 2, 3]), k)
    assert tuple(values) == NAMES_AT_K
    assert [values[name].item() for name in NAMES_AT_K] == pytest.approx(list(wanted))


def test_a_score_of_one_half_is_a_prediction_and_less_is_none():
    scores, truth = one_set([0.5, 0.49, 0.3], [0, 1])
    values = at_k(scores, truth, 2)
    assert (values["precision"], values["published_precision"], values["published_recall"]) == (1.0, 1.0, 0.5)
    nothing = at_k(scores - 0.01, truth, 2)
    assert [nothing[name].item() for name in NAMES_AT_K] == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_no_hit_is_zero_everywhere():
    values = at_k(*one_set([0.9, 0.8, 0.1], [2]), 2)
    assert [values[name].item() for name in NAMES_AT_K] == [0, 0, 0, pytest.approx(2 / 3), 0, 0, 0]


def test_labels_are_shown_in_the_order_of_scores_then_of_labels():
    scores = np.zeros((2, 300), np.float32)
    scores[1, 150:] = 0.5
    assert selection.best_first(scores)[0].tolist() == list(range(300))
    assert selection.best_first(scores)[1].tolist() == [*range(150, 300), *range(150)]


@pytest.mark.parametrize("k", [1, 2, 3, 6, 20])
@pytest.mark.parametrize("steps", [1, 3])
def test_ties_favour_nobody(k, steps):
    """A value is the mean over random orders of equal scores, and the order of the labels does not matter."""
    scores, truth = case(3, steps=steps)
    values = at_k(scores, truth, k)
    generator, orders = np.random.default_rng(0), 600
    untied = np.concatenate([scores + 1e-3 * generator.random(scores.shape) for _ in range(orders)])
    means = {
        name: value.reshape(orders, -1).mean(0) for name, value in at_k(untied, np.tile(truth, (orders, 1)), k).items()
    }
    backwards = at_k(scores[:, ::-1], truth[:, ::-1], k)
    for name in NAMES_AT_K:
        np.testing.assert_allclose(values[name], means[name], atol=0.1, err_msg=name)
        assert values[name].mean() == pytest.approx(means[name].mean(), abs=5e-3)
        np.testing.assert_allclose(values[name], backwards[name], err_msg=name)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_scikit_learn_agrees_on_the_metrics_at_k(k):
    scores, truth = case(4)
    recommended = np.zeros_like(truth)
    np.put_along_axis(recommended, np.argsort(-scores, 1)[:, :k], True, 1)
    for prefix, predicted in (("", recommended), ("published_", recommended & (scores >= 0.5))):
        wanted = precision_recall_fscore_support(truth, predicted, average="samples", zero_division=0)
        values = [at_k(scores, truth, k)[prefix + name].mean() for name in ("precision", "recall", "f1")]
        assert values == pytest.approx(wanted[:3])


@pytest.mark.parametrize("k", [1, 3, 6, 20])
def test_the_ceiling_is_what_a_perfect_ranking_reaches(k):
    scores, truth = case(1)
    perfect = at_k(truth.astype(np.float32), truth, k)
    np.testing.assert_allclose(perfect["f1"], perfect["ceiling"])
    assert (at_k(scores, truth, k)["f1"] <= perfect["ceiling"] + 1e-12).all()


# Over the whole split

CASES = [(0, None), (1, None), (2, 20), (3, 4), (4, 2), (5, 1)]  # seed, distinct scores: from no tie to nearly all tied


@pytest.mark.parametrize(("seed", "steps"), CASES)
def test_scikit_learn_agrees(seed, steps):
    scores, truth = case(seed, steps=steps)
    present, predicted = np.flatnonzero(truth.any(0)), scores >= 0.5
    assert len(present) < truth.shape[1], "a label that nobody has takes no part in the macro metrics"
    assert selection.micro_f1(predicted, truth, ONCE) == pytest.approx(f1_score(truth, predicted, average="micro"))
    macro = f1_score(truth, predicted, average="macro", labels=present, zero_division=0)
    assert ranking.macro_f1(predicted, truth, ONCE) == pytest.approx(macro)
    micro = average_precision_score(truth, scores, average="micro")
    assert selection.micro_ap(scores, truth, ONCE) == pytest.approx(micro)
    macro = average_precision_score(truth[:, present], scores[:, present], average="macro")
    assert ranking.macro_ap(scores, truth, ONCE) == pytest.approx(macro)


def test_average_precision_by_hand():
    scores, truth = np.array([0.9, 0.8, 0.8, 0.7, 0.1]), np.array([True, True, False, False, True])
    # Behind 0.9: 1 of 1. Behind the two 0.8: 2 of 3. Behind 0.1: 3 of 5. Each step is one of three positives.
    assert selection.average_precision(scores, truth, np.ones((1, 5))) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert selection.average_precision(scores, ~truth & truth, np.ones((2, 5))).tolist() == [0, 0]


def test_scikit_learn_agrees_on_each_label():
    scores, truth = case(9)
    wanted = precision_recall_fscore_support(truth, scores >= 0.5, zero_division=0)
    values = ranking.of_labels(scores >= 0.5, truth, ONCE)
    for name, of_labels in zip(("precision", "recall", "f1"), wanted, strict=False):
        assert values[name][0] == pytest.approx(of_labels), name


def test_nothing_predicted_is_zero():
    truth = case(0)[1]
    nothing = np.zeros_like(truth)
    assert selection.micro_f1(nothing, truth, ONCE) == ranking.macro_f1(nothing, truth, ONCE) == 0


@pytest.mark.parametrize("steps", [None, 4])
def test_weights_are_repeated_rows(steps):
    scores, truth = case(7, steps=steps)
    truth[20:, 1] = False
    counts = np.random.default_rng(0).integers(0, 4, (6, 40))
    counts[5, :20] = 0  # label 1 is in no set of the last sample
    for metric, claims in (
        (selection.micro_f1, scores >= 0.5),
        (ranking.macro_f1, scores >= 0.5),
        (selection.micro_ap, scores),
        (ranking.macro_ap, scores),
    ):
        values = metric(claims, truth, counts.astype(np.float32))
        for count, value in zip(counts, values, strict=True):
            repeated = (np.repeat(part, count, 0) for part in (claims, truth))
            assert value == pytest.approx(metric(*repeated, np.ones((1, count.sum())))[0]), metric.__name__


def test_many_samples_are_worked_on_in_parts_without_a_seam(monkeypatch):
    scores, truth = case(8, steps=20)
    weights = resample(40, 50, seed=1)
    whole = selection.micro_ap(scores, truth, weights), ranking.macro_ap(scores, truth, weights)
    monkeypatch.setattr(selection, "CELLS", 300)
    np.testing.assert_allclose(selection.micro_ap(scores, truth, weights), whole[0])
    np.testing.assert_allclose(ranking.macro_ap(scores, truth, weights), whole[1])


@pytest.mark.parametrize(("seed", "steps"), CASES)
def test_the_threshold_is_the_best_there_is(seed, steps):
    scores, truth = case(seed, steps=steps)
    threshold = selection.best_threshold(scores, truth)
    thresholds = np.unique(scores)
    quality = np.array([selection.micro_f1(scores >= value, truth, ONCE)[0] for value in thresholds])
    assert selection.micro_f1(scores >= threshold, truth, ONCE)[0] == quality.max()
    assert threshold == thresholds[quality == quality.max()].max()
    precision, recall, _ = precision_recall_curve(truth.ravel(), scores.ravel())
    assert quality.max() == pytest.approx((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def test_of_equal_thresholds_the_highest_is_taken():
    assert selection.best_threshold(*one_set([0.9, 0.8, 0.7, 0.6], [0, 3])) == 0.9  # F1 2/3, 2/4, 2/5, then 4/6
    assert selection.best_threshold(*one_set([0.9, 0.8, 0.7, 0.6], [0, 2])) == 0.7  # F1 2/3, 2/4, then 4/5


# All values of a head

SEEDS = [0, 1, 5]
PROTOCOL = {"labels": [f"label {label}" for label in range(7)], "ks": [1, 3], "resamples": 12}


def predicted(*segments):
    """What three seeds of a head predicted, and the metric values."""
    truth = case(11)[1]
    scores = case(11)[0], case(12)[0], case(13, steps=5)[0]
    predictions = [Predictions(*part, threshold) for *part, threshold in zip(scores, [truth] * 3, [0.4, 0.5, 0.6])]
    return predictions, measure.measure(predictions, SEEDS, Protocol(**PROTOCOL, segments=segments))


def rows_of(values, metric, k=None, by="all", segment=""):
    """How many sets a metric is of, for each seed, and float [seeds, 1 + t]."""
    rows = values.filter(pl.col("k").eq_missing(pl.lit(k)), metric=metric, by=by, segment=segment)
    return rows["n"].to_list(), np.column_stack([rows["value"], np.array(rows["samples"].to_list())])


def macro_f1(scores, truth, threshold):
    present = np.flatnonzero(truth.any(0))
    return f1_score(truth, scores >= threshold, average="macro", labels=present, zero_division=0)


DIRECTLY = {
    ("micro_f1", None): lambda s, t, threshold: f1_score(t, s >= threshold, average="micro"),
    ("macro_f1", None): macro_f1,
    ("micro_ap", None): lambda s, t, threshold: average_precision_score(t, s, average="micro"),
    ("f1", 3): lambda s, t, threshold: at_k(s, t, 3)["f1"].mean(),
    ("published_precision", 1): lambda s, t, threshold: at_k(s, t, 1)["published_precision"].mean(),
}


@pytest.mark.parametrize(("name", "k"), DIRECTLY)
def test_values_are_those_of_each_seed_on_all_users_and_on_each_resample(name, k):
    predictions, values = predicted()
    assert values.schema == SCHEMA
    assert values["seed"].unique().to_list() == SEEDS
    samples = np.vstack([np.ones(40, int), resample(40, PROTOCOL["resamples"], seed=0).astype(int)])
    wanted = [
        [
            DIRECTLY[name, k](np.repeat(p.scores, count, 0), np.repeat(p.truth, count, 0), p.threshold)
            for count in samples
        ]
        for p in predictions
    ]
    n, sampled = rows_of(values, name, k)
    assert n == [40] * 3
    np.testing.assert_allclose(sampled, wanted, atol=1e-6)


def test_the_main_values_are_means_over_seeds_in_the_order_of_the_tables():
    _, values = predicted()
    main = measure.main_values(values)
    assert list(main) == ["micro_f1", "macro_f1", "micro_ap", "macro_ap", "f1@1", "f1@3"]
    assert main["micro_ap"] == pytest.approx(rows_of(values, "micro_ap")[1][:, 0].mean(), abs=1e-6)
    assert main["f1@3"] == pytest.approx(rows_of(values, "f1", 3)[1][:, 0].mean(), abs=1e-6)


def test_sets_and_labels_are_divided_as_the_tables_show_them():
    images, truth = np.array([1, 2, 3, 4, 9] * 8), case(11)[1]
    unseen = np.select([images == 9, images == 4, images == 3], [1.0, 0.5, 0.25])
    parts = measure.segments(images, unseen, truth, frequency=np.array([5, 9, 1, 8, 2, 7, 0]))
    assert [(part.by, part.name, int(part.sets.sum())) for part in parts if part.by in ("images", "unseen")] == [
        ("images", "1", 8),
        ("images", "2-3", 16),
        ("images", "4-7", 8),
        ("images", "8-9", 8),
        ("unseen", "none", 16),
        ("unseen", "less than half", 8),
        ("unseen", "half or more", 8),
        ("unseen", "all", 8),
    ]
    thirds = {part.name: np.flatnonzero(part.labels).tolist() for part in parts if part.by == "frequency"}
    assert thirds == {"head": [1, 3, 5], "middle": [0, 4], "tail": [2, 6]}
    for by in ("images", "labels", "unseen"):
        assert (np.sum([part.sets for part in parts if part.by == by], 0) == 1).all(), by


def test_a_part_of_the_sets_or_labels_has_the_values_of_that_part():
    few, tail = np.arange(40) % 5 == 0, np.isin(np.arange(7), [2, 6])
    predictions, values = predicted(
        Segment(by="images", name="1", sets=few, labels=np.ones(7, bool)),
        Segment(by="frequency", name="tail", sets=np.ones(40, bool), labels=tail),
    )
    truth, scores = predictions[0].truth, [p.scores for p in predictions]
    n, sampled = rows_of(values, "micro_f1", None, "images", "1")
    assert n == [8, 8, 8]
    assert sampled[0, 0] == pytest.approx(f1_score(truth[few], scores[0][few] >= 0.4, average="micro"))
    weights = sample_weights(40, PROTOCOL["resamples"])[:, few]
    np.testing.assert_allclose(sampled[0], selection.micro_f1(scores[0][few] >= 0.4, truth[few], weights), atol=1e-6)
    n, sampled = rows_of(values, "micro_ap", None, "frequency", "tail")
    assert n == [40] * 3
    assert sampled[1, 0] == pytest.approx(average_precision_score(truth[:, tail], scores[1][:, tail], average="micro"))
    n, sampled = rows_of(values, "recall", None, "label", "label 3")
    assert n == [truth[:, 3].sum()] * 3
    assert sampled[2, 0] == pytest.approx((truth[:, 3] & (scores[2][:, 3] >= 0.6)).sum() / truth[:, 3].sum())


def test_a_set_without_a_label_is_left_out():
    scores, truth = case(11)
    bare_truth = np.vstack([truth, np.zeros((3, 7), bool)])
    bare_scores = np.vstack([scores, np.ones((3, 7), np.float32)])
    part = Segment(by="images", name="1", sets=np.ones(43, bool), labels=np.ones(7, bool))
    bare = measure.measure([Predictions(bare_scores, bare_truth, 0.4)], [0], Protocol(**PROTOCOL, segments=[part]))
    assert rows_of(bare, "micro_f1")[0] == rows_of(bare, "micro_f1", None, "images", "1")[0] == [40]
    plain = measure.measure([Predictions(scores, truth, 0.4)], [0], Protocol(**PROTOCOL))
    np.testing.assert_array_equal(rows_of(bare, "micro_ap")[1], rows_of(plain, "micro_ap")[1])
