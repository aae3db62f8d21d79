"""What heads are made of: specs, the pools that there are, and named heads."""

import json
import sys

import pytest

from pipeline.core.errors import SettingsError
from pipeline.heads import pools, registry
from pipeline.heads.presets import PRESETS, PUBLISHED, listing, preset
from pipeline.heads.registry import parse, specs
from pipeline.heads.spec import ScorePoolSpec
from tests.support.pools import TWICE
from tests.support.program import evaluate
from tests.support.settings import ROOT

# Specs and their parts


def test_defaults_are_filled_in_and_equal_specs_are_equal():
    assert parse({"pool": "multi_query"}) == parse({"pool": "multi_query", "queries": 4, "scale_scores": True})
    assert parse({"pool": "mean", "hidden": None}) == preset("average")
    assert parse({"pool": "mean"}) != parse({"pool": "mean", "divide_by": 8})
    assert parse({"pool": "mean"}) != parse({"pool": "mean", "mask_padding": False})


def test_a_spec_that_is_written_down_is_read_as_the_same():
    for pool in specs():
        spec = parse({"pool": pool, "gate": "context", "gate_activation": "tanh", "hidden": None, "dropout": 0.25})
        read = parse(json.loads(json.dumps(spec.model_dump())))
        assert (read, hash(read)) == (spec, hash(spec))
        assert read.model_dump().keys() == specs()[pool].model_fields.keys()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"pool": "men"}, "}: pool: 'men' is none of attention, attention2, "),
        ({"hidden": 4}, "}: pool: None is none of "),
        ({"pool": None}, "}: pool: None is none of "),
        ({"pool": ["mean"]}, "}: pool: ['mean'] is none of "),
        ([("pool", "mean")], "head [('pool', 'mean')]: not a mapping"),
        ({"pool": "mean", "queries": 4}, "pool mean has no option queries; pools that have it: multi_query, pma"),
        (
            {"pool": "noisy_or", "project": False},
            "noisy_or has no option project; pools that have it: squeeze_attention, squeeze_expand",
        ),
        ({"pool": "attention", "divide_by": 8}, "attention has no option divide_by; pools that have it: mean"),
        ({"pool": "noisy_or", "scale_scores": False}, "noisy_or has no option scale_scores; pools that have it: att"),
        ({"pool": "mean", "hiden": 4}, "pool mean has no option hiden; it has gate, gate_activation, hidden, "),
        ({"pool": "squeeze_attention", "squeeze": None}, "}: squeeze: "),
        ({"pool": "gated_attention", "attention_dim": None}, "}: attention_dim: "),
        ({"pool": "mean", "gate": "context", "gate_activation": None}, "}: gate_activation: "),
        ({"pool": "mean", "gate_activation": "tanh"}, "}: gate_activation needs gate: context"),
        ({"pool": "mean", "gate": "x\ny"}, "}: gate: "),
        ({"pool": "mean", "hidden": 0}, "}: hidden: "),
        ({"pool": "mean", "hidden": "256"}, "}: hidden: "),
        ({"pool": "mean", "dropout": 1.0}, "}: dropout: "),
        ({"pool": "netvlad", "clusters": 2.0}, "}: clusters: "),
        ({"pool": "nextvlad", "inner_dim": 60}, "inner_dim 60 cannot be divided into 8 groups"),
        ({"pool": "pma", "attention_heads": 3}, "inner_dim 128 cannot be divided into 3 attention_heads"),
    ],
)
def test_a_spec_that_means_nothing_is_refused_in_one_line(parts, words):
    with pytest.raises(SettingsError) as refused:
        parse(parts)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "from pipeline.heads.pools.mean import MeanSpec\n",
        "from pipeline.heads.spec import HeadSpec\n\n\nclass Strange(HeadSpec):\n    pool: str = 'mean'\n",
        TWICE.replace("twice", "strange") + TWICE.replace("twice", "strange").replace("TwiceSpec", "ThriceSpec"),
    ],
    ids=["no spec", "a spec of another file", "another name", "two specs"],
)
def test_a_file_of_a_pool_defines_one_spec_of_its_name(tmp_path, monkeypatch, content):
    (tmp_path / "strange.py").write_text(content)
    monkeypatch.setattr(pools, "__path__", [*pools.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "pipeline.heads.pools.strange", raising=False)
    with pytest.raises(TypeError, match=r"strange\.py must define one HeadSpec, with pool: Literal\['strange'\]"):
        registry.specs.__wrapped__()


# Named heads


def test_the_notebooks_rows_are_seven_pools_in_four_forms():
    rows = ("average", "attention", "attention2", "squeeze", "squeeze_out", "squeeze_expand", "squeeze_expand_out")
    assert list(PUBLISHED) == [f"{row}{form}" for row in rows for form in ("", "_cg", "_fc", "_cg_fc")]
    assert list(PRESETS)[:28] == list(PUBLISHED)
    for name, spec in PUBLISHED.items():
        assert (spec.gate == "context") == ("_cg" in name)
        assert (spec.hidden == 256) == name.endswith("_fc")
        assert spec.model_dump().get("project", False) == ("_out" in name)


def test_every_other_pool_gives_a_named_head_with_its_defaults():
    for pool in specs().keys() - {spec.pool for spec in PUBLISHED.values()}:
        name = pool if issubclass(specs()[pool], ScorePoolSpec) else f"{pool}_fc"
        assert PRESETS[name] == parse({"pool": pool})


def test_any_head_has_a_regularised_form():
    assert preset("noisy_or_dropout") == parse({"pool": "noisy_or", "tune_dropout": True})
    assert preset("average_cg_dropout").as_published() == preset("average_cg")


def test_switches_for_what_the_published_code_does_are_off_in_every_preset():
    defaults = {"mask_padding": True, "standardised": True, "divide_by": None, "scale_scores": True}
    defaults |= {"gate_activation": "sigmoid"}
    for name, spec in PRESETS.items():
        parts = spec.model_dump()
        assert {key: parts[key] for key in defaults.keys() & parts.keys()}.items() <= defaults.items(), name


@pytest.mark.parametrize(("name", "near"), [("squeze_fc", "did you mean squeeze_fc?"), ("zzz", "(presets: average, ")])
def test_a_name_that_no_head_has_is_refused_with_the_nearest(name, near):
    with pytest.raises(SettingsError) as refused:
        preset(name)
    assert str(refused.value).startswith(f"unknown head '{name}'")
    assert near in str(refused.value)


def test_published_sizes_are_exact():
    """The papers' four heads, and those of the README's table."""
    papers = {"average": 1_025_000, "attention2_fc": 1_570_024, "squeeze_fc": 781_800, "squeeze_expand_fc": 1_109_736}
    assert {name: preset(name).parameter_count(1024, 1000) for name in papers} == papers
    table = {
        "average": 23_058,
        "average_fc": 332_562,
        "attention_cg_fc": 1_973_522,
        "attention2_fc": 1_973_522,
        "squeeze_fc": 660_498,
        "squeeze_expand_fc": 1_053_970,
        "noisy_or": 332_562,
        "noisy_or_dropout": 332_562,
    }
    assert {name: preset(name).parameter_count(1280, 18) for name in table} == table


def test_heads_of_the_field_stay_small():
    sizes = {name: spec.parameter_count(1280, 18) for name, spec in PRESETS.items() if name not in PUBLISHED}
    assert max(sizes.values()) < 2_000_000
    assert sizes["pma_fc"] < 400_000


def test_the_listing_has_every_head_with_its_size():
    lines = [line.split() for line in listing(1024, 1000, as_json=False).splitlines()]
    assert lines[:-1] == [[name, f"{spec.parameter_count(1024, 1000):,}"] for name, spec in PRESETS.items()]
    assert lines[-1][0] == "NAME_dropout:"
    rows = json.loads(listing(64, 7, as_json=True))
    assert [row["name"] for row in rows] == list(PRESETS)
    for row in rows:
        assert parse(row["spec"]) == PRESETS[row["name"]]
        assert row["parameters"] == PRESETS[row["name"]].parameter_count(64, 7)


def test_sizes_and_what_merges_are_known_without_torch():
    code = (
        "import json, sys\n"
        "from pipeline.heads.presets import PRESETS, listing\n"
        "listing(1280, 18, as_json=True), [spec.obstacle() for spec in PRESETS.values()]\n"
        "print(json.dumps('torch' in sys.modules))"
    )
    assert evaluate(ROOT, code) is False
