"""Every head keeps one contract, and computes the formula that its docstring states."""

import json
import math
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import safetensors.torch
import torch

from pipeline.errors import SettingsError
from pipeline.heads import PRESETS, HeadSpec, build_head, parameter_count, resolve
from pipeline.heads.registry import OPTIONS, POOLS, SCORE, VECTOR
from pipeline.heads.score_pools import SCORE_POOLS
from pipeline.heads.score_pools.score_pool import EMPTY_LOGIT
from pipeline.heads.vector_pools import VECTOR_POOLS

DIM, CLASSES, LONGEST = 12, 5, 6
SMALL = {"squeeze": 4, "rank": 4, "queries": 3, "width": 8, "attention_heads": 2, "attention_width": 6}
SMALL |= {"clusters": 3, "groups": 2}
LENGTHS = [3, 1, 0, LONGEST, 4]  # images of each set in the batch: one alone, one set empty, one full
WEIGHTED = ("mean", "attention", "attention2", "squeeze_attention", "squeeze_expand", "low_rank_attention2")
WEIGHTED += ("gated_attention", "multi_query")  # pools whose vector is a weighted sum of the images', or several


def small(pool, **parts):
    """A spec with narrow layers."""
    narrow = {option: SMALL[option] for option, default in POOLS[pool].options.items() if option in SMALL and default}
    return HeadSpec(**{"pool": pool, "hidden": 7, **narrow, **parts})


def small_preset(spec):
    return small(**{key: value for key, value in spec.model_dump().items() if key not in SMALL and key != "hidden"})


SPECS = {name: small_preset(spec) for name, spec in PRESETS.items()}
TANH = {"gate": "context", "gate_activation": "tanh", "hidden": None}
for pool in list(POOLS)[-6:] + [name for name in VECTOR if f"{name}_fc" in list(PRESETS)[28:]]:
    SPECS |= {f"{pool}-linear": small(pool, hidden=None), f"{pool}-tanh": small(pool, **TANH)}
SPECS |= {
    f"{pool}-unscaled": small(pool, scale_scores=False) for pool in VECTOR if "scale_scores" in POOLS[pool].options
}
AS_THEY_COME = ("mean", "attention", "max", "sum", "pma", "noisy_or", "instance_attention")
SPECS |= {f"{pool}-as-they-come": small(pool, standardised=False) for pool in AS_THEY_COME}
SPECS |= {
    "low_rank_attention2": small("low_rank_attention2"),
    "mean-divided": small("mean", divide_by=4),
    "one-query": small("multi_query", queries=1, hidden=None),
    "pma-plain": small("pma", feed_forward=False, queries=1, attention_heads=1),
    "one-cluster-each": small("nextvlad", groups=8, clusters=2),
    "instance_attention-gated": small("instance_attention", attention_width=6),
    "project-as-they-come": small("squeeze_expand", project=True, standardised=False),
}


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


def made(spec, seed=5):
    """A head that is standardised by something other than 0 and 1, and whose queries are far from uniform."""
    torch.default_generator.manual_seed(seed)
    head = build_head(spec, DIM, CLASSES)
    if head.spec.standardised:
        head.standardise(torch.randn(DIM), torch.rand(DIM) + 0.5)
    with torch.no_grad():
        for parameter in head.pool.parameters():
            parameter.mul_(2).add_(torch.randn_like(parameter) / 5)
    return head.eval()


@pytest.fixture
def head(spec):
    return made(spec)


def batch():
    torch.default_generator.manual_seed(6)
    mask = torch.arange(LONGEST) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(len(LENGTHS), LONGEST, DIM) * 2 * mask.unsqueeze(-1), mask


@pytest.fixture
def sets():
    return batch()


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


def test_padding_does_not_matter(head, sets):
    x, mask = sets
    logits, importance = answers(head, x, mask)
    # more padding, and what is in it, and that some of it lies between images
    for extra, garbage in product((0, 3), (0.0, 1e4, float("nan"), float("inf"))):
        order = torch.randperm(LONGEST + extra)
        wide = torch.cat([torch.where(mask.unsqueeze(-1), x, garbage), torch.full((len(x), extra, DIM), garbage)], 1)
        shown = torch.cat([mask, torch.zeros(len(x), extra, dtype=torch.bool)], 1)
        others, shares = answers(head, wide[:, order], shown[:, order])
        close(others, logits)
        close(shares[:, order.argsort()], torch.nn.functional.pad(importance, (0, extra)))


def test_a_set_of_one_image_works(head, spec, sets):
    image = sets[0][1, 0]
    logits, importance = answers(head, image[None, None], torch.ones(1, 1, dtype=torch.bool))
    assert logits.isfinite().all()
    close(importance, torch.ones(1, 1))
    if spec.pool in (*WEIGHTED, "max", "gem", *SCORE) and spec.divide_by is None:  # that image, classified
        plain = (image - head.mean) / head.std if spec.standardised else image
        if spec.project:
            plain = next(value for name, value in head.state_dict().items() if name.endswith("squeeze.weight")) @ plain
        plain = plain.repeat(spec.queries or 1)
        close(logits[0], head.classifier(head.gate(plain)).detach())


def test_an_empty_set_has_one_finite_answer(head, spec):
    nothing = [answers(head, torch.full((1, s, DIM), 7.0), torch.zeros(1, s, dtype=torch.bool)) for s in (1, 3, 9)]
    for logits, importance in nothing:
        close(logits, nothing[0][0])
        assert logits.isfinite().all() and not importance.any()
        if spec.pool in SCORE:
            assert (logits == EMPTY_LOGIT).all()
        else:
            zeros = torch.zeros(1, spec.traits.width(spec, DIM))
            close(logits, head.classifier(head.gate(zeros)).detach())


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
    torch.default_generator.manual_seed(99)
    other = build_head(json.loads(json.dumps(spec.model_dump())), DIM, CLASSES).eval()
    assert other.spec == spec and (other.dim, other.classes) == (DIM, CLASSES)
    assert not torch.equal(answers(other, *sets)[0], answers(head, *sets)[0])
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(head.state_dict())))
    assert all(map(torch.equal, answers(head, *sets), answers(other, *sets)))


def test_standardising_is_feeding_standardised_vectors(head, spec, sets):
    x, mask = sets
    mean, std = torch.randn(DIM), torch.rand(DIM) + 0.5
    std[3] = 0.0  # never varied in training: left as it is, less its mean
    if not spec.standardised:
        assert not {"mean", "std"} & head.state_dict().keys()
        with pytest.raises(SettingsError, match="standardised: false"):
            head.standardise(mean, std)
        return
    head.standardise(mean, std)
    given = answers(head, x, mask)
    head.standardise(torch.zeros(DIM), torch.ones(DIM))
    standard = (x - mean) / torch.where(std == 0, 1.0, std)
    close(given, answers(head, standard, mask))
    close(given[0], head.logits(standard * mask.unsqueeze(-1), mask).detach())  # as training calls it


# The switches for what the published code does otherwise


@pytest.mark.parametrize("name", PRESETS)
def test_padding_that_takes_part_is_images_of_zeros(name, sets):
    x, mask = sets
    masked = made(SPECS[name])
    unmasked = build_head({**SPECS[name].model_dump(), "mask_padding": False}, DIM, CLASSES).eval()
    unmasked.load_state_dict(masked.state_dict())
    zeros = torch.where(mask.unsqueeze(-1), x, masked.mean)  # which standardised are zeros
    wanted = answers(masked, zeros, torch.ones_like(mask))
    close(answers(unmasked, torch.where(mask.unsqueeze(-1), x, float("nan")), mask), wanted)
    assert wanted[1][~mask].any() or "max" in name  # of a label that no image has, one of zeros need not be the best


def test_an_average_may_divide_by_a_number(sets):
    x, mask = sets
    head = build_head({"pool": "mean", "divide_by": 8, "hidden": None, "standardised": False}, DIM, CLASSES)
    close(answers(head, x, mask)[0], head.classifier(x.sum(1) / 8).detach())
    close(answers(head, x, mask)[1], mask / mask.sum(1, keepdim=True).clamp_min(1))


# Sizes


def test_sizes_follow_the_formulas(spec):
    for dim, classes in ((DIM, CLASSES), (40, 3)):
        assert build_head(spec, dim, classes).parameter_count() == parameter_count(spec, dim, classes)


@pytest.mark.parametrize("name", PRESETS)
def test_sizes_of_presets_follow_the_formulas(name):
    assert build_head(name, 24, 6).parameter_count() == parameter_count(PRESETS[name], 24, 6)


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
    assert build_head(preset, 1024, 1000).parameter_count() == published == parameter_count(PRESETS[preset], 1024, 1000)


def test_heads_of_the_field_stay_small():
    sizes = {name: parameter_count(spec, 1280, 18) for name, spec in list(PRESETS.items())[28:]}
    assert max(sizes.values()) < 2_000_000
    assert sizes["pma_fc"] < 400_000


# Specs


def test_the_notebooks_rows_are_seven_pools_in_four_forms():
    pools = ("average", "attention", "attention2", "squeeze", "squeeze_out", "squeeze_expand", "squeeze_expand_out")
    assert list(PRESETS)[:28] == [f"{pool}{form}" for pool in pools for form in ("", "_cg", "_fc", "_cg_fc")]
    for name, spec in list(PRESETS.items())[:28]:
        assert (spec.gate == "context") == ("_cg" in name) and (spec.hidden == 256) == name.endswith("_fc")
        assert bool(spec.project) == ("_out" in name)


def test_switches_are_off_in_every_preset():
    for spec in PRESETS.values():
        assert spec.mask_padding and spec.standardised and spec.divide_by is None and spec.scale_scores is not False
        assert spec.gate_activation in (None, "sigmoid")


def test_specs_are_complete_and_equal_specs_are_equal(spec):
    dump = spec.model_dump()
    assert HeadSpec(**dump) == spec == HeadSpec.model_validate(dump) and hash(HeadSpec(**dump)) == hash(spec)
    assert dump.keys() & OPTIONS.keys() == POOLS[spec.pool].options.keys()
    assert ("gate_activation" in dump) == (spec.gate == "context")
    assert all(dump[option] is not None for option, default in POOLS[spec.pool].options.items() if default is not None)


def test_defaults_are_filled_in():
    assert HeadSpec(pool="multi_query") == HeadSpec(pool="multi_query", queries=4, scale_scores=True, gate="none")
    assert HeadSpec(pool="mean", gate="context").gate_activation == "sigmoid"
    assert HeadSpec(pool="mean") != HeadSpec(pool="mean", divide_by=8) != HeadSpec(pool="mean", mask_padding=False)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"pool": "mean", "queries": 4}, "queries needs a pool that has several queries (multi_query, pma), not mean"),
        ({"pool": "mean", "project": False}, "project needs a pool that squeezes (squeeze_attention, squeeze_expand)"),
        ({"pool": "attention", "divide_by": 8}, "divide_by needs a pool that averages (mean), not attention"),
        ({"pool": "noisy_or", "scale_scores": False}, "scale_scores needs a pool that scores vectors by a query"),
        ({"pool": "mean", "squeeze": None, "rank": 2}, "squeeze needs a pool that squeezes"),
        ({"pool": "squeeze_attention", "squeeze": None}, "squeeze needs a value"),
        ({"pool": "gated_attention", "attention_width": None}, "attention_width needs a value"),
        ({"pool": "mean", "gate": "context", "gate_activation": None}, "gate_activation needs a value"),
        ({"pool": "mean", "gate_activation": "tanh"}, "gate_activation needs gate: context"),
        ({"pool": "nextvlad", "width": 60}, "width 60 cannot be divided into 8 groups"),
        ({"pool": "pma", "attention_heads": 3}, "width 128 cannot be divided into 3 attention_heads"),
        ({"pool": "netvlad", "clusters": 0}, "clusters: "),
        ({"pool": "netvlad", "clusters": 2.0}, "clusters: "),
        ({"pool": ["mean"], "queries": 3}, "pool: "),
        ({"pool": None}, "pool: "),
        ([("pool", "mean")], "head [('pool', 'mean')]: "),
    ],
)
def test_a_spec_that_means_nothing_is_refused_in_one_line(parts, said):
    with pytest.raises(SettingsError) as refused:
        resolve(parts)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_sizes_and_what_merges_are_known_without_torch():
    code = (
        "import sys, pipeline.heads as h\n"
        "sizes = [(h.parameter_count(spec, 1280, 18), h.can_merge(spec)) for spec in h.PRESETS.values()]\n"
        "print(len(sizes), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(PRESETS)} False\n"


def test_every_pool_has_its_traits_and_every_option_a_pool():
    assert VECTOR.keys() == VECTOR_POOLS.keys() and SCORE.keys() == SCORE_POOLS.keys()
    assert set().union(*(pool.options for pool in POOLS.values())) == OPTIONS.keys()
    assert OPTIONS.keys() < HeadSpec.model_fields.keys()


# The notebooks' formulas, one set at a time, in float64, named by the state that a head saves


def softmax(scores):
    return np.exp(scores) / np.exp(scores).sum()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def pooled(spec, p, x):
    """Weights over the images of one set [m, d], and its pooled vector."""
    two = spec.pool in ("attention2", "squeeze_expand", "low_rank_attention2")
    if spec.pool == "mean":
        weights = [1 / len(x)] * len(x)
    else:
        first = "pool.first." if two else "pool."
        squeeze = p.get(first + "squeeze.weight", np.eye(DIM))
        query = p[first + "query"]
        scale = math.sqrt(len(query)) if spec.scale_scores else 1
        weights = softmax([query @ (squeeze @ v) / scale for v in x])
        if two:
            pooled_once = squeeze @ sum(w * v for w, v in zip(weights, x))
            query = np.tanh(p["pool.next_query.weight"] @ pooled_once + p["pool.next_query.bias"])
            query = p.get("pool.expand.weight", np.eye(DIM)) @ query
            weights = softmax([query @ v / (DIM if spec.scale_scores else 1) for v in x])
    vector = sum(w * v for w, v in zip(weights, x))
    vector = vector * len(x) / spec.divide_by if spec.divide_by else vector
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
    x = (x - p["mean"]) / p["std"] if spec.standardised else x
    if spec.pool in VECTOR:
        weights, vector = pooled(spec, p, x)
        return classified(spec, p, vector), weights
    z = np.array([classified(spec, p, v) for v in x])
    if spec.pool == "noisy_or":
        chance = 1 - np.prod(1 - sigmoid(z), 0)
        logits, share = np.log(chance / (1 - chance)), np.log(1 - sigmoid(z)) / np.log(1 - chance)
    elif spec.pool == "logsumexp":
        logits, share = np.log(np.exp(z).sum(0)), np.exp(z) / np.exp(z).sum(0)
    elif spec.pool == "instance_mean":
        logits, share = z.mean(0), np.full_like(z, 1 / len(z))
    else:
        logits, share = z.max(0), z == z.max(0)
    return logits, (share * sigmoid(logits)).sum(1) / sigmoid(logits).sum()


BY_FORMULA = (*WEIGHTED[:6], "noisy_or", "logsumexp", "instance_mean", "instance_max")


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.pool in BY_FORMULA])
def test_heads_compute_their_formulas(name, sets):
    head = made(SPECS[name])
    logits, importance = answers(head, *sets)
    state = {name: value.double().numpy() for name, value in head.state_dict().items()}
    for position, length in enumerate(LENGTHS):
        if length:
            wanted, shares = reference(head.spec, state, sets[0][position, :length].double().numpy())
            np.testing.assert_allclose(logits[position].numpy(), wanted, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(importance[position, :length].numpy(), shares, rtol=1e-4, atol=1e-4)


def test_sets_that_share_images_are_scored_as_if_they_did_not(head, spec):
    """Two sets show the same image, one shows it twice, one is empty; padding points at the row of zeros."""
    vectors = torch.cat([torch.randn(5, DIM), torch.zeros(1, DIM)])
    rows = torch.tensor([[0, 1, 5], [1, 2, 3], [4, 4, 5], [5, 5, 5]])
    with torch.no_grad():
        close(head.logits_of_rows(vectors, rows, rows < 5), head.logits(vectors[rows], rows < 5))


def test_dropout_leaves_numbers_out_in_training_alone_by_draws_of_its_own():
    spec, (x, mask) = small("noisy_or", dropout=0.5), batch()
    plain = made(small("noisy_or"))
    head, twin, other = made(spec), made(spec), made(spec, seed=7)
    plain.load_state_dict(head.state_dict())
    close(head(x, mask), plain(x, mask))
    torch.manual_seed(0)
    first = head.train()(x, mask)
    assert not torch.allclose(first, head(x, mask)) and not torch.allclose(first, other.train()(x, mask))
    torch.manual_seed(1)
    assert torch.equal(first, twin.train()(x, mask))
    ones = head.dropout(torch.ones(100, 100))
    assert set(ones.unique().tolist()) == {0.0, 2.0} and ones.mean() == pytest.approx(1, abs=0.05)
