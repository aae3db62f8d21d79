"""Maps between backbones: planted maps are found, sums are sums however they come, choices are the best."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from pipeline.core.errors import StageError
from pipeline.swap import maps
from pipeline.swap.moments import Moments, PairSums

DIMS = [(12, 9), (9, 12), (10, 10)]  # d_new and d_old


def pairs(n=300, new=12, old=9, noise=0.0, seed=0):
    """Vectors far from zero, of unequal spread, and an affine map of them with noise."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, new)) * generator.uniform(0.2, 3, new) + 5
    matrix = generator.normal(size=(new, old))
    return x, x @ matrix + generator.normal(size=old) + noise * generator.normal(size=(n, old))


def divided(x, y, fitting):
    """Sums over pairs, of which the first `fitting` are not held out."""
    return PairSums.of(Moments.of(x[:fitting], y[:fitting]), Moments.of(x[fitting:], y[fitting:]))


def fit(kind, x, y):
    return maps.fit(kind, divided(x, y, len(x) - len(x) // 10))


def held_out_error(matrix, x, y, fitting):
    """By its definition, from the vectors: the error on held-out pairs, as a share of what the mean leaves."""
    mean_x, mean_y, spread = x[:fitting].mean(0), y[:fitting].mean(0), y[:fitting].std(0)
    error, total = y - ((x - mean_x) @ matrix + mean_y), y - mean_y
    return ((error[fitting:] / spread) ** 2).sum() / ((total[fitting:] / spread) ** 2).sum()


@pytest.mark.parametrize("kind", ["ridge", "restored_ridge", "light_restored_ridge", "reduced_rank"])
@pytest.mark.parametrize("dims", DIMS)
def test_a_planted_affine_map_is_recovered(kind, dims):
    x, y = pairs(new=dims[0], old=dims[1])
    fitted = fit(kind, x, y)
    np.testing.assert_allclose(fitted.final.apply(x), y, atol=1e-5)


@pytest.mark.parametrize("dims", DIMS)
def test_a_planted_rotation_and_scale_is_recovered(dims):
    new, old = dims
    x, generator = pairs(new=new)[0], np.random.default_rng(1)
    rotation = np.linalg.qr(generator.normal(size=(max(dims), max(dims))))[0][:new, :old]
    if new > old:  # a projection is recovered where the rest of the vector does not vary
        x = (x - x.mean(0)) @ rotation @ rotation.T + 5
    y = 2.5 * x @ rotation - 4
    fitted = fit("procrustes", x, y).final
    np.testing.assert_allclose(fitted.apply(x), y, atol=1e-8)
    matrix = fitted.matrix / 2.5
    np.testing.assert_allclose(matrix.T @ matrix if new >= old else matrix @ matrix.T, np.eye(min(dims)), atol=1e-8)


def test_a_planted_scaling_is_recovered():
    x = pairs()[0]
    factors = np.linspace(-2, 3, x.shape[1])
    fitted = fit("scaling", x, x * factors + 1).final
    np.testing.assert_allclose(fitted.matrix, np.diag(factors), atol=1e-9)
    np.testing.assert_allclose(fitted.offset, 1, atol=1e-8)


@pytest.mark.parametrize("strength", [1e-3, 0.1, 1.0, 30.0])
def test_ridge_is_that_of_scikit_learn_at_every_strength(strength):
    x, y = pairs(noise=1.0)
    unit = x.var(0).mean() * len(x)
    wanted = Ridge(alpha=strength * unit).fit(x, y)
    moments = Moments.of(x, y)
    fitted = maps.AffineMap.of(maps.ridge(moments, strength), moments)
    np.testing.assert_allclose(fitted.matrix, wanted.coef_.T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fitted.offset, wanted.intercept_, rtol=1e-8)


def test_the_final_map_is_fitted_on_all_pairs_and_the_trial_without_the_held_out_ones():
    x, y = pairs(noise=1.0)
    fitted = fit("ridge", x, y)
    for fitted_map, count in ((fitted.trial, 270), (fitted.final, 300)):
        alpha = fitted.options["strength"] * x[:count].var(0).mean() * count
        np.testing.assert_allclose(fitted_map.matrix, Ridge(alpha=alpha).fit(x[:count], y[:count]).coef_.T, rtol=1e-7)


def test_sums_of_blocks_are_the_sums_of_the_whole():
    x, y = pairs(noise=0.5)
    whole, blocks = Moments.of(x, y), Moments.of(x[:100], y[:100]) + Moments.of(x[100:], y[100:])
    for name in ("pairs", "x", "y", "xx", "xy", "yy"):
        np.testing.assert_allclose(getattr(blocks, name), getattr(whole, name), rtol=1e-12)


def test_sums_are_float64_whatever_comes():
    x, y = pairs()
    moments = Moments.of(x.astype(np.float16), y.astype(np.float16))
    np.testing.assert_allclose(moments.xx, x.astype(np.float16).astype(float).T @ x.astype(np.float16), rtol=1e-12)


def test_products_about_a_point_are_those_of_the_differences():
    x, y = pairs(noise=0.5)
    to_x, to_y = np.linspace(-1, 1, 12), np.linspace(2, 3, 9)
    about = Moments.of(x, y).about(to_x, to_y)
    for products, left, right in ((about.xx, x - to_x, x - to_x), (about.xy, x - to_x, y - to_y)):
        np.testing.assert_allclose(products, left.T @ right / len(x), rtol=1e-9)
    np.testing.assert_allclose(about.yy, (y - to_y).T @ (y - to_y) / len(x), rtol=1e-9)


def test_a_reference_says_how_old_vectors_spread():
    x, y = pairs(noise=2.0)
    reference = Moments.of(x, y)
    few = PairSums.of(Moments.of(x[:30], y[:30]), Moments.of(x[30:40], y[30:40]), reference)
    for moments in (few.fitting, few.whole):
        np.testing.assert_array_equal(moments.spread, reference.spread)
        np.testing.assert_array_equal(moments.components[1], reference.components[1])
    np.testing.assert_allclose(reference.spread, y.std(0), rtol=1e-9)
    without = divided(x[:40], y[:40], 30)
    np.testing.assert_allclose(without.fitting.spread, y[:40].std(0), rtol=1e-9)
    assert few.whole.pairs == 40


@pytest.mark.parametrize(("seed", "noise"), [(0, 2.0), (1, 10.0), (2, 40.0)])
def test_the_strength_is_the_best_on_the_held_out_pairs(seed, noise):
    x, y = pairs(n=60, new=30, old=8, noise=noise, seed=seed)
    y[:, 0] = 1000 * np.random.default_rng(seed).normal(size=60)  # noise on a large scale counts like any dimension
    fitting, held_out = Moments.of(x[:40], y[:40]), Moments.of(x[40:], y[40:])
    errors = [held_out_error(maps.ridge(fitting, strength), x, y, 40) for strength in maps.STRENGTHS]
    assert maps.best_strength(PairSums(fitting, held_out, fitting)) == maps.STRENGTHS[int(np.argmin(errors))]


def test_the_rank_is_the_best_on_the_held_out_pairs():
    generator = np.random.default_rng(3)
    x = generator.normal(size=(90, 20))
    y = x @ generator.normal(size=(20, 3)) @ generator.normal(size=(3, 15)) + 4 * generator.normal(size=(90, 15))
    fitting, held_out = Moments.of(x[:60], y[:60]), Moments.of(x[60:], y[60:])
    errors = [held_out_error(maps.reduced_rank(fitting, 0.1, rank), x, y, 60) for rank in range(1, 16)]
    best = maps.best_rank(PairSums(fitting, held_out, fitting), 0.1)
    assert best == int(np.argmin(errors)) + 1 < 15
    assert np.linalg.matrix_rank(maps.reduced_rank(fitting, 0.1, best), tol=1e-8) == best


def test_the_light_kind_has_a_quarter_of_the_strength_that_all_kinds_of_ridge_share():
    sums = divided(*pairs(noise=20.0), 270)
    fits, _ = maps.fit_kinds(maps.KINDS, sums)
    strength = maps.best_strength(sums)
    assert {kind: fits[kind].options["strength"] for kind in ("ridge", "restored_ridge", "reduced_rank")} == (
        dict.fromkeys(("ridge", "restored_ridge", "reduced_rank"), strength)
    )
    assert fits["light_restored_ridge"].options == {"strength": strength / 4}
    assert fits["procrustes"].options == {}


def test_restored_predictions_have_most_of_the_old_spread():
    x, y = pairs(noise=5.0)
    moments = Moments.of(x, y)
    plain, restored = (x @ kind(moments, 1.0) for kind in (maps.ridge, maps.restored_ridge))
    components = np.linalg.eigh(np.cov((y / moments.spread).T))[1]
    old, shrunk, given = ((vectors / moments.spread @ components).std(0) for vectors in (y, plain, restored))
    stretch = np.clip((old / shrunk) ** maps.RESTORED, 1, maps.MOST_STRETCH)
    np.testing.assert_allclose(given, shrunk * stretch, rtol=1e-6)
    assert (given > shrunk).all()


@pytest.mark.parametrize("kind", ["ridge", "restored_ridge", "reduced_rank", "procrustes"])
def test_a_dimension_that_never_varies_is_given_as_it_is(kind):
    x, y = pairs(noise=1.0)
    x[:, 3], y[:, 2] = 7.0, -1.5
    fitted = fit(kind, x, y).final
    assert np.isfinite(fitted.matrix).all()
    if kind != "procrustes":
        np.testing.assert_allclose(fitted.apply(x)[:, 2], -1.5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "n", "dims", "message"),
    [
        ("procrustes", 9, (12, 9), "procrustes needs at least 10 pairs for this many dimensions, not 9: use ridge"),
        ("scaling", 50, (12, 9), "scaling needs vectors of equal dim, not 12 and 9"),
    ],
)
def test_a_kind_that_cannot_be_fitted_says_why_in_a_line(kind, n, dims, message):
    sums = divided(*pairs(n=n, new=dims[0], old=dims[1]), n - 3)
    with pytest.raises(StageError) as refused:
        maps.fit(kind, PairSums(sums.whole, sums.held_out, sums.whole))
    assert str(refused.value) == message
    fits, obstacles = maps.fit_kinds(["ridge", kind], PairSums(sums.whole, sums.held_out, sums.whole))
    assert list(fits) == ["ridge"]
    assert obstacles == {kind: message}


def test_fewer_pairs_than_dimensions_take_ridge():
    few = Moments.of(*pairs(n=8))
    with pytest.raises(StageError, match=r"least squares needs at least 10 pairs .*, not 8: use ridge"):
        maps.ridge(few, 0.0)
    assert np.isfinite(maps.ridge(few, 0.5)).all()
