"""Every head keeps one contract, and computes the formula that its docstring states."""

import math

import numpy as np
import pytest
import torch

from pipeline.heads import PRESETS, build_head, resolve
from pipeline.heads.presets import VECTOR_POOLS
from pipeline.heads.scores import EMPTY_LOGIT, SCORE_POOLS

DIM, CLASSES, LONGEST = 12, 5, 6
TANH = {"gate": "context", "gate_activation": "tanh", "hidden": None, "squeeze": 8}
PROJECT = {"gate": "context", "hidden": 7, "squeeze": 8, "project": True}
FURTHER = {f"{pool}-tanh": {"pool": pool, **TANH} for pool in (*VECTOR_POOLS, *SCORE_POOLS)}
for squeezing in ("squeeze_attention", "squeeze_expand"):
    FURTHER[f"{squeezing}-project"] = {"pool": squeezing, **PROJECT}
    FURTHER[f"{squeezing}-project-tanh"] = {"pool": squeezing, **TANH, "project": True}
SPECS = PRESETS | {name: resolve(parts) for name, parts in FURTHER.items()}
LENGTHS = [3, 1, 0, LONGEST, 4]  # images of each set in the batch: one alone, one set empty, one full


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Matrices this small are multiplied several times faster by one thread than by many, on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=SPECS)
def spec(request):
    return SPECS[request.param]


@pytest.fixture
def head(spec):
    """A head that is standardised by something other than 0 and 1, and whose queries are far from uniform."""
    torch.manual_seed(5)
    made = build_head(spec, DIM, CLASSES)
    made.standardise(torch.randn(DIM), torch.rand(DIM) + 0.5)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.startswith("pool."):
                parameter.mul_(3)
    return made


@pytest.fixture
def sets():
    torch.manual_seed(6)
    mask = torch.arange(LONGEST) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(len(LENGTHS), LONGEST, DIM) * 2 * mask.unsqueeze(-1), mask


def answers(head, x, mask):
    with torch.no_grad():
        return head(x, mask), head.importance(x, mask)


def close(one, other, tolerance=1e-5):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_the_order_of_images_does_not_matter(head, sets):
    order = torch.tensor([4, 2, 5, 0, 3, 1])
    logits, importance = answers(head, *sets)
    shuffled, shares = answers(head, *(part[:, order] for part in sets))
    close(shuffled, logits)
    close(shares, importance[:, order])


@pytest.mark.parametrize("garbage", [0.0, 1e4, float("nan"), float("inf")])
def test_padding_does_not_matter(head, sets, garbage):
    x, mask = sets
    logits, importance = answers(head, x, mask)
    for extra in (0, 3):  # more padding, and what is in it, and that some of it lies between images
        order = torch.randperm(LONGEST + extra)
        wide = torch.cat([torch.where(mask.unsqueeze(-1), x, garbage), torch.full((len(x), extra, DIM), garbage)], 1)
        shown = torch.cat([mask, torch.zeros(len(x), extra, dtype=torch.bool)], 1)
        others, shares = answers(head, wide[:, order], shown[:, order])
        close(others, logits)
        close(shares[:, order.argsort()], torch.nn.functional.pad(importance, (0, extra)))


def test_a_set_of_one_image_is_that_image_classified(head, spec, sets):
    image = sets[0][1, 0]
    plain = (image - head.mean) / head.std
    if spec.project:
        plain = next(value for name, value in head.state_dict().items() if name.endswith("squeeze.weight")) @ plain
    logits, importance = answers(head, image[None, None], torch.ones(1, 1, dtype=torch.bool))
    close(logits[0], head.classifier(head.gate(plain)).detach())
    close(importance, torch.ones(1, 1))


def test_an_empty_set_has_one_finite_answer(head, spec):
    nothing = [answers(head, torch.full((1, s, DIM), 7.0), torch.zeros(1, s, dtype=torch.bool)) for s in (1, 3, 9)]
    for logits, importance in nothing:
        close(logits, nothing[0][0])
        assert logits.isfinite().all() and not importance.any()
        if spec.pool in SCORE_POOLS:
            assert (logits == EMPTY_LOGIT).all()


def test_neighbours_in_the_batch_do_not_matter(head, sets):
    logits, importance = answers(head, *sets)
    for position, length in enumerate(LENGTHS):
        for width in (length or 1, LONGEST):  # as long as it is, and as long as its neighbours have made it
            alone = answers(head, *(part[position : position + 1, :width] for part in sets))
            close(alone[0][0], logits[position])
            close(alone[1][0], importance[position, :width])


def test_gradients_reach_every_parameter(head, sets):
    targets = (torch.rand(len(LENGTHS), CLASSES) > 0.5).float()
    torch.nn.functional.binary_cross_entropy_with_logits(head(*sets), targets).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_importance_is_shared_among_the_images(head, sets):
    importance = answers(head, *sets)[1]
    assert (importance >= 0).all() and not importance[~sets[1]].any()
    close(importance.sum(1), sets[1].any(1).float())


def test_saved_and_loaded_it_answers_the_same(head, spec, sets):
    torch.manual_seed(99)
    other = build_head(spec, DIM, CLASSES)
    assert not torch.equal(answers(other, *sets)[0], answers(head, *sets)[0])
    other.load_state_dict(head.state_dict())
    assert all(map(torch.equal, answers(head, *sets), answers(other, *sets)))


def test_standardising_is_feeding_standardised_vectors(head, sets):
    x, mask = sets
    mean, std = torch.randn(DIM), torch.rand(DIM) + 0.5
    std[3] = 0.0  # never varied in training: left as it is, less its mean
    head.standardise(mean, std)
    given = answers(head, x, mask)
    head.standardise(torch.zeros(DIM), torch.ones(DIM))
    close(given, answers(head, (x - mean) / torch.where(std == 0, 1.0, std), mask))


def parameters(spec, d, c):
    s = spec.squeeze
    pool = {
        "attention": d,
        "attention2": d + d * d + d,
        "squeeze_attention": d * s + s,
        "squeeze_expand": d * s + s + s * s + s + s * d,
    }.get(spec.pool, 0)
    width = s if spec.project else d
    gate = width * width + width if spec.gate == "context" else 0
    return pool + gate + (width * c + c if (h := spec.hidden) is None else width * h + h + h * c + c)


def test_sizes_follow_the_formulas(spec):
    for dim, classes in ((DIM, CLASSES), (40, 3)):
        assert build_head(spec, dim, classes).parameter_count() == parameters(spec, dim, classes)


@pytest.mark.parametrize(
    ("preset", "published"),
    [
        ("average", 1_025_000),
        ("attention2_fc", 1_570_024),
        ("squeeze_fc", 781_800),
        ("squeeze_expand_fc", 1_109_736),
    ],
)
def test_published_sizes_are_exact(preset, published):
    assert build_head(preset, 1024, 1000).parameter_count() == published


# The formulas, one set at a time, in float64, named by the state that a head saves


def softmax(scores):
    return np.exp(scores) / np.exp(scores).sum()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def pooled(spec, p, x):
    """Weights over the images of one set [m, d], and its pooled vector."""
    if spec.pool == "mean":
        weights = [1 / len(x)] * len(x)
    else:
        first = "pool.first." if spec.pool in ("attention2", "squeeze_expand") else "pool."
        squeeze = p.get(first + "squeeze.weight", np.eye(DIM))
        query = p[first + "query"]
        weights = softmax([query @ (squeeze @ v) / math.sqrt(len(query)) for v in x])
        if first == "pool.first.":
            pooled_once = squeeze @ sum(w * v for w, v in zip(weights, x))
            query = np.tanh(p["pool.next_query.weight"] @ pooled_once + p["pool.next_query.bias"])
            query = p.get("pool.expand.weight", np.eye(DIM)) @ query
            weights = softmax([query @ v / DIM for v in x])
    vector = sum(w * v for w, v in zip(weights, x))
    return weights, squeeze @ vector if spec.project else vector


def classified(spec, p, v):
    if spec.gate == "context":
        inner = p["gate.linear.weight"] @ v + p["gate.linear.bias"]
        v = v * (np.tanh(inner) if spec.gate_activation == "tanh" else sigmoid(inner))
    if spec.hidden is None:
        return p["classifier.weight"] @ v + p["classifier.bias"]
    hidden = np.maximum(p["classifier.0.weight"] @ v + p["classifier.0.bias"], 0)
    return p["classifier.2.weight"] @ hidden + p["classifier.2.bias"]


def reference(spec, p, x):
    """Logits and importance of one set [m, d]."""
    x = (x - p["mean"]) / p["std"]
    if spec.pool in VECTOR_POOLS:
        weights, vector = pooled(spec, p, x)
        return classified(spec, p, vector), weights
    z = np.array([classified(spec, p, v) for v in x])
    if spec.pool == "noisy_or":
        chance = 1 - np.prod(1 - sigmoid(z), 0)
        logits, share = np.log(chance / (1 - chance)), np.log(1 - sigmoid(z)) / np.log(1 - chance)
    elif spec.pool == "logsumexp":
        logits, share = np.log(np.exp(z).sum(0)), np.exp(z) / np.exp(z).sum(0)
    else:
        logits, share = z.max(0), z == z.max(0)
    return logits, (share * sigmoid(logits)).sum(1) / sigmoid(logits).sum()


def test_heads_compute_their_formulas(head, spec, sets):
    logits, importance = answers(head, *sets)
    state = {name: value.double().numpy() for name, value in head.state_dict().items()}
    for position, length in enumerate(LENGTHS):
        if length:
            wanted, shares = reference(spec, state, sets[0][position, :length].double().numpy())
            np.testing.assert_allclose(logits[position].numpy(), wanted, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(importance[position, :length].numpy(), shares, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pool", SCORE_POOLS)
def test_extreme_scores_stay_finite(pool):
    beyond = torch.tensor([[[-1000.0, 1000]] * 2]).requires_grad_()
    answer = SCORE_POOLS[pool](beyond, torch.ones(1, 2, dtype=torch.bool))[0]
    answer.sum().backward()
    assert answer.isfinite().all() and beyond.grad.isfinite().all()
    z = torch.tensor([[60.0, -60, 60, -60, 0], [-60, -60, 60, 60, 60]]).repeat(4, 1, 1).requires_grad_()
    mask = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    logits, share = SCORE_POOLS[pool](z, mask)
    assert logits.isfinite().all() and share.isfinite().all()
    close(logits[1:3].detach(), torch.stack([z[1, 0], z[2, 1]]).detach())  # one image's scores come through unharmed
    close(share.sum(1)[:3], torch.ones(3, 5))
    logits.sum().backward()
    assert z.grad.isfinite().all() and not z.grad[~mask].any()
    assert (z.grad.sum(1)[:3] > 0.9).all()  # what is surely absent can still be learnt, and so can what is present


@pytest.mark.parametrize("logit", [-12.0, -20.0, -90.0, -500.0])
def test_noisy_or_has_no_lowest_score(logit):
    """Where softplus underflows, the answer, its gradient and the shares are still those of the formula."""
    z = torch.full((1, 4, 2), logit, requires_grad=True)
    answer, share = SCORE_POOLS["noisy_or"](z, torch.tensor([[True, True, True, False]]))
    answer.sum().backward()
    assert torch.allclose(answer, torch.full((1, 2), logit + math.log(3)), atol=1e-4)
    assert torch.allclose(z.grad[0, :, 0], torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]), atol=1e-4)
    assert torch.allclose(share.sum(1), torch.ones(1, 2))
