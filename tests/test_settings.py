"""params.yaml: what is shipped loads, what means nothing is refused in a line that names it."""

import re
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from pipeline.core.errors import SettingsError
from pipeline.heads.presets import preset
from pipeline.heads.registry import parse
from pipeline.settings.settings import Settings, load
from tests.support.settings import ABSENT, SHIPPED, changed, make_settings, write_settings

PARTS = {"pool": "squeeze_attention", "squeeze": 128, "project": True, "hidden": None}
BACKBONE = {"model": "m", "weights": "hub"}


def refusal(path):
    """What is wrong with a file, after its path."""
    with pytest.raises(SettingsError) as refused:
        load(path)
    line = str(refused.value)
    assert "\n" not in line and line.startswith(f"{path}")
    return line.removeprefix(f"{path}")


def refused(tmp_path, changes):
    write_settings(tmp_path / "params.yaml", changes)
    return refusal(tmp_path / "params.yaml")


def test_the_shipped_settings_load_as_they_are_written():
    settings, content = load(SHIPPED), YAML(typ="safe").load(SHIPPED)
    assert settings.model_dump(exclude_unset=True) == content
    assert settings.compared() == {name: preset(name) for name in content["compare"]["heads"]}
    assert settings.backbone(settings.compare.backbones[0]).model


def fields_of(model, section=()):
    """Every setting that there is: the names that lead to it, and a key of those that its map of names has."""
    for name, field in model.model_fields.items():
        of_aliases = get_origin(field.annotation) is dict
        inner = get_args(field.annotation)[-1] if of_aliases else field.annotation
        yield (*section, name), None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            if of_aliases:
                yield from (((*section, name), key) for key in inner.model_fields)
            else:
                yield from fields_of(inner, (*section, name))


def remarks():
    """What params.yaml says of each setting, by the names that lead to it: on its line, and just above it."""
    said, above, section = {}, [], []
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        words = line.strip()
        if words.startswith("#"):
            above.append(words)
        elif match := re.match(r"( *)([a-z_0-9]+):(?:$| )", line):
            section = [*section[: len(match[1]) // 2], match[2]]
            own = [line.partition(" # ")[2]] if " # " in line else []
            said[tuple(section)] = " ".join(above + own)
            above = []
        else:
            above = []
    return said


def test_every_setting_has_its_line_in_params_yaml_and_each_line_says_what_it_does():
    """Sections and the maps of names say it above themselves; all other settings on their own line or above it."""
    said = remarks()
    for names, key in fields_of(Settings):
        assert names in said, f"{'.'.join(names)} stands nowhere in params.yaml"
        if key:
            assert f"{key}:" in said[names], f"what is above {'.'.join(names)} does not say what {key} is"
        elif len(names) > 1 and names != ("sets", "split"):
            assert said[names], f"{'.'.join(names)} has no remark"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("trian", {}, "unknown key trian; did you mean train?"),
        ("qqqq", 1, "unknown key qqqq"),
        ("train.batchsize", 64, "unknown key train.batchsize; did you mean batch_size?"),
        ("sets.split.vallidation", 0.1, "unknown key sets.split.vallidation; did you mean validation?"),
        ("sets.seeds", [1], "unknown key sets.seeds"),
        ("backbones.lite0.modle", "x", "unknown key backbones.lite0.modle; did you mean model?"),
        ("backbones.lite0.weigths", "x", "did you mean weights?"),
        ("train.batch_size", ABSENT, "train.batch_size is missing"),
        ("evaluate", ABSENT, "evaluate is missing"),
        ("train.batch_size", "64", "train.batch_size: input should be a valid integer, not '64'"),
        ("train.batch_size", 64.5, "train.batch_size: "),
        ("train.batch_size", True, "train.batch_size: "),
        ("train.seeds", 0, "train.seeds: "),
        ("train.learning_rates", ["fast"], "train.learning_rates.0: "),
        ("sets.lower_case", "yes", "sets.lower_case: "),
        ("sets.stop_categories", "men", "sets.stop_categories: "),
        ("embed", None, "embed: "),
        ("train.batch_size", 0, "train.batch_size: input should be greater than 0, not 0"),
        ("train.learning_rates", [0.001, -1.0], "train.learning_rates.1: "),
        ("train.learning_rates", [], "train.learning_rates: "),
        ("train.weight_decay", -0.1, "train.weight_decay: "),
        ("train.positive_weight", float("inf"), "train.positive_weight: "),
        ("train.seeds", [-1], "train.seeds.0: "),
        ("train.seeds", [1, 1], "train.seeds: input should list nothing twice, not [1, 1]"),
        ("train.learning_rates", [0.1, 0.1], "train.learning_rates: input should list nothing twice"),
        ("sets.split.test", 1.0, "sets.split.test: "),
        ("sets.split.validation", 0.0, "sets.split.validation: "),
        ("sets.split", {"seed": 0, "validation": 0.5, "test": 0.5}, "leave nothing to train on"),
        ("sets.new_items", 1.0, "sets.new_items: "),
        ("sets.drop_above_mean", 0, "sets.drop_above_mean: "),
        ("sets.task", "interest", "sets.task: "),
        ("source.name", "amazon", "source.name: "),
        ("embed.threads", -1, "embed.threads: "),
        ("embed.batch_size", -1, "embed.batch_size: "),
        ("embed.engine", "onnx", "embed.engine: "),
        ("embed.precision", "bfloat16", "embed.precision: "),
        ("evaluate.resamples", 99, "evaluate.resamples: "),
        ("evaluate.ks", [0], "evaluate.ks.0: "),
        ("evaluate.ks", [5, 5], "evaluate.ks: input should list nothing twice"),
        ("compare.heads", [], "compare.heads: "),
        ("compare.heads", ["average", "average"], "compare.heads: input should list nothing twice"),
        ("compare.heads", ["average", "avrage_fc"], "unknown head 'avrage_fc'; did you mean average_fc?"),
        ("compare.backbones", ["lite9"], "unknown backbone 'lite9'; did you mean lite"),
        ("compare.backbones", ["lite0", "lite0"], "compare.backbones: input should list nothing twice"),
        ("ablation.heads", ["attention_gc_fc"], "unknown head 'attention_gc_fc'; did you mean attention_cg_fc?"),
        ("ablation.heads", ["average", "average"], "ablation.heads: input should list nothing twice"),
        ("ablation.backbone", "lite9", "unknown backbone 'lite9'"),
        ("heads.mine", "squeeze_fc", "heads.mine: input should be a valid dictionary"),
        ("heads.mine", 5, "heads.mine: input should be a valid dictionary"),
        ("heads.mine", {"pool": "mean", "hiden": 3}, "pool mean has no option hiden"),
        ("heads.mine", {"pool": "mean", "project": True}, "project; pools that have it: squeeze_attention, squeeze_"),
        ("heads.mine", {"hidden": 3}, "heads.mine: head {'hidden': 3}: pool: "),
        ("heads.average_fc", {"pool": "mean"}, "heads.average_fc: a preset has this name"),
        ("swap", {"lite0": ["lite2"]}, "swap: 'lite2' is not under compare.backbones; did you mean lite"),
        ("swap", {"lite9": ["lite1"]}, "swap: 'lite9' is not under compare.backbones"),
        ("swap.lite0", ["lite0"], "swap.lite0 lists lite0 itself"),
        ("swap.lite0", ["lite1", "lite1"], "swap.lite0: input should list nothing twice"),
        ("swap.lite0", [], "swap.lite0: "),
    ],
)
def test_what_means_nothing_is_refused_by_its_name(tmp_path, name, value, said):
    assert said in refused(tmp_path, {name: value})


def test_a_misspelt_key_is_named_rather_than_the_one_that_is_missing(tmp_path):
    changes = {"train.seeds": ABSENT, "train.batch_size": ABSENT, "train.batchsize": 64}
    assert "unknown key train.batchsize; did you mean batch_size?" in refused(tmp_path, changes)


@pytest.mark.parametrize(("section", "value"), [("backbones", BACKBONE), ("heads", {"pool": "mean"})])
@pytest.mark.parametrize("alias", ["v1.5", "a/b", "", "a b", "a\nb"])
def test_an_alias_is_a_name_that_dvc_and_folders_can_hold(tmp_path, section, value, alias):
    shipped = YAML(typ="safe").load(SHIPPED)[section]
    assert make_settings({section: {**shipped, "V1-5_b": value}})
    line = refused(tmp_path, {section: {**shipped, alias: value}})
    assert f"{section}." in line and repr(alias) in line and "A-Za-z" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"train: {batch_size: [", "is not YAML"),
        (b"train:\n  a: 1\n  a: 2\n", "is not YAML"),
        (b"source: \xe9\n", "is not YAML"),
        (b"a: \x00\n", "is not YAML"),
        (b"", "the file: "),
        (b"# nothing but a remark\n", "the file: "),
        (b"- source\n- demo\n", "the file: "),
        (b"42\n", "the file: "),
        (b"x: 2023-99-99\n", "is not YAML"),
        (b"[" * 700, "is not YAML"),
    ],
    ids=["cut", "twice", "not UTF-8", "zero", "empty", "remark", "list", "number", "date", "deep"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, said):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert said in refusal(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train.seeds", [2**64]),
        ("train.batch_size", 2**64),
        ("train.cycles", [10**9]),
        ("train.learning_rates", [0.01, 0.01000000001]),
        ("train.learning_rates", [1e308]),
        ("train.learning_rates", [1e-320]),
        ("train.learning_rates", [i + 0.5 for i in range(5000)]),
        ("demo.users", 2**64),
        ("demo.seed", 2**64),
        ("sets.split.seed", 2**64),
        ("sets.max_images", 2**40),
        ("evaluate.ks", [2**64]),
        ("evaluate.resamples", 10**9),
        ("embed.threads", 2**40),
        ("embed.batch_size", 2**64),
        ("source.path", "a\0b"),
        ("source.path", ""),
        ("source.path", "x" * 100_000),
        ("backbones.lite0.weights", ""),
        ("backbones.lite0.model", "a\x1b[2J"),
        ("compare.heads", ["x" * 100_000]),
        ("heads.mine", {"pool": "mean", "hidden": 2**64}),
        ("heads.mine", {"pool": "mean", "divide_by": 2**64}),
        ("heads.mine", {"pool": "multi_query", "queries": 8000}),
        ("heads.mine", {"pool": "x" * 100_000}),
        ("heads.mine", {"x" * 100_000: 1, "pool": "mean"}),
        ("heads.mine", {"pool": "mean", "gate": ["x"] * 10_000}),
    ],
)
def test_a_value_beyond_any_use_is_refused_in_a_short_line(monkeypatch, name, value):
    monkeypatch.setattr("pipeline.settings.settings.read_yaml", lambda _: changed({name: value}))
    line = refusal("params.yaml")
    assert len(line) < 500 and line.isprintable()


def test_a_folder_is_refused(tmp_path):
    assert "cannot be read" in refusal(tmp_path)


def test_a_missing_file_is_refused_with_what_to_do(tmp_path):
    assert "is missing: run from the repository's root, or give --params" in refusal(tmp_path / "params.yaml")


def test_numbers_are_read_as_yaml_1_2_and_dvc_read_them(tmp_path):
    path = tmp_path / "params.yaml"
    write_settings(path, {"train.learning_rates": ["@", 2], "train.weight_decay": 0})
    text = path.read_text()
    path.write_text(text.replace("'@'", "1e-3"))
    train = load(path).train
    assert "'@'" in text and train.learning_rates == [0.001, 2.0] and train.weight_decay == 0.0


def test_settings_cannot_be_changed_once_they_are_read():
    settings = make_settings()
    with pytest.raises(ValidationError):
        settings.train.batch_size = 1


def test_a_head_made_of_parts_stands_wherever_a_preset_may():
    settings = make_settings({"heads.mine": PARTS, "compare.heads": ["average", "mine"], "ablation.heads": ["mine"]})
    assert settings.compared() == {"average": preset("average"), "mine": parse(PARTS)}
    assert settings.require("lite0", "mine", "average") is None


def test_swaps_are_those_asked_for_else_those_listed():
    settings = load(SHIPPED)
    assert settings.swaps(None, ()) == settings.swaps("lite0", ()) == [("lite0", "lite1")]
    assert settings.swaps("lite1", ("lite2", "lite0")) == [("lite1", "lite2"), ("lite1", "lite0")]
    for words, said in (
        (("lite0", ("lite1", "lite0")), "lite0 cannot be swapped for itself"),
        (("lite1", ()), "swap lists no backbone for lite1"),
        (("lite0", ("lite9",)), "unknown backbone 'lite9'"),
        (("lite9", ()), "unknown backbone 'lite9'"),
    ):
        with pytest.raises(SettingsError, match=said):
            settings.swaps(*words)


def test_a_name_asked_for_is_looked_up_and_the_near_one_told():
    settings = make_settings({"heads.mine_fc": PARTS})
    for name, nearest in (("noisy_and", "noisy_or"), ("mime_fc", "mine_fc")):
        with pytest.raises(SettingsError, match=rf"head '{name}'; did you mean {nearest}\? \(visagg heads lists them"):
            settings.head(name)
    for alias in ("lite", "average"):
        with pytest.raises(SettingsError, match=rf"unknown backbone '{alias}'.*declared under backbones: lite0, "):
            settings.backbones_of(["lite0", alias])
    assert list(settings.backbones_of(["lite1", "lite0"])) == ["lite1", "lite0"]
    with pytest.raises(SettingsError, match=r"unknown head 'lite0'"):
        settings.require("lite0", "average", "lite0")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"pool": "mean", "hiden": 4}, "}: pool mean has no option hiden"),
        ({"pool": "men"}, "}: pool: 'men' is none of "),
        ({"hidden": 4}, "}: pool: None is none of "),
        ({"pool": "mean", "hidden": 0}, "}: hidden: "),
        ({"pool": "mean", "hidden": "256"}, "}: hidden: "),
        ({"pool": "mean", "gate": "x\ny"}, "}: gate: "),
        ({"pool": "mean", "dropout": 1.0}, "}: dropout: "),
        (
            {"pool": "attention", "project": True},
            "}: pool attention has no option project; pools that have it: squeeze",
        ),
        ({"pool": "noisy_or", "project": True}, "}: pool noisy_or has no option project; pools that have it: squeeze"),
    ],
)
def test_a_spec_that_means_nothing_is_refused_in_one_line(parts, said):
    with pytest.raises(SettingsError) as fault:
        parse(parts)
    assert said in str(fault.value) and "\n" not in str(fault.value)


def changed_by(*changes):
    return load(SHIPPED, changes)


def test_settings_given_for_one_command_take_the_place_of_the_file_s():
    settings = changed_by(
        "train.patience=3", "compare.heads=[average, noisy_or]", "sets.split.test = 0.3", 'source.dates=""'
    )
    assert (settings.train.patience, settings.compare.heads, settings.sets.split.test) == (
        3,
        ["average", "noisy_or"],
        0.3,
    )
    assert changed_by("backbones.mine={model: m, weights: hub}").backbone("mine").model == "m"
    assert changed_by("train.weight_decay=1e-3").train.weight_decay == 0.001
    assert changed_by('source.path="a=b"').source.path == "a=b"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.patiense=3", "--set: unknown key train.patiense; did you mean patience?"),
        ("trian.patience=3", "--set trian.patience=3: no section 'trian'; did you mean train?"),
        ("train.patience", "--set train.patience: give it as KEY=VALUE, such as train.patience=5"),
        ("=3", "--set =3: give it as KEY=VALUE"),
        ("train.patience.x=3", "'train.patience' holds one value, and has nothing below it"),
        ("train.patience=soon", "--set: train.patience: input should be a valid integer, not 'soon'"),
        ("train.seeds=[0", "--set train.seeds=[0: the value is not YAML: "),
        ("compare.heads=[avrage]", "--set: unknown head 'avrage'; did you mean average?"),
        ("train.seeds=" + "[" * 100, "nested more than"),
    ],
)
def test_a_setting_for_one_command_is_refused_as_one_of_the_file_is(change, said):
    with pytest.raises(SettingsError) as refused:
        changed_by(change)
    assert said in str(refused.value) and str(refused.value).isprintable()


def test_a_fault_of_the_file_is_not_laid_to_what_was_given_for_one_command(tmp_path):
    write_settings(tmp_path / "params.yaml", {"train.patience": "soon"})
    with pytest.raises(SettingsError, match=r"params.yaml: train.patience: "):
        load(tmp_path / "params.yaml", ["demo.seed=3"])
