"""A folded head answers as the head does, with no more parameters; an adapter disappears into it."""

import json

import pytest
import safetensors.torch
import torch

from pipeline.errors import PipelineError, SettingsError
from pipeline.heads import PRESETS, build_head, can_merge, parameter_count
from pipeline.heads.registry import SCORE
from tests.test_heads import CLASSES, DIM, LENGTHS, LONGEST, SPECS, answers, close, made, one_thread, sets, small

__all__ = ["one_thread", "sets"]  # fixtures
ALL = SPECS | {
    "project-many-classes": small("squeeze_attention", project=True, hidden=40),
    "expand-project-many-classes": small("squeeze_expand", project=True, hidden=40),
    "expand-narrow": small("squeeze_expand", squeeze=2),
    "unscaled-project": small("squeeze_expand", project=True, scale_scores=False),
    "gated-wide-project": small("squeeze_attention", project=True, squeeze=2 * DIM, gate="context"),
    "unmasked": small("squeeze_attention", mask_padding=False),
    "unmasked-expand": small("squeeze_expand", mask_padding=False, gate="context"),
    "unmasked-as-they-come": small("attention", mask_padding=False, standardised=False),
}
MERGING = [name for name, spec in ALL.items() if can_merge(spec)]


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


def same(one, other):
    """Logits equal to 1e-5 of their scale, importance to 1e-5."""
    scale = float(other[0].abs().max())
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=1e-5 * max(scale, 1.0))
    torch.testing.assert_close(one[1], other[1], rtol=0, atol=1e-5)


def adapter(width):
    torch.default_generator.manual_seed(11)
    return torch.randn(width, DIM) / width**0.5, torch.randn(DIM)


@pytest.mark.parametrize("name", ALL)
def test_a_folded_head_gives_the_same_answers(name, sets):
    head = trained(ALL[name])
    before = {key: value.clone() for key, value in head.state_dict().items()}
    folded = head.fold()
    same(answers(folded, *sets), answers(head, *sets))
    assert folded.parameter_count() <= head.parameter_count()
    assert folded.parameter_count() == parameter_count(folded.spec, DIM, CLASSES)
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())
    assert (folded.spec.standardised and head.spec.standardised) is (
        head.spec.standardised and not can_merge(head.spec)
    )
    x, mask = sets
    garbage = torch.where(mask.unsqueeze(-1), x, float("nan"))
    if head.spec.mask_padding:
        same(answers(folded, garbage, mask), answers(head, *sets))


@pytest.mark.parametrize("width", [7, DIM, 20])
@pytest.mark.parametrize("name", MERGING)
def test_an_adapter_disappears_into_the_head(name, width, sets):
    head, (matrix, offset), mask = trained(ALL[name]), adapter(width), sets[1]
    x = torch.randn(len(LENGTHS), LONGEST, width) * mask.unsqueeze(-1)
    folded = head.fold(matrix, offset)
    assert folded.dim == width and not {"mean", "std"} & folded.state_dict().keys()
    same(answers(folded, x, mask), answers(head, x @ matrix + offset, mask))
    if width <= DIM:
        assert folded.parameter_count() <= head.parameter_count()


@pytest.mark.parametrize("name", ["attention_fc", "sum_fc", "noisy_or", "multi_query_fc"])
def test_an_adapter_may_be_a_matrix_or_an_offset_alone(name, sets):
    head, (matrix, offset), (x, mask) = trained(ALL[name]), adapter(DIM), sets
    same(answers(head.fold(matrix=matrix), x, mask), answers(head, x @ matrix, mask))
    same(answers(head.fold(offset=offset), x, mask), answers(head, x + offset, mask))


@pytest.mark.parametrize("name", sorted(ALL.keys() - set(MERGING)))
def test_a_head_that_cannot_take_an_adapter_says_why(name):
    head = made(ALL[name])
    with pytest.raises(SettingsError) as refused:
        head.fold(*adapter(DIM))
    line = str(refused.value)
    assert issubclass(SettingsError, PipelineError) and "\n" not in line
    assert line.startswith(f"no adapter can be merged into a head of this kind ({head.spec.pool}): ")
    reasons = ("context gating", "padding takes part", "sum to one", "tanh", "largest", "powers", "own space")
    assert sum(reason in line for reason in reasons) == 1


def test_what_merges():
    names = {name for name, spec in PRESETS.items() if can_merge(spec)}
    kept = {name for name in PRESETS if "_cg" in name or name.startswith("attention2")}
    assert names == PRESETS.keys() - kept - {"max_fc", "gem_fc", "netvlad_fc", "netrvlad_fc"}


@pytest.mark.parametrize(
    ("preset", "pool", "parameters"),
    [
        ("squeeze_fc", "attention", 1280),
        ("squeeze_cg_fc", "attention", 1280),
        ("squeeze_out_fc", "attention", 1280),
        ("squeeze_out_cg_fc", "squeeze_attention", 1280 * 256 + 256),
        ("squeeze_expand_fc", "low_rank_attention2", 2 * 1280 * 256 + 1280 + 256),
        ("squeeze_expand_cg", "low_rank_attention2", 2 * 1280 * 256 + 1280 + 256),
        ("squeeze_expand_out", "low_rank_attention2", 2 * 1280 * 256 + 1280 + 256),
        ("squeeze_expand_out_fc", "squeeze_expand", 2 * 1280 * 256 + 256 * 258),
        ("attention_fc", "attention", 1280),
        ("average", "mean", 0),
        ("attention2_fc", "attention2", 1280 * 1282),
    ],
)
def test_what_becomes_of_the_published_heads(preset, pool, parameters):
    folded = build_head(preset, 1280, 18).fold()
    assert folded.spec.pool == pool
    assert sum(parameter.numel() for parameter in folded.pool.parameters()) == parameters


def test_a_squeeze_stays_where_it_saves_parameters():
    few, many = (build_head("squeeze_out", 1024, classes).fold() for classes in (10, 1000))
    assert few.spec.pool == "attention" and many.spec.pool == "squeeze_attention" and not many.spec.standardised


@pytest.mark.parametrize(
    "name", ["average_fc", "squeeze_fc", "squeeze_expand_out_fc", "multi_query_fc", "pma_fc", "noisy_or"]
)
def test_folds_follow_one_another(name, sets):
    head, (matrix, offset), (x, mask) = trained(ALL[name]), adapter(7), sets
    once = head.fold()
    assert once.fold().spec == once.spec
    same(answers(once.fold(), x, mask), answers(head, x, mask))
    y = torch.randn(len(LENGTHS), LONGEST, 7) * mask.unsqueeze(-1)
    both = once.fold(matrix, offset)
    assert both.spec == head.fold(matrix, offset).spec
    same(answers(both, y, mask), answers(head, y @ matrix + offset, mask))


@pytest.mark.parametrize("name", MERGING)
def test_an_empty_set_keeps_its_answer(name):
    head, nothing = trained(ALL[name]), torch.zeros(1, 3, dtype=torch.bool)
    wanted = answers(head, torch.zeros(1, 3, DIM), nothing)
    for folded, width in ((head.fold(), DIM), (head.fold(*adapter(9)), 9)):
        given = answers(folded, torch.full((1, 3, width), float("nan")), nothing)
        close(given, wanted)
        assert ("empty" in folded.state_dict()) == (head.spec.pool not in SCORE)


@pytest.mark.parametrize("name", ["squeeze_fc", "squeeze_expand_fc", "squeeze_cg", "pma_fc", "instance_attention"])
def test_saved_and_loaded_a_folded_head_answers_the_same(name, sets):
    folded = trained(ALL[name]).fold()
    other = build_head(json.loads(json.dumps(folded.spec.model_dump())), folded.dim, folded.classes)
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(folded.state_dict())))
    assert all(map(torch.equal, answers(folded, *sets), answers(other, *sets)))


def test_a_folded_head_is_not_standardised_again():
    with pytest.raises(SettingsError, match="standardised: false"):
        build_head("average", DIM, CLASSES).fold().standardise(torch.zeros(DIM), torch.ones(DIM))


def test_folding_in_training_draws_nothing(sets):
    """Dropout does not reach the answer to an empty set, which is measured while the head is folded."""
    head = trained(small("attention", dropout=0.5)).train()
    folded = head.fold()
    assert head.training and folded.training
    same(answers(folded.eval(), *sets), answers(head.eval(), *sets))


def test_a_folded_head_is_as_ready_as_the_head():
    head = build_head("pma_fc", DIM, CLASSES)
    assert head.fold().training and not head.eval().fold().training


@pytest.mark.parametrize(
    "preset", ["average_fc", "squeeze_fc", "squeeze_expand_out_fc", "pma_fc", "noisy_or", "sum_fc"]
)
def test_folding_is_exact_for_vectors_like_a_backbones(preset):
    """Widths of a MobileNet, and vectors that are far from zero beside their spread."""
    torch.default_generator.manual_seed(0)
    head, mask = build_head(preset, 1280, 18), torch.arange(8) < torch.tensor([[8], [1], [5]])
    head.standardise(torch.rand(1280) * 2, torch.rand(1280) + 0.1)
    x = torch.relu(torch.randn(3, 8, 1280) + 1)
    same(answers(head.fold(), x, mask), answers(head, x, mask))
    matrix, offset = torch.randn(1024, 1280) / 32, torch.rand(1280)
    y = torch.relu(torch.randn(3, 8, 1024) + 1)
    same(answers(head.fold(matrix, offset), y, mask), answers(head, y @ matrix + offset, mask))
