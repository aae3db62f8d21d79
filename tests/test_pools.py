"""Pools compute what their docstrings say: against formulas in float64, one set at a time, and at their limits."""

import math

import numpy as np
import pytest
import torch

from pipeline.heads.layers.masking import masked_softmax, shares
from pipeline.heads.layers.softplus import inverse_softplus, log_softplus
from pipeline.heads.registry import parse, specs
from pipeline.heads.spec import ScorePoolSpec, VectorPoolSpec
from tests.support.formulas import FORMULAS
from tests.support.heads import CLASSES, DIM, LENGTHS, batch, close, made, small

pytestmark = pytest.mark.usefixtures("one_thread")

SCORE_POOLS = [pool for pool, spec in specs().items() if issubclass(spec, ScorePoolSpec)]
VECTOR_POOLS = [pool for pool, spec in specs().items() if issubclass(spec, VectorPoolSpec)]


def untrained(pool, dim=DIM, classes=CLASSES):
    torch.manual_seed(0)
    return parse({"pool": pool}).build_pool(dim, classes)


def scores():
    x, mask = batch()
    return torch.randn(*x.shape[:2], CLASSES, generator=torch.Generator().manual_seed(8)) * 3, x, mask


# Formulas


UNSCALED = ["attention", "attention2", "low_rank_attention2", "multi_query", "squeeze_attention", "squeeze_expand"]
CASES = {
    **{pool: small(pool) for pool in FORMULAS},
    **{f"{pool} as published": small(pool, scale_scores=False) for pool in UNSCALED},
    "mean divided": small("mean", divide_by=8),
    "squeeze_attention projecting": small("squeeze_attention", project=True),
    "squeeze_expand projecting": small("squeeze_expand", project=True),
    "pma plain": small("pma", feed_forward=False, queries=1),
    "pma of four heads": small("pma", attention_heads=4),
    "nextvlad of small groups": small("nextvlad", groups=8, clusters=2),
    "instance_attention gated": small("instance_attention", attention_dim=6),
}


@pytest.mark.parametrize("name", CASES)
def test_a_pool_is_its_formula(name):
    spec = CASES[name]
    pool, (z, x, mask) = made(spec).pool, scores()
    p = {key: value.double().numpy() for key, value in pool.state_dict().items()}
    of_scores = isinstance(spec, ScorePoolSpec)
    with torch.no_grad():
        pooled, importance = pool(z, x, mask) if of_scores else pool(x, mask)
    for position, length in enumerate(LENGTHS):
        if length:
            images = [part[position, :length].double().numpy() for part in ((x, z) if of_scores else (x,))]
            wanted, weights = FORMULAS[spec.pool](spec, p, *images)
            np.testing.assert_allclose(pooled[position].numpy(), wanted, rtol=3e-4, atol=3e-5)
            np.testing.assert_allclose(importance[position, :length].numpy(), weights, rtol=3e-4, atol=3e-5)


# Limits of pools of vectors


def test_equal_images_share_a_maximum():
    x = torch.tensor([[[1.0, 2.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])
    importance = untrained("max", 2)(x, torch.tensor([[True, True, True, False]]))[1]
    assert importance.tolist() == [[0.5, 0.25, 0.25, 0.0]]


def test_images_of_zeros_share_alike():
    for name in VECTOR_POOLS:
        vectors, importance = untrained(name)(torch.zeros(2, 3, DIM), torch.tensor([[True, True, False], [False] * 3]))
        assert vectors.isfinite().all(), name
        assert not vectors[1].any(), name
        close(importance.detach(), torch.tensor([[0.5, 0.5, 0], [0, 0, 0]]), hint=name)


def test_gem_of_a_high_power_is_the_maximum():
    x, mask = batch()
    pool = untrained("gem")
    pool.log_power.data.fill_(math.log(3000))
    close(pool(x, mask)[0].detach(), untrained("max")(x, mask)[0], 5e-3)


def test_gem_has_no_lowest_and_no_highest_number():
    pool = untrained("gem")
    x = torch.tensor([[[-1000.0, 1000.0, -40.0]] * 2, [[-90.0, -1000.0, 0.0], [-90.0, 1000.0, 0.0]]]).requires_grad_()
    vectors, importance = pool(x, torch.ones(2, 2, dtype=torch.bool))
    vectors.sum().backward()
    close(vectors[0].detach(), x[0, 0].detach(), 1e-4)
    for part in (importance, x.grad, pool.log_power.grad):
        assert part.isfinite().all()
    close(x.grad[0].sum(0), torch.ones(3), 1e-3)


def test_softplus_and_back():
    x = torch.tensor([-500.0, -16.1, -15.9, -1.0, 0.0, 3.0, 50.0, 1e4])
    close(inverse_softplus(log_softplus(x)), x)
    close(log_softplus(x[2:6]), torch.log(torch.log1p(torch.exp(x[2:6]))))


def test_no_pool_starts_saturated():
    """On standardised vectors as long as a backbone's, each of eight images counts at first."""
    x = torch.randn(8, 8, 1280, generator=torch.Generator().manual_seed(0))
    for name in VECTOR_POOLS:
        with torch.no_grad():
            vectors, importance = untrained(name, 1280)(x, torch.ones(8, 8, dtype=torch.bool))
        assert importance.min() > 0.05, name
        assert importance.max() < 0.35, name
        assert 0.05 < vectors.square().mean().sqrt() < 3, name  # of a size that the next layer can see


def test_clusters_start_soft():
    """No image belongs to one cluster from the first, and what a set pools to is about the set, not the centres."""
    generator = torch.Generator().manual_seed(0)
    images, sets = torch.randn(100, 1280, generator=generator), torch.randn(2, 8, 1280, generator=generator)
    for name in ("netvlad", "netrvlad", "soft_dbow"):
        pool = untrained(name, 1280)
        with torch.no_grad():
            assigned = torch.softmax(pool.assignment(images), -1)
            vectors = pool(sets, torch.ones(2, 8, dtype=torch.bool))[0]
        assert assigned.amax(-1).mean() < 0.6, name
        assert name == "soft_dbow" or abs(torch.cosine_similarity(*vectors, 0)) < 0.2, name


# Limits of pools of scores


def test_sharpness_one_is_logsumexp_and_great_sharpness_the_maximum():
    pool = untrained("logsumexp_sharp")
    with torch.no_grad():
        for sharp, plain in zip(pool(*scores()), untrained("logsumexp")(*scores())):
            close(sharp, plain)
        pool.sharpness.data.fill_(3000.0)  # its softplus, at such a size
        for sharp, plain in zip(pool(*scores()), untrained("instance_max")(*scores())):
            close(sharp, plain, 1e-2)


def test_scores_beyond_all_probability_stay_finite():
    for name in SCORE_POOLS:
        z = torch.tensor([[[-1000.0, 1000]] * 2]).requires_grad_()
        answer = untrained(name, classes=2)(z, torch.ones(1, 2, DIM), torch.ones(1, 2, dtype=torch.bool))[0]
        answer.sum().backward()
        assert answer.isfinite().all(), name
        assert z.grad.isfinite().all(), name


def test_what_is_surely_absent_or_present_can_still_be_learnt():
    x = torch.randn(4, 2, DIM, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    for name in SCORE_POOLS:
        pool = untrained(name)
        z = torch.tensor([[60.0, -60, 60, -60, 0], [-60, -60, 60, 60, 60]]).repeat(4, 1, 1).requires_grad_()
        logits, share = pool(z, x, mask)
        logits.sum().backward()
        for part in (logits, share, z.grad, *(parameter.grad for parameter in pool.parameters())):
            assert part.isfinite().all(), name
        alone = torch.stack([z[1, 0], z[2, 1]]).detach()
        close(logits[1:3].detach(), alone, hint=name)  # one image's scores come through unharmed
        close(share.sum(1)[:3].detach(), torch.ones(3, 5), hint=name)
        assert not z.grad[~mask].any(), name
        assert (z.grad.sum(1)[:3] > 0.9).all(), name


def test_a_blunt_logsumexp_of_nothing_has_finite_gradients():
    """Where the sharpness is below 1, dividing by it must not carry the score of an empty set past all numbers."""
    pool = untrained("logsumexp_sharp")
    pool.sharpness.data.fill_(-3.0)
    z = torch.ones(2, 2, CLASSES, requires_grad=True)
    pool(z, torch.zeros(2, 2, DIM), torch.tensor([[True, False], [False, False]]))[0].sum().backward()
    assert z.grad.isfinite().all()
    assert pool.sharpness.grad.isfinite().all()


def test_noisy_or_has_no_lowest_score():
    """Where softplus underflows, the answer, its gradient and the shares are still those of the formula."""
    for logit in (-12.0, -20.0, -90.0, -500.0):
        z = torch.full((1, 4, CLASSES), logit, requires_grad=True)
        answer, share = untrained("noisy_or")(z, torch.zeros(1, 4, DIM), torch.tensor([[True, True, True, False]]))
        answer.sum().backward()
        close(answer.detach(), torch.full((1, CLASSES), logit + math.log(3)), 1e-4)
        close(z.grad[0, :, 0], torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]), 1e-4)
        close(share.sum(1).detach(), torch.ones(1, CLASSES))


# What they are made of


def test_masked_softmax_with_and_without_further_dimensions():
    z = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0)) * 50
    mask = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    weights = masked_softmax(z, mask)
    for column in range(2):
        close(weights[..., column], masked_softmax(z[..., column], mask))
    close(weights[0], torch.softmax(z[0], 0))
    close(weights[1, [0, 2]], torch.softmax(z[1, [0, 2]], 0))
    assert not weights[2].any()
    assert not weights[1, [1, 3]].any()


def test_shares_of_nothing_are_equal():
    mask = torch.tensor([[True, True, False]])
    amounts = torch.tensor([[[3.0, 0.0], [1.0, 0.0], [9.0, 9.0]]])
    assert shares(amounts, mask).tolist() == [[0.625, 0.375, 0.0]]
