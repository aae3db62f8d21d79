"""How sure a figure is: resamples, intervals that cover what they should, tests that seldom cry wolf."""

import numpy as np
import pytest
from scipy import stats

from pipeline import metrics, statistics

USERS, LABELS, SEEDS, TIMES = 200, 6, 4, 400


def test_a_resample_is_as_large_as_the_split_and_the_same_each_time():
    one = statistics.resample(30, 200, seed=4)
    assert one.shape == (200, 30) and (one.sum(1) == 30).all() and (one >= 0).all() and (one % 1 == 0).all()
    assert np.array_equal(one, statistics.resample(30, 200, seed=4))
    assert not np.array_equal(one, statistics.resample(30, 200, seed=5))
    assert len(np.unique(one, axis=0)) == 200
    assert (one == 0).mean() == pytest.approx(np.exp(-1), abs=0.02)  # drawn with replacement: a third are left out


def test_one_seed_has_the_percentile_interval_of_its_users():
    resampled = np.random.default_rng(0).permutation(1001) / 1000
    found = statistics.estimate(np.append(0.5, resampled)[None])
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.025, 0.975))
    same = statistics.estimate(np.full((3, 9), 0.25))
    assert (same.value, same.low, same.high, same.p) == (0.25, 0.25, 0.25, 0.0)


def test_a_figure_below_its_resamples_has_its_interval_lower_still():
    resampled = np.random.default_rng(0).normal(0, 1, 20_000)
    found = statistics.estimate(np.append(-0.5, resampled)[None])
    assert (found.low, found.high) == pytest.approx((-1 - 1.96, -1 + 1.96), abs=0.06)  # twice the bias


def test_seeds_alone_give_the_t_test_of_their_mean_and_its_interval():
    seeds = np.array([0.50, 0.52, 0.60])
    found = statistics.estimate(np.repeat(seeds[:, None], 20_001, 1) - 0.5)
    known = stats.ttest_1samp(seeds - 0.5, 0)
    assert found.p == pytest.approx(known.pvalue, rel=1e-6)
    wanted = known.confidence_interval()
    assert found.high - found.low == pytest.approx(wanted.high - wanted.low, rel=0.2)


def test_seeds_that_differ_as_their_users_noise_lets_expect_add_nothing():
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.05, (4, 500))
    alike = statistics.estimate(np.column_stack([[0.5, 0.52, 0.48, 0.5], 0.5 + noise]))
    apart = statistics.estimate(np.column_stack([[0.3, 0.7, 0.4, 0.6], 0.5 + noise]))
    assert alike.high - alike.low == pytest.approx(4 * 0.05 / 2, rel=0.15)
    assert apart.high - apart.low > 3 * (alike.high - alike.low)


def test_a_difference_is_paired():
    """Two heads that do alike on every user differ surely, though either figure is unsure."""
    noise = np.random.default_rng(0).normal(0, 0.05, 500)
    one, other = (np.append(value, value + noise)[None] for value in (0.5, 0.51))
    found = statistics.estimate(other, one)
    assert found.value == pytest.approx(0.01) and found.low == pytest.approx(found.high)
    assert found.p < 1e-6 and statistics.estimate(one, one).p == 1.0


def test_holm_adjusts_as_worked_out_by_hand():
    assert statistics.holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])


class Heads:
    """Simulated scores: users of unlike difficulty, seeds of unlike quality, noise of their own for both."""

    def __init__(self, seed: int):
        self.generator = np.random.default_rng(seed)

    def draw(self, users: int, heads: int = 1, seeds: int = SEEDS) -> tuple[np.ndarray, list[list[np.ndarray]]]:
        """Truth bool [n, c], and scores float [n, c] for each head and seed, all of one quality."""
        generator = self.generator
        truth = generator.random((users, LABELS)) < 0.3
        difficulty = generator.gamma(8, 1 / 8, (users, 1))
        shared = generator.normal(size=(users, LABELS))
        return truth, [
            [
                1.6 * truth * (1 + 0.03 * generator.normal())
                + difficulty * (0.8 * shared + 0.6 * generator.normal(size=(users, LABELS)))
                for _ in range(seeds)
            ]
            for _ in range(heads)
        ]


def _values(measure, scores, truth, weights):
    return np.stack([measure(own, truth, weights) for own in scores])


def _f1(scores, truth, weights):
    return metrics.micro_f1(scores >= 0.8, truth, weights)


@pytest.mark.parametrize(
    ("measure", "times"),
    [(_f1, 400), (metrics.micro_ap, 200), pytest.param(metrics.micro_ap, 3000, marks=pytest.mark.long)],
)
def test_intervals_cover_the_true_figure(measure, times):
    heads = Heads(0)
    truth, [scores] = heads.draw(10_000, seeds=60)
    whole = _values(measure, scores, truth, np.ones((1, len(truth)), np.float32)).mean()
    covered = 0
    for number in range(times):
        truth, [scores] = heads.draw(USERS)
        weights = np.vstack([np.ones(USERS, np.float32), statistics.resample(USERS, TIMES, number)])
        found = statistics.estimate(_values(measure, scores, truth, weights))
        covered += found.low <= whole <= found.high
    print(f"{covered / times:.3f} of {times}")
    assert 0.92 <= covered / times <= 0.98


@pytest.mark.parametrize("families", [200, pytest.param(3000, marks=pytest.mark.long)])
def test_with_no_true_difference_few_families_show_one(families):
    heads, alarms, single = Heads(1), 0, []
    for number in range(families):
        truth, scores = heads.draw(USERS, heads=6)
        weights = np.vstack([np.ones(USERS, np.float32), statistics.resample(USERS, TIMES, number)])
        values = [_values(_f1, own, truth, weights) for own in scores]
        p = [statistics.estimate(own, other).p for other in values[:2] for own in values if own is not other]
        single += p
        alarms += min(p) * len(p) < 0.05  # Holm's first step; the library collects garbage at every call
    print(f"{alarms / families:.3f} of {families} families, {np.mean(np.array(single) < 0.05):.3f} of the single tests")
    assert alarms / families < 0.05
    assert 0.02 < np.mean(np.array(single) < 0.05) < 0.08, "each test by itself is neither blind nor jumpy"
