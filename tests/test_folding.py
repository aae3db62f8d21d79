"""A folded head answers as the head does, with no more parameters; an adapter disappears into it."""

import pytest
import safetensors.torch
import torch

from pipeline.core.errors import SettingsError
from pipeline.export.folding import fold
from pipeline.heads.classifier import build_head
from pipeline.heads.presets import PRESETS, preset
from pipeline.heads.registry import parse, specs
from pipeline.heads.spec import ScorePoolSpec
from tests.support.heads import CLASSES, DIM, answers, batch, made, small

pytestmark = pytest.mark.usefixtures("one_thread")

POOLS = {pool: small(pool) for pool in specs()}
OPTIONS = {  # what can come of a squeeze, a projection, a gate, a scale and the switches
    "a squeeze before a gate": small("squeeze_attention", gate="context"),
    "a projection": small("squeeze_attention", project=True),
    "a projection that stays": small("squeeze_attention", project=True, hidden=40),
    "a projection before a gate": small("squeeze_attention", project=True, squeeze=2 * DIM, gate="context"),
    "a projection of two layers": small("squeeze_expand", project=True, squeeze=2, hidden=None),
    "a projection of two layers that stays": small("squeeze_expand", project=True, hidden=40),
    "two layers as published": small("squeeze_expand", scale_scores=False),
    "a narrow squeeze of two layers": small("squeeze_expand", squeeze=2, gate="context", gate_activation="tanh"),
    "a low rank as published": small("low_rank_attention2", scale_scores=False),
    "gated scores": small("instance_attention", attention_dim=6, hidden=None),
    "a fixed divisor": small("mean", divide_by=4),
    "padding that takes part": small("squeeze_expand", mask_padding=False),
    "vectors as they come": small("squeeze_expand", project=True, standardised=False),
    "scores of vectors as they come": small("noisy_or", standardised=False),
}
ALL = POOLS | OPTIONS
MERGING = [name for name, spec in POOLS.items() if spec.obstacle() is None]


def trained(spec):
    """A head with random parameters everywhere, biases included, that are as large as training makes them."""
    head = made(spec, seed=7)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) / 3)
        for name, buffer in head.named_buffers():
            if name == "empty":
                buffer.normal_()
    return head


def same(given, wanted):
    """Logits equal to 1e-5 of their scale, importance to 1e-5."""
    scale = max(float(wanted[0].abs().max()), 1.0)
    torch.testing.assert_close(given[0], wanted[0], rtol=0, atol=1e-5 * scale)
    torch.testing.assert_close(given[1], wanted[1], rtol=0, atol=1e-5)


def adapter(dim):
    generator = torch.Generator().manual_seed(11)
    return torch.randn(dim, DIM, generator=generator) / dim**0.5, torch.randn(DIM, generator=generator)


@pytest.mark.parametrize("name", ALL)
def test_a_folded_head_gives_the_same_answers(name):
    head, (x, mask) = trained(ALL[name]), batch()
    before = {key: value.clone() for key, value in head.state_dict().items()}
    folded, wanted = fold(head), answers(head, x, mask)
    same(answers(folded, x, mask), wanted)
    assert folded.parameter_count() <= head.parameter_count()
    assert folded.parameter_count() == folded.spec.parameter_count(DIM, CLASSES)
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())
    mergeable = head.spec.obstacle() is None
    assert folded.spec.standardised == (head.spec.standardised and not mergeable)
    assert ("empty" in folded.state_dict()) == (
        not folded.spec.standardised and not isinstance(head.spec, ScorePoolSpec)
    )
    if head.spec.mask_padding:
        same(answers(folded, torch.where(mask.unsqueeze(-1), x, float("nan")), mask), wanted)
    again = fold(folded)
    assert again.spec == folded.spec
    same(answers(again, x, mask), wanted)


def merges(head, dim):
    """An adapter from vectors of `dim` numbers disappears into a head; an empty set, which is one of them, as well."""
    (matrix, offset), (x, mask) = adapter(dim), batch(dim)
    folded = fold(head, matrix, offset)
    assert folded.dim == dim
    assert not {"mean", "std"} & folded.state_dict().keys()
    padded = torch.where(mask.unsqueeze(-1), x, float("nan"))
    same(answers(folded, padded, mask), answers(head, x @ matrix + offset, mask))
    assert folded.parameter_count() == folded.spec.parameter_count(dim, CLASSES)
    assert dim > DIM or folded.parameter_count() <= head.parameter_count()
    return folded


@pytest.mark.parametrize("name", MERGING)
def test_an_adapter_disappears_into_the_head(name):
    head, (matrix, offset), (x, mask) = trained(POOLS[name]), adapter(7), batch(7)
    folded = merges(head, 7)
    twice = fold(fold(head), matrix, offset)  # folds follow one another
    assert twice.spec == folded.spec
    same(answers(twice, x, mask), answers(head, x @ matrix + offset, mask))


@pytest.mark.parametrize("dim", [7, DIM, 20])
def test_new_vectors_may_be_shorter_as_long_or_longer(dim):
    for spec in OPTIONS.values():
        if spec.obstacle() is None:
            merges(trained(spec), dim)


def test_an_adapter_may_be_a_matrix_or_an_offset_alone():
    (matrix, offset), (x, mask) = adapter(DIM), batch()
    for pool in ("attention", "sum", "noisy_or", "multi_query"):
        head = trained(POOLS[pool])
        same(answers(fold(head, matrix=matrix), x, mask), answers(head, x @ matrix, mask))
        same(answers(fold(head, offset=offset), x, mask), answers(head, x + offset, mask))


def test_a_head_that_cannot_take_an_adapter_says_why():
    for spec, reason in (
        (POOLS["attention2"], "its second query comes straight out of a tanh"),
        (POOLS["gem"], "it takes powers of each dimension"),
        (POOLS["max"], "it takes the largest number of each dimension"),
        (POOLS["netrvlad"], "it normalises in the vectors' own space"),
        (POOLS["netvlad"], "it normalises in the vectors' own space"),
        (OPTIONS["a fixed divisor"], "its weights do not sum to one"),
        (OPTIONS["padding that takes part"], "padding takes part, and has no vector to map"),
        (OPTIONS["a squeeze before a gate"], "context gating multiplies the vector itself"),
    ):
        matrix, offset = adapter(DIM)
        for parts in ({"matrix": matrix, "offset": offset}, {"matrix": matrix}, {"offset": offset}):
            with pytest.raises(SettingsError) as refused:
                fold(made(spec), **parts)
            assert str(refused.value) == f"no adapter can be merged into a head of this kind ({spec.pool}): {reason}"


def test_what_merges_of_the_presets():
    refused = {name for name, spec in PRESETS.items() if spec.obstacle()}
    known = {name for name in PRESETS if "_cg" in name or name.startswith("attention2")}
    assert refused >= known | {"max_fc", "gem_fc", "netvlad_fc", "netrvlad_fc"}
    assert not refused & {"average", "average_fc", "squeeze_out", "squeeze_expand_fc", "pma_fc", "noisy_or", "sum_fc"}


def test_what_becomes_of_the_published_heads():
    two_layers = 2 * 1280 * 256 + 1280 + 256
    wanted = {
        "squeeze_fc": ("attention", 1280),
        "squeeze_cg_fc": ("attention", 1280),
        "squeeze_out_fc": ("attention", 1280),
        "squeeze_out_cg_fc": ("squeeze_attention", 1280 * 256 + 256),
        "squeeze_expand_fc": ("low_rank_attention2", two_layers),
        "squeeze_expand_cg": ("low_rank_attention2", two_layers),
        "squeeze_expand_out": ("low_rank_attention2", two_layers),
        "squeeze_expand_out_fc": ("squeeze_expand", 2 * 1280 * 256 + 256 * 258),
        "attention_fc": ("attention", 1280),
        "average": ("mean", 0),
        "attention2_fc": ("attention2", 1280 * 1282),
    }
    folded = {name: fold(build_head(preset(name), 1280, 18)) for name in wanted}
    assert {
        name: (head.spec.pool, sum(parameter.numel() for parameter in head.pool.parameters()))
        for name, head in folded.items()
    } == wanted


def test_a_squeeze_stays_where_it_saves_parameters():
    few, many = (fold(build_head(preset("squeeze_out"), 1024, classes)) for classes in (10, 1000))
    assert few.spec.pool == "attention"
    assert many.spec.pool == "squeeze_attention"
    assert not many.spec.standardised


def test_saved_and_loaded_a_folded_head_answers_the_same():
    x, mask = batch()
    for pool in ("squeeze_attention", "squeeze_expand", "pma", "instance_attention"):
        folded = fold(trained(POOLS[pool]))
        loaded = build_head(parse(folded.spec.model_dump()), folded.dim, folded.classes).eval()
        loaded.load_state_dict(safetensors.torch.load(safetensors.torch.save(folded.state_dict())))
        assert all(map(torch.equal, answers(folded, x, mask), answers(loaded, x, mask)))


def test_a_folded_head_is_not_standardised_again():
    with pytest.raises(SettingsError, match="standardised: false"):
        fold(build_head(preset("average"), DIM, CLASSES)).standardise(torch.zeros(DIM), torch.ones(DIM))


def test_folding_in_training_draws_nothing_and_leaves_the_mode():
    """Dropout does not reach the answer to an empty set, which is measured while the head is folded."""
    head, (x, mask) = trained(small("attention", dropout=0.5)).train(), batch()
    folded = fold(head)
    assert head.training
    assert folded.training
    assert not fold(head.eval()).training
    same(answers(folded.eval(), x, mask), answers(head, x, mask))


@pytest.mark.parametrize("name", ["squeeze_expand_out_fc", "pma_fc", "noisy_or"])
def test_folding_is_exact_for_vectors_like_a_backbone_s(name):
    """As long as a MobileNet's, and far from zero beside their spread."""
    torch.manual_seed(0)
    head, mask = build_head(preset(name), 1280, 18), torch.arange(8) < torch.tensor([[8], [1], [5]])
    head.standardise(torch.rand(1280) * 2, torch.rand(1280) + 0.1)
    x, y = torch.relu(torch.randn(3, 8, 1280) + 1), torch.relu(torch.randn(3, 8, 1024) + 1)
    same(answers(fold(head), x, mask), answers(head, x, mask))
    matrix, offset = torch.randn(1024, 1280) / 32, torch.rand(1280)
    same(answers(fold(head, matrix, offset), y, mask), answers(head, y @ matrix + offset, mask))
