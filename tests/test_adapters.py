"""Adapters: planted maps are found, sums are sums however they come, choices are the best, misuse is refused."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from pipeline import adapters
from pipeline.adapters import Adapter, Moments
from pipeline.errors import StageError, StoreError

NEW, OLD = {"weights": "new", "preprocessing": {"size": 240}}, {"weights": "old", "preprocessing": {"size": 224}}


def moments(x, y, blocks=1):
    total = Moments(x.shape[1], y.shape[1])
    for one, other in zip(np.array_split(x, blocks), np.array_split(y, blocks)):
        total.add(one, other)
    return total


def pairs(n=300, new=12, old=9, noise=0.0, seed=0):
    """Vectors far from zero, of unequal spread, and an affine map of them with noise."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, new)) * generator.uniform(0.2, 3, new) + 5
    matrix = generator.normal(size=(new, old))
    return x, x @ matrix + generator.normal(size=old) + noise * generator.normal(size=(n, old))


def fit(kind, x, y):
    held = np.arange(len(x)) % 10 == 9
    part, rest = moments(x[~held], y[~held]), moments(x[held], y[held])
    return adapters.fit(kind, part, rest, part + rest)


def mapped(affine, x):
    return x @ affine[0] + affine[1]


@pytest.mark.parametrize("kind", ["ridge", "restored_ridge", "light_restored_ridge", "reduced_rank"])
@pytest.mark.parametrize("widths", [(12, 9), (9, 12), (10, 10)])
def test_a_planted_affine_map_is_found(kind, widths):
    x, y = pairs(new=widths[0], old=widths[1])
    found = fit(kind, x, y)
    np.testing.assert_allclose(mapped(found.final, x), y, atol=1e-5)
    assert found.explained == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("widths", [(12, 9), (9, 12), (10, 10)])
def test_a_planted_rotation_and_scale_is_found(widths):
    new, old = widths
    x, generator = pairs(new=new)[0], np.random.default_rng(1)
    rotation = np.linalg.qr(generator.normal(size=(max(widths), max(widths))))[0][:new, :old]
    if new > old:  # a projection is found where the rest of the vector does not vary
        x = (x - x.mean(0)) @ rotation @ rotation.T + 5
    y = 2.5 * x @ rotation - 4
    found = fit("procrustes", x, y)
    np.testing.assert_allclose(mapped(found.final, x), y, atol=1e-8)
    matrix = found.final[0] / 2.5
    np.testing.assert_allclose(matrix.T @ matrix if new >= old else matrix @ matrix.T, np.eye(min(widths)), atol=1e-8)


def test_a_planted_scaling_is_found():
    x = pairs()[0]
    factors = np.linspace(-2, 3, x.shape[1])
    found = fit("scaling", x, x * factors + 1)
    np.testing.assert_allclose(found.final[0], np.diag(factors), atol=1e-9)


@pytest.mark.parametrize("strength", [1e-3, 0.1, 1.0, 30.0])
def test_ridge_is_that_of_scikit_learn_at_every_strength(strength):
    x, y = pairs(noise=1.0)
    unit = x.var(0).mean() * len(x)
    wanted = Ridge(alpha=strength * unit).fit(x, y)
    found = moments(x, y)
    matrix = adapters.ridge(found, strength)
    np.testing.assert_allclose(matrix, wanted.coef_.T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.means[1] - found.means[0] @ matrix, wanted.intercept_, rtol=1e-8)


def test_sums_of_blocks_are_the_sums_of_the_whole():
    x, y = pairs(noise=0.5)
    whole, blocks = moments(x, y), moments(x[:100], y[:100], 7) + moments(x[100:], y[100:])
    for name in ("pairs", "x", "y", "xx", "xy", "yy"):
        np.testing.assert_allclose(getattr(blocks, name), getattr(whole, name), rtol=1e-12)


def test_sums_are_float64_whatever_comes():
    x, y = pairs()
    found = moments(x.astype(np.float16), y.astype(np.float16))
    np.testing.assert_allclose(found.xx, x.astype(np.float16).astype(float).T @ x.astype(np.float16), rtol=1e-12)


def held_out_error(matrix, part, x, y):
    """By its definition, from the vectors."""
    (mean_x, mean_y), spread = part.means, part.spread
    error, total = y - ((x - mean_x) @ matrix + mean_y), y - mean_y
    return ((error / spread) ** 2).sum() / ((total / spread) ** 2).sum()


def test_what_is_explained_is_measured_on_the_held_out_pairs():
    x, y = pairs(noise=4.0)
    part, held = moments(x[:200], y[:200]), moments(x[200:], y[200:])
    matrix = adapters.ridge(part, 0.3)
    assert adapters.explained(matrix, part, held) == pytest.approx(1 - held_out_error(matrix, part, x[200:], y[200:]))


@pytest.mark.parametrize(("seed", "noise"), [(0, 2.0), (1, 10.0), (2, 40.0)])
def test_the_strength_is_the_best_on_the_held_out_pairs(seed, noise):
    x, y = pairs(n=60, new=30, old=8, noise=noise, seed=seed)
    y[:, 0] = 1000 * np.random.default_rng(seed).normal(size=60)  # noise on a large scale counts like any dimension
    part, held = moments(x[:40], y[:40]), moments(x[40:], y[40:])
    errors = [held_out_error(adapters.ridge(part, s), part, x[40:], y[40:]) for s in adapters.STRENGTHS]
    assert adapters.best_strength(part, held) == adapters.STRENGTHS[int(np.argmin(errors))]


def test_the_rank_is_the_best_on_the_held_out_pairs():
    generator = np.random.default_rng(3)
    x = generator.normal(size=(90, 20))
    y = x @ generator.normal(size=(20, 3)) @ generator.normal(size=(3, 15)) + 4 * generator.normal(size=(90, 15))
    part, held = moments(x[:60], y[:60]), moments(x[60:], y[60:])
    errors = [held_out_error(adapters.reduced_rank(part, 0.1, r), part, x[60:], y[60:]) for r in range(1, 16)]
    best = adapters.best_rank(part, held, 0.1)
    assert best == int(np.argmin(errors)) + 1 < 15
    assert np.linalg.matrix_rank(adapters.reduced_rank(part, 0.1, best), tol=1e-8) == best


def test_restored_predictions_have_most_of_the_old_spread():
    x, y = pairs(noise=5.0)
    found = moments(x, y)
    plain, restored = (x @ kind(found, 1.0) for kind in (adapters.ridge, adapters.restored_ridge))
    components = np.linalg.eigh(np.cov((y / found.spread).T))[1]
    own, shrunk, given = ((values / found.spread @ components).std(0) for values in (y, plain, restored))
    stretch = np.clip((own / shrunk) ** adapters.RESTORED, 1, adapters.MOST_STRETCH)
    np.testing.assert_allclose(given, shrunk * stretch, rtol=1e-6)
    assert (given > shrunk).all()


def test_a_dimension_that_never_varies_is_given_as_it_is():
    x, y = pairs(noise=1.0)
    x[:, 3], y[:, 2] = 7.0, -1.5
    for kind in ("ridge", "restored_ridge", "reduced_rank", "procrustes"):
        found = fit(kind, x, y)
        assert np.isfinite(found.final[0]).all()
        if kind != "procrustes":
            np.testing.assert_allclose(mapped(found.final, x)[:, 2], -1.5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "n", "widths", "said"),
    [
        ("procrustes", 9, (12, 9), "procrustes needs at least 10 pairs for this many dimensions, not 9: use ridge"),
        ("scaling", 50, (12, 9), "scaling needs equal widths, not 12 and 9"),
    ],
)
def test_a_kind_that_cannot_be_fitted_says_why_in_a_line(kind, n, widths, said):
    with pytest.raises(StageError) as refused:
        fit(kind, *pairs(n=n, new=widths[0], old=widths[1]))
    assert str(refused.value) == said


def test_fewer_pairs_than_dimensions_take_ridge():
    few = moments(*pairs(n=8))
    with pytest.raises(StageError, match="least squares needs at least 10 pairs .*, not 8: use ridge"):
        adapters.ridge(few, 0.0)
    assert np.isfinite(adapters.ridge(few, 0.5)).all()


@pytest.fixture
def adapter():
    generator = np.random.default_rng(0)
    matrix, offset = generator.normal(size=(12, 9)).astype(np.float32), generator.normal(size=9).astype(np.float32)
    return Adapter("reduced_rank", matrix, offset, {"strength": 0.5, "rank": 4}, 300, NEW, OLD)


def test_saved_and_loaded_an_adapter_is_the_same(adapter, tmp_path):
    path = tmp_path / "old/new.safetensors"
    adapters.save(path, adapter)
    first = path.read_bytes()
    found = adapters.load(path, NEW, OLD)
    for name in ("kind", "options", "pairs", "new", "old"):
        assert getattr(found, name) == getattr(adapter, name)
    x = np.random.default_rng(1).normal(size=(5, 12)).astype(np.float16)
    np.testing.assert_array_equal(found.apply(x), adapter.apply(x))
    np.testing.assert_allclose(found.apply(x), x.astype(float) @ adapter.matrix + adapter.offset, rtol=1e-4, atol=1e-5)
    adapters.save(path, adapter)
    assert path.read_bytes() == first


def test_an_adapter_refuses_other_vectors_with_the_fields_that_differ(adapter, tmp_path):
    path = tmp_path / "old/new.safetensors"
    adapters.save(path, adapter)
    with pytest.raises(StoreError, match="other new vectors .weights: x, not new.: run visagg swap again"):
        adapters.load(path, {**NEW, "weights": "x"}, OLD)
    with pytest.raises(StoreError, match="other old vectors .preprocessing.size: 300, not 224."):
        adapters.load(path, NEW, {**OLD, "preprocessing": {"size": 300}})
    with pytest.raises(StoreError):
        adapters.load(path, OLD, NEW)


def test_a_missing_or_damaged_adapter_is_told_in_a_line(adapter, tmp_path):
    path = tmp_path / "lite0/lite1.safetensors"
    with pytest.raises(StageError, match="run visagg swap lite0 lite1"):
        adapters.load(path, NEW, OLD)
    adapters.save(path, adapter)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StoreError, match="is damaged: delete it") as refused:
        adapters.load(path, NEW, OLD)
    assert "\n" not in str(refused.value)
