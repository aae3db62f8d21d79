"""Every head keeps one contract, whatever its pool; gates, hidden layers, dropout and switches do what they say."""

from itertools import product

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from pipeline.core.errors import SettingsError
from pipeline.heads.classifier import build_head
from pipeline.heads.layers.score_pool import EMPTY_LOGIT
from pipeline.heads.registry import parse, specs
from pipeline.heads.spec import ScorePoolSpec
from tests.support.heads import CLASSES, DIM, LENGTHS, LONGEST, answers, batch, close, made, small

pytestmark = pytest.mark.usefixtures("one_thread")

# Options that change how a head computes; the contract holds with each.
OPTIONS = {
    "squeeze_attention that projects": small("squeeze_attention", project=True),
    "squeeze_expand that projects": small("squeeze_expand", project=True),
    "pma without feed-forward": small("pma", feed_forward=False, queries=1, attention_heads=1),
    "instance_attention that is gated": small("instance_attention", attention_dim=6),
    "a group for each number": small("nextvlad", groups=8, clusters=2),
    "a gate before a linear classifier": small("attention", gate="context", hidden=None),
    "a gate before a pool of scores": small("noisy_or", gate="context", gate_activation="tanh"),
    "vectors as they come, pooled": small("pma", standardised=False),
    "vectors as they come, scored": small("instance_attention", standardised=False),
}


@pytest.fixture(params=specs())
def head(request):
    return made(small(request.param))


# The contract


def test_padding_never_changes_a_result(head):
    x, mask = batch()
    logits, importance = answers(head, x, mask)
    generator = torch.Generator().manual_seed(0)
    # more padding, something else in it, and some of it between images
    for extra, garbage in product((0, 3), (0.0, 1e4, float("nan"), float("inf"))):
        order = torch.randperm(LONGEST + extra, generator=generator)
        longer = torch.cat([torch.where(mask.unsqueeze(-1), x, garbage), torch.full((len(x), extra, DIM), garbage)], 1)
        shown = pad(mask, (0, extra))
        padded = answers(head, longer[:, order], shown[:, order])
        close(padded[0], logits)
        close(padded[1][:, order.argsort()], pad(importance, (0, extra)))


def test_neither_the_order_of_images_nor_neighbours_in_the_batch_matter(head):
    x, mask = batch()
    logits, importance = answers(head, x, mask)
    order = torch.tensor([4, 2, 5, 0, 3, 1])
    shuffled = answers(head, x[:, order], mask[:, order])
    close(shuffled[0], logits)
    close(shuffled[1], importance[:, order])
    for position, length in enumerate(LENGTHS):
        for longest in (length or 1, LONGEST):  # as long as the set is, and as long as its neighbours have made it
            alone = answers(head, *(part[position : position + 1, :longest] for part in (x, mask)))
            close(alone[0][0], logits[position])
            close(alone[1][0], importance[position, :longest])


def test_an_empty_set_has_a_single_finite_answer(head):
    spec = head.spec
    pooled = torch.zeros(1, spec.output_dim(DIM))
    scored = isinstance(spec, ScorePoolSpec)
    wanted = torch.full((1, CLASSES), EMPTY_LOGIT) if scored else head.classifier(head.gate(pooled)).detach()
    for images in (1, 3, 9):
        logits, importance = answers(head, torch.full((1, images, DIM), 7.0), torch.zeros(1, images, dtype=torch.bool))
        close(logits, wanted)
        assert not importance.any()


def test_importance_is_shared_among_the_images(head):
    x, mask = batch()
    importance = answers(head, x, mask)[1]
    assert (importance >= 0).all()
    assert not importance[~mask].any()
    close(importance.sum(1), mask.any(1).float())
    close(importance[1, :1], torch.ones(1))


def test_importance_by_label_is_shared_among_the_images_of_each_label(head):
    x, mask = batch()
    with torch.inference_mode():
        importance = head.importance_by_label(x, mask)
        longer = head.importance_by_label(pad(x, (0, 0, 0, 3)), pad(mask, (0, 3)))
    assert importance.shape == (*mask.shape, CLASSES)
    assert (importance >= 0).all() and not importance[~mask].any()
    close(importance.sum(1), mask.any(1).float().unsqueeze(1).expand(-1, CLASSES))
    close(longer[:, : mask.shape[1]], importance)
    empty = head.importance_by_label(torch.zeros(1, 2, DIM), torch.zeros(1, 2, dtype=torch.bool))
    assert not empty.any()


def test_gradients_are_finite_and_reach_every_parameter(head):
    x, mask = batch()
    targets = (torch.rand(len(LENGTHS), CLASSES, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    evaluated, trained = head(x, mask), head.train()(x, mask)
    assert torch.equal(trained, evaluated)  # without dropout, training mode changes nothing
    binary_cross_entropy_with_logits(trained, targets).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    head.zero_grad()
    zeros = torch.zeros_like(x).requires_grad_()
    head.logits(zeros, mask).sum().backward()
    for name, gradient in [("x", zeros.grad), *((name, p.grad) for name, p in head.named_parameters())]:
        assert gradient.isfinite().all(), name


CONTRACT = (
    test_padding_never_changes_a_result,
    test_neither_the_order_of_images_nor_neighbours_in_the_batch_matter,
    test_an_empty_set_has_a_single_finite_answer,
    test_importance_is_shared_among_the_images,
    test_importance_by_label_is_shared_among_the_images_of_each_label,
    test_gradients_are_finite_and_reach_every_parameter,
)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_keep_the_contract(name):
    for contract in CONTRACT:
        contract(made(OPTIONS[name]))


# What all heads share: one test over all pools, which names the one that fails


ALL = {**{pool: small(pool) for pool in specs()}, **OPTIONS}


def test_sizes_follow_the_formulas():
    for dim, classes in ((DIM, CLASSES), (40, 3)):
        formulas = {name: spec.parameter_count(dim, classes) for name, spec in ALL.items()}
        assert {name: build_head(spec, dim, classes).parameter_count() for name, spec in ALL.items()} == formulas


def test_standardising_is_feeding_standardised_vectors():
    x, mask = batch()
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.randn(DIM, generator=generator), torch.rand(DIM, generator=generator) + 0.5
    vectors = (x - mean) / std
    for name, spec in ALL.items():
        head = made(spec)
        if not spec.standardised:
            assert not {"mean", "std"} & head.state_dict().keys()
            with pytest.raises(SettingsError, match="standardised: false"):
                head.standardise(mean, std)
            continue
        head.standardise(mean, std)
        given = answers(head, x, mask)
        close(given[0], head.logits(vectors * mask.unsqueeze(-1), mask).detach(), hint=name)  # as training calls it
        head.standardise(torch.zeros(DIM), torch.ones(DIM))
        close(given[0], answers(head, vectors, mask)[0], hint=name)
        close(given[1], answers(head, vectors, mask)[1], hint=name)


def test_sets_that_share_images_are_scored_as_if_they_did_not():
    """Two sets show the same image, one shows it twice, one is empty; padding points at the row of zeros."""
    vectors = torch.cat([torch.randn(5, DIM, generator=torch.Generator().manual_seed(0)), torch.zeros(1, DIM)])
    rows = torch.tensor([[0, 1, 5], [1, 2, 3], [4, 4, 5], [5, 5, 5]])
    unmasked = {f"{pool} unmasked": small(pool, mask_padding=False) for pool in ("attention", "noisy_or")}
    for name, spec in (ALL | unmasked).items():
        head = made(spec)
        with torch.no_grad():
            close(head.logits_of_rows(vectors, rows, rows < 5), head.logits(vectors[rows], rows < 5), hint=name)


def test_saved_and_loaded_a_head_answers_the_same():
    x, mask = batch()
    for name, spec in ALL.items():
        head = made(spec)
        torch.manual_seed(99)
        loaded = build_head(parse(spec.model_dump()), DIM, CLASSES).eval()
        assert (loaded.spec, loaded.dim, loaded.classes) == (spec, DIM, CLASSES)
        assert not torch.equal(answers(loaded, x, mask)[0], answers(head, x, mask)[0]), name
        loaded.load_state_dict(safetensors.torch.load(safetensors.torch.save(head.state_dict())))
        assert all(map(torch.equal, answers(head, x, mask), answers(loaded, x, mask))), name


# Gate, hidden layer, dropout, switches: once each


def classified(spec, p, v):
    """Logits of a vector [d] behind the pool, in float64, with the parameters by the names in a saved head."""
    if spec.gate == "context":
        inner = p["gate.linear.weight"] @ v + p["gate.linear.bias"]
        v = v * (np.tanh(inner) if spec.gate_activation == "tanh" else 1 / (1 + np.exp(-inner)))
    if spec.hidden is None:
        return p["classifier.weight"] @ v + p["classifier.bias"]
    hidden = np.maximum(p["classifier.0.weight"] @ v + p["classifier.0.bias"], 0)
    return p["classifier.2.weight"] @ hidden + p["classifier.2.bias"]


@pytest.mark.parametrize(
    "parts",
    [
        {"hidden": None},
        {"hidden": 7},
        {"gate": "context", "hidden": None},
        {"gate": "context", "gate_activation": "tanh", "hidden": 7},
    ],
)
def test_a_single_image_is_standardised_gated_and_classified(parts):
    image = torch.randn(DIM, generator=torch.Generator().manual_seed(0)) * 2
    for pool in ("attention", "noisy_or"):
        head = made(small(pool, **parts))
        p = {name: value.double().numpy() for name, value in head.state_dict().items()}
        wanted = classified(head.spec, p, (image.double().numpy() - p["mean"]) / p["std"])
        logits, importance = answers(head, image[None, None], torch.ones(1, 1, dtype=torch.bool))
        np.testing.assert_allclose(logits[0].numpy(), wanted, rtol=1e-4, atol=1e-4)
        close(importance, torch.ones(1, 1))


@pytest.mark.parametrize("pool", ["attention", "noisy_or"])
def test_dropout_leaves_numbers_out_in_training_alone(pool):
    x, mask = batch()
    plain, head = made(small(pool)), made(small(pool, dropout=0.5))
    plain.load_state_dict(head.state_dict())
    for given, wanted in zip(answers(head, x, mask), answers(plain, x, mask)):
        assert torch.equal(given, wanted)
    head.train()
    first = head(x, mask)
    assert not torch.allclose(first, head(x, mask))
    linear = made(small(pool, dropout=0.5, hidden=None)).train()  # whose vectors alone lose numbers
    shared = torch.ones(1, DIM), torch.zeros(4, 1, dtype=torch.long), torch.ones(4, 1, dtype=torch.bool)
    assert not torch.allclose(linear.logits_of_rows(*shared), linear.logits_of_rows(*shared))
    ones = head.dropout(torch.ones(100, 100))
    assert set(ones.unique().tolist()) == {0.0, 2.0}
    assert ones.mean() == pytest.approx(1, abs=0.05)
    hidden = head.classifier[1](torch.ones(100, 100))
    assert set(hidden.unique().tolist()) == {0.0, 2.0}


def test_dropout_draws_from_a_generator_that_no_other_head_shares():
    spec, (x, mask) = small("noisy_or", dropout=0.5), batch()
    head, twin, stranger = (made(spec, seed).train() for seed in (5, 5, 7))
    stranger.load_state_dict(head.state_dict())
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = head(x, mask)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(first, twin(x, mask))
    assert not torch.allclose(first, stranger(x, mask))


@pytest.mark.parametrize("pool", ["attention", "noisy_or"])
def test_padding_that_takes_part_is_images_of_zeros(pool):
    x, mask = batch()
    masked, unmasked = made(small(pool)), made(small(pool, mask_padding=False))
    unmasked.load_state_dict(masked.state_dict())
    zeros = torch.where(mask.unsqueeze(-1), x, masked.mean)  # which standardised are zeros
    wanted = answers(masked, zeros, torch.ones_like(mask))
    for given, answer in zip(answers(unmasked, torch.where(mask.unsqueeze(-1), x, float("nan")), mask), wanted):
        close(given, answer)
    assert wanted[1][~mask].any()


def test_the_image_that_shows_a_label_speaks_for_it():
    """By each kind of head: one that pools vectors, and one that pools scores."""
    for name in ("mean", "noisy_or"):
        head = made(small(name, hidden=None, standardised=False))
        head.classifier.weight.data = 4 * torch.eye(CLASSES, DIM)
        head.classifier.bias.data = torch.full((CLASSES,), -6.0)
        x = torch.eye(2, DIM).mul(3)[None]
        importance = head.importance_by_label(x, torch.ones(1, 2, dtype=torch.bool))
        assert importance[0, 0, 0] > 0.99 and importance[0, 1, 1] > 0.99


def test_importance_weighs_labels_by_their_probability():
    """An image that decides a label which is surely absent does not count."""
    head = made(small("instance_max", hidden=None, standardised=False))
    head.classifier.weight.data = torch.zeros(CLASSES, DIM)
    head.classifier.weight.data[0, 0], head.classifier.weight.data[1, 1] = 1.0, 1.0
    head.classifier.bias.data = torch.tensor([0.0, -200.0, -200.0, -200.0, -200.0])
    x = torch.zeros(1, 2, DIM)
    x[0, 0, 0], x[0, 1, 1] = 9.0, 9.0
    close(answers(head, x, torch.ones(1, 2, dtype=torch.bool))[1], torch.tensor([[1.0, 0.0]]))
