"""The field's pools compute what their papers say: against loops over images in float64, and at their limits."""

import inspect
import math

import numpy as np
import pytest
import torch

from pipeline.heads.gating import ContextGate
from pipeline.heads.masking import masked_softmax, shares
from pipeline.heads.registry import POOLS, SCORE
from pipeline.heads.score_pools import SCORE_POOLS
from pipeline.heads.softplus import inverse_softplus, log_softplus
from pipeline.heads.vector_pools import VECTOR_POOLS
from pipeline.heads.vector_pools.normalisation import TINY
from tests.test_heads import (
    CLASSES,
    DIM,
    LENGTHS,
    answers,
    batch,
    close,
    made,
    one_thread,
    sets,
    sigmoid,
    small,
    softmax,
)

__all__ = ["one_thread", "sets"]  # fixtures


def vector_pool(name, **options):
    """A pool of vectors whose parameters are far from their start."""
    return made(small(name, **options)).pool


def pooled(pool, x, mask):
    with torch.no_grad():
        return pool(x, mask)


def each_set():
    """The images of each set that has any, as float64 [m, d], with its place in the batch."""
    x, _ = batch()
    return [(place, x[place, :length].double().numpy()) for place, length in enumerate(LENGTHS) if length]


def state_of(pool):
    return {name: value.double().numpy() for name, value in pool.state_dict().items()}


def agrees(pool, formula):
    """A pool's vectors and importance are those that a formula gives, set by set."""
    vectors, importance = pooled(pool, *batch())
    for place, x in each_set():
        vector, share = formula(state_of(pool), x)
        np.testing.assert_allclose(vectors[place].numpy(), np.ravel(vector), rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(importance[place, : len(x)].numpy(), share, rtol=2e-4, atol=2e-5)


def linear(p, name, v):
    return p[f"{name}.weight"] @ v + p[f"{name}.bias"]


def unit(v):
    """A vector with a mean square of 1, unless it is all but zero."""
    return v / np.sqrt((v**2).mean() + TINY)


def shared(amounts):
    """The mean over columns of each image's share: [m, w] to [m]."""
    amounts = np.array(amounts)
    return (amounts / amounts.sum(0)).mean(1)


# Pools of vectors


def test_max_takes_the_largest_number_of_each_dimension():
    def formula(p, x):
        return x.max(0), [(x.argmax(0) == image).mean() for image in range(len(x))]

    agrees(vector_pool("max"), formula)


def test_equal_images_share_a_maximum():
    x = torch.tensor([[[1.0, 2.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])
    assert pooled(VECTOR_POOLS["max"](2), x, torch.tensor([[True, True, True, False]]))[1].tolist() == [
        [0.5, 0.25, 0.25, 0.0]
    ]


@pytest.mark.parametrize("power", [1.0, 2.5])
def test_gem_is_a_mean_of_powers(power):
    def formula(p, x):
        y = np.log1p(np.exp(x)) ** power
        return np.log(np.expm1(y.mean(0) ** (1 / power))), (y / y.sum(0)).mean(1)

    pool = vector_pool("gem")
    pool.log_power.data.fill_(math.log(power))
    agrees(pool, formula)


def test_gem_of_a_high_power_is_the_maximum(sets):
    pool = vector_pool("gem")
    pool.log_power.data.fill_(math.log(3000))
    close(pooled(pool, *sets)[0], pooled(VECTOR_POOLS["max"](DIM), *sets)[0], 5e-3)


def test_gem_has_no_lowest_and_no_highest_number():
    pool = VECTOR_POOLS["gem"](3)
    x = torch.tensor([[[-1000.0, 1000.0, -40.0]] * 2, [[-90.0, -1000.0, 0.0], [-90.0, 1000.0, 0.0]]]).requires_grad_()
    vectors, importance = pool(x, torch.ones(2, 2, dtype=torch.bool))
    vectors.sum().backward()
    close(vectors[0].detach(), x[0, 0].detach(), 1e-4)
    assert importance.isfinite().all() and x.grad.isfinite().all() and pool.log_power.grad.isfinite().all()
    close(x.grad[0].sum(0), torch.ones(3), 1e-3)


@pytest.mark.parametrize("x", [-500.0, -16.1, -15.9, -1.0, 0.0, 3.0, 50.0, 1e4])
def test_softplus_and_back(x):
    x = torch.tensor(x)
    close(inverse_softplus(log_softplus(x)), x)


def test_sum_adds_features_and_takes_the_logarithm():
    def formula(p, x):
        features = np.array([np.maximum(linear(p, "phi", v), 0) for v in x])
        return np.log1p(features.sum(0)), features.sum(1) / features.sum()

    agrees(vector_pool("sum"), formula)


def test_gated_attention_is_its_formula():
    def formula(p, x):
        gated = [np.tanh(linear(p, "scores.features", v)) * sigmoid(linear(p, "scores.gate", v)) for v in x]
        weights = softmax(np.array([(p["scores.score.weight"] @ h).item() for h in gated]))
        return weights @ x, weights

    agrees(vector_pool("gated_attention"), formula)


def test_each_query_pools_a_vector():
    def formula(p, x):
        weights = np.array([softmax(x @ query / math.sqrt(DIM)) for query in p["queries"]])
        return weights @ x, weights.mean(0)

    agrees(vector_pool("multi_query"), formula)


@pytest.mark.parametrize("scale_scores", [True, False])
def test_one_query_is_attention(sets, scale_scores):
    attention = vector_pool("attention", scale_scores=scale_scores)
    one = vector_pool("multi_query", queries=1, scale_scores=scale_scores)
    one.queries.data[0] = attention.query.data
    for own, other in zip(pooled(one, *sets), pooled(attention, *sets)):
        close(own, other)


def layer_norm(p, name, v):
    return (v - v.mean()) / np.sqrt(v.var() + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def multi_head(p, query, z, heads):
    """Attention of one query over vectors [m, w], head by head: what it brings, and the mean of the weights."""
    q, k, v = (
        np.atleast_2d(rows) @ weight.T + bias
        for rows, weight, bias in zip(
            (query, z, z),
            np.split(p["attention.in_proj_weight"], 3),
            np.split(p["attention.in_proj_bias"], 3),
        )
    )
    brought, weights = [], []
    for part in np.split(np.arange(len(query)), heads):
        weights.append(softmax(k[:, part] @ q[0, part] / math.sqrt(len(part))))
        brought.append(weights[-1] @ v[:, part])
    return linear(p, "attention.out_proj", np.concatenate(brought)), np.mean(weights, 0)


@pytest.mark.parametrize("options", [{}, {"feed_forward": False, "queries": 1}, {"attention_heads": 4}])
def test_pma_is_the_attention_block_by_hand(options):
    spec = small("pma", **options)

    def formula(p, x):
        z, out, shares_of = np.array([np.maximum(linear(p, "reduction", v), 0) for v in x]), [], []
        for seed in p["seeds"]:
            brought, weights = multi_head(p, seed, z, spec.attention_heads)
            h = layer_norm(p, "norm", seed + brought)
            if spec.feed_forward:
                h = layer_norm(p, "last_norm", h + np.maximum(linear(p, "feed_forward", h), 0))
            out.append(h)
            shares_of.append(weights)
        return np.concatenate(out), np.mean(shares_of, 0)

    agrees(vector_pool("pma", **options), formula)


def test_words_are_counted_softly():
    def formula(p, x):
        words = [softmax(linear(p, "assignment", v)) for v in x]
        return unit(np.sum(words, 0)), shared(words)

    agrees(vector_pool("soft_dbow"), formula)


def test_netvlad_sums_residuals():
    def formula(p, x):
        clusters, lengths = np.zeros_like(p["centres"]), np.zeros((len(x), len(p["centres"])))
        for image, v in enumerate(x):
            for k, assigned in enumerate(softmax(linear(p, "assignment", v))):
                clusters[k] += assigned * (v - p["centres"][k])
                lengths[image, k] = assigned * np.linalg.norm(v - p["centres"][k])
        return [unit(cluster) for cluster in clusters], shared(lengths)

    agrees(vector_pool("netvlad"), formula)


def test_netrvlad_sums_vectors():
    def formula(p, x):
        assigned = np.array([softmax(linear(p, "assignment", v)) for v in x])
        return [unit(column @ x) for column in assigned.T], shared(assigned * np.linalg.norm(x, axis=1)[:, None])

    agrees(vector_pool("netrvlad"), formula)


def test_nextvlad_sums_residuals_of_groups():
    groups, clusters = 2, 3

    def formula(p, x):
        summed, lengths = np.zeros_like(p["centres"]), np.zeros((len(x), clusters))
        for image, v in enumerate(x):
            y = linear(p, "expansion", v)
            attention, scores = sigmoid(linear(p, "attention", y)), np.split(linear(p, "assignment", y), groups)
            for g, part in enumerate(np.split(y, groups)):
                for k, assigned in enumerate(softmax(scores[g]) * attention[g]):
                    summed[k] += assigned * (part - p["centres"][k])
                    lengths[image, k] += assigned * np.linalg.norm(part - p["centres"][k])
        return [unit(cluster) for cluster in summed], shared(lengths)

    agrees(vector_pool("nextvlad", groups=groups, clusters=clusters), formula)


@pytest.mark.parametrize("name", ["netvlad", "netrvlad", "nextvlad", "soft_dbow", "sum", "gem", "max"])
def test_images_of_zeros_have_finite_gradients(name):
    pool = VECTOR_POOLS[name](DIM, **small(name).options())
    x = torch.zeros(2, 3, DIM, requires_grad=True)
    vectors, importance = pool(x, torch.tensor([[True, True, False], [False, False, False]]))
    vectors.sum().backward()
    assert vectors.isfinite().all() and x.grad.isfinite().all() and not vectors[1].any()
    assert all(parameter.grad.isfinite().all() for parameter in pool.parameters())
    close(importance, torch.tensor([[0.5, 0.5, 0], [0, 0, 0]]))


@pytest.mark.parametrize("name", VECTOR_POOLS)
def test_no_softmax_starts_saturated(name):
    """On standardised vectors as wide as a backbone's, each of eight images counts at first."""
    torch.default_generator.manual_seed(0)
    pool = VECTOR_POOLS[name](1280, **POOLS[name].options)
    vectors, importance = pooled(pool, torch.randn(16, 8, 1280), torch.ones(16, 8, dtype=torch.bool))
    assert importance.min() > 0.05 and importance.max() < 0.35
    assert 0.05 < vectors.square().mean().sqrt() < 3  # of a size that the next layer can see


@pytest.mark.parametrize("name", ["netvlad", "netrvlad", "soft_dbow"])
def test_clusters_start_soft(name):
    """No image belongs to one cluster from the first, and what a set pools to is about the set, not the centres."""
    torch.default_generator.manual_seed(0)
    pool = VECTOR_POOLS[name](1280, **POOLS[name].options)
    largest = torch.softmax(pool.assignment(torch.randn(100, 1280)), -1).amax(-1)
    assert largest.mean() < 0.6
    one, other = pooled(pool, torch.randn(2, 8, 1280), torch.ones(2, 8, dtype=torch.bool))[0]
    assert name == "soft_dbow" or abs(torch.cosine_similarity(one, other, 0)) < 0.2


# Pools of scores


def score_pool(name, **options):
    return SCORE_POOLS[name](DIM, CLASSES, **{**POOLS[name].options, **options})


def scores():
    torch.default_generator.manual_seed(8)
    x, mask = batch()
    return torch.randn(*x.shape[:2], CLASSES) * 3, x, mask


def test_sharpness_one_is_logsumexp():
    for own, other in zip(pooled_scores("logsumexp_sharp"), pooled_scores("logsumexp")):
        close(own, other)


def pooled_scores(name, sharpness=None):
    pool = score_pool(name)
    if sharpness is not None:
        pool.sharpness.data.fill_(sharpness)  # its softplus, at such a size
    with torch.no_grad():
        return pool(*scores())


def test_great_sharpness_is_the_maximum():
    for own, other in zip(pooled_scores("logsumexp_sharp", 3000.0), pooled_scores("instance_max")):
        close(own, other, 1e-2)


def test_each_label_has_its_own_sharpness():
    pool = score_pool("logsumexp_sharp")
    pool.sharpness.data = torch.linspace(-1, 2, CLASSES)
    z, x, mask = scores()
    r = np.log1p(np.exp(np.linspace(-1, 2, CLASSES)))
    with torch.no_grad():
        logits, share = pool(z, x, mask)
    for place, length in enumerate(LENGTHS):
        if length:
            e = np.exp(r * z[place, :length].double().numpy())
            np.testing.assert_allclose(logits[place].numpy(), np.log(e.sum(0)) / r, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(share[place, :length].numpy(), e / e.sum(0), rtol=1e-4, atol=1e-5)


def test_a_label_attends_to_images():
    z, x, mask = scores()
    for width in (None, 6):
        pool = made(small("instance_attention", attention_width=width)).pool
        p = state_of(pool)
        with torch.no_grad():
            logits, share = pool(z, x, mask)
        for place, images in each_set():
            if width is None:
                s = images @ p["scores.weight"].T
            else:
                h = [np.tanh(linear(p, "scores.features", v)) * sigmoid(linear(p, "scores.gate", v)) for v in images]
                s = np.array(h) @ p["scores.score.weight"].T
            weights = np.exp(s) / np.exp(s).sum(0)
            wanted = (weights * z[place, : len(images)].numpy()).sum(0)
            np.testing.assert_allclose(logits[place].numpy(), wanted, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(share[place, : len(images)].numpy(), weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SCORE)
def test_extreme_scores_stay_finite(name):
    pool, x = score_pool(name), torch.randn(4, 2, DIM)
    pool_of_two = SCORE_POOLS[name](DIM, 2, **POOLS[name].options)
    beyond = torch.tensor([[[-1000.0, 1000]] * 2]).requires_grad_()
    answer = pool_of_two(beyond, x[:1], torch.ones(1, 2, dtype=torch.bool))[0]
    answer.sum().backward()
    assert answer.isfinite().all() and beyond.grad.isfinite().all()
    z = torch.tensor([[60.0, -60, 60, -60, 0], [-60, -60, 60, 60, 60]]).repeat(4, 1, 1).requires_grad_()
    mask = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    logits, share = pool(z, x, mask)
    assert logits.isfinite().all() and share.isfinite().all()
    close(logits[1:3].detach(), torch.stack([z[1, 0], z[2, 1]]).detach())  # one image's scores come through unharmed
    close(share.sum(1)[:3], torch.ones(3, 5))
    logits.sum().backward()
    assert z.grad.isfinite().all() and not z.grad[~mask].any()
    assert (z.grad.sum(1)[:3] > 0.9).all()  # what is surely absent can still be learnt, and so can what is present
    assert all(parameter.grad.isfinite().all() for parameter in pool.parameters())


def test_a_blunt_logsumexp_of_nothing_has_finite_gradients():
    """Where the sharpness is below 1, dividing by it must not carry the score of an empty set past all numbers."""
    pool = score_pool("logsumexp_sharp")
    pool.sharpness.data.fill_(-3.0)
    z = torch.randn(2, 2, CLASSES, requires_grad=True)
    pool(z, torch.zeros(2, 2, DIM), torch.tensor([[True, False], [False, False]]))[0].sum().backward()
    assert z.grad.isfinite().all() and pool.sharpness.grad.isfinite().all()


@pytest.mark.parametrize("logit", [-12.0, -20.0, -90.0, -500.0])
def test_noisy_or_has_no_lowest_score(logit):
    """Where softplus underflows, the answer, its gradient and the shares are still those of the formula."""
    z = torch.full((1, 4, CLASSES), logit, requires_grad=True)
    answer, share = score_pool("noisy_or")(z, torch.zeros(1, 4, DIM), torch.tensor([[True, True, True, False]]))
    answer.sum().backward()
    assert torch.allclose(answer, torch.full((1, CLASSES), logit + math.log(3)), atol=1e-4)
    assert torch.allclose(z.grad[0, :, 0], torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]), atol=1e-4)
    assert torch.allclose(share.sum(1), torch.ones(1, CLASSES))


# What they are made of


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_is_made_from_the_options_that_the_registry_has(name):
    given = ["dim", "classes"] if name in SCORE else ["dim"]
    signature = inspect.signature((SCORE_POOLS if name in SCORE else VECTOR_POOLS)[name].__init__)
    assert sorted(signature.parameters) == sorted(["self", *given, *POOLS[name].options])


def test_masked_softmax_with_and_without_further_dimensions():
    torch.default_generator.manual_seed(0)
    z, mask = torch.randn(3, 4, 2) * 50, torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    weights = masked_softmax(z, mask)
    for column in range(2):
        close(weights[..., column], masked_softmax(z[..., column], mask))
    close(weights[0], torch.softmax(z[0], 0))
    close(weights[1, [0, 2]], torch.softmax(z[1, [0, 2]], 0))
    assert not weights[2].any() and not weights[1, [1, 3]].any()


def test_shares_of_nothing_are_equal():
    mask = torch.tensor([[True, True, False]])
    amounts = torch.tensor([[[3.0, 0.0], [1.0, 0.0], [9.0, 9.0]]])
    assert shares(amounts, mask).tolist() == [[0.625, 0.375, 0.0]]


def test_context_gating_is_its_formula():
    torch.default_generator.manual_seed(0)
    gate, x = ContextGate(3, "sigmoid"), torch.randn(2, 4, 3)
    close(gate(x), x / (1 + torch.exp(-(x @ gate.linear.weight.T + gate.linear.bias))))


def test_importance_weighs_labels_by_their_probability():
    """An image that decides a label which is surely absent does not count."""
    head = made(small("instance_max", hidden=None, standardised=False))
    head.classifier.weight.data = torch.zeros(CLASSES, DIM)
    head.classifier.weight.data[0, 0], head.classifier.weight.data[1, 1] = 1.0, 1.0
    head.classifier.bias.data = torch.tensor([0.0, -200.0, -200.0, -200.0, -200.0])
    x = torch.zeros(1, 2, DIM)
    x[0, 0, 0], x[0, 1, 1] = 9.0, 9.0
    close(answers(head, x, torch.ones(1, 2, dtype=torch.bool))[1], torch.tensor([[1.0, 0.0]]))
