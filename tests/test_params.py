"""params.yaml and the parts of heads: what is shipped loads, what means nothing is refused in a line that names it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import pipeline
from pipeline.errors import SettingsError
from pipeline.heads import PRESETS, resolve
from pipeline.params import load

SHIPPED = Path(pipeline.__file__).with_name("params.yaml")
ABSENT = object()


def written(path, changes=()):
    """The shipped settings with some dotted keys changed or taken out, as a file; JSON is YAML."""
    content = YAML(typ="safe").load(SHIPPED)
    for keys, value in changes:
        *above, last = keys
        section = content
        for key in above:
            section = section[key]
        if value is ABSENT:
            del section[last]
        else:
            section[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def refusal(path):
    with pytest.raises(SettingsError) as refused:
        load(path)
    line = str(refused.value)
    assert "\n" not in line and line.startswith(str(path))
    return line.removeprefix(str(path))


def test_the_shipped_settings_load_as_they_are_written():
    settings, content = load(SHIPPED), YAML(typ="safe").load(SHIPPED)
    assert settings.model_dump() == content
    assert all(settings.head(alias) == resolve(content["heads"][alias]) for alias in settings.compare.heads)
    assert settings.backbone(settings.compare.backbones[0]).model


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        ("trian", {}, "unknown key trian; did you mean train?"),
        ("qqqq", 1, "unknown key qqqq"),
        ("train.batchsize", 64, "unknown key train.batchsize; did you mean batch_size?"),
        ("sets.split.vallidation", 0.1, "unknown key sets.split.vallidation; did you mean validation?"),
        ("backbones.lite0.modle", "x", "unknown key backbones.lite0.modle"),
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
        ("sets.split.test", 1.0, "sets.split.test: "),
        ("sets.split.validation", 0.0, "sets.split.validation: "),
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
        ("compare.heads", [], "compare.heads: "),
        ("compare.backbones", ["lite9"], "unknown backbone 'lite9'; did you mean lite"),
        ("compare.heads", ["average", "avrage_fc"], "unknown head 'avrage_fc'; did you mean average_fc?"),
        ("heads.mine", "squeeze_fcc", "unknown head 'squeeze_fcc'; did you mean squeeze_fc?"),
        ("heads.mine", {"pool": "mean", "hiden": 3}, "}: hiden: "),
        ("heads.mine", {"pool": "mean", "project": True}, "project needs a pool that squeezes"),
        ("heads.mine", 5, "heads.mine"),
        ("heads.mine", "averag", "heads.mine: unknown head 'averag'"),
        ("sets.seeds", [1], "unknown key sets.seeds"),
        ("backbones.lite0.weigths", "x", "did you mean weights?"),
        ("train.positive_weight", float("inf"), "train.positive_weight: "),
        ("train.seeds", [-1], "train.seeds.0: "),
        ("train.seeds", [1, 1], "train.seeds lists something twice"),
        ("compare.heads", ["average", "average"], "compare.heads lists something twice"),
        ("swap", {"lite0": ["lite2"]}, "swap: 'lite2' is not under compare.backbones; did you mean lite"),
        ("swap", {"lite9": ["lite1"]}, "swap: 'lite9' is not under compare.backbones"),
        ("swap.lite0", ["lite0"], "swap.lite0 lists lite0 itself"),
        ("swap.lite0", ["lite1", "lite1"], "swap.lite0 lists something twice"),
        ("swap.lite0", [], "swap.lite0: "),
        ("sets.split", {"seed": 0, "validation": 0.5, "test": 0.5}, "leave nothing to train on"),
    ],
)
def test_what_means_nothing_is_refused_by_its_name(tmp_path, keys, value, said):
    assert said in refusal(written(tmp_path / "params.yaml", [(keys.split("."), value)]))


@pytest.mark.parametrize("kind", ["backbones", "heads"])
@pytest.mark.parametrize("alias", ["v1.5", "a/b", "", "a b", "a\nb"])
def test_an_alias_is_a_name_that_dvc_and_folders_can_hold(tmp_path, kind, alias):
    value = {"backbones": {"model": "m", "weights": "hub"}, "heads": "average"}[kind]
    assert load(written(tmp_path / "good.yaml", [((kind, "V1-5_b"), value)])).require(kind, "V1-5_b") is None
    line = refusal(written(tmp_path / "params.yaml", [((kind, alias), value)]))
    assert f"{kind}." in line and repr(alias) in line and "A-Za-z" in line


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
        (b"[" * 5000, "is not YAML"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, said):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert said in refusal(path)


def test_a_folder_is_refused(tmp_path):
    assert "cannot be read" in refusal(tmp_path)


def test_a_missing_file_is_refused_with_what_to_do(tmp_path):
    assert "is missing: run from the repository's root, or give --params" in refusal(tmp_path / "params.yaml")


def test_numbers_are_read_as_yaml_1_2_and_dvc_read_them(tmp_path):
    path = written(tmp_path / "params.yaml", [(("train", "learning_rates"), ["@", 2]), (("train", "weight_decay"), 0)])
    path.write_text(path.read_text().replace('"@"', "1e-3"))
    train = load(path).train
    assert train.learning_rates == [0.001, 2.0] and train.weight_decay == 0.0


def test_a_head_may_be_given_by_its_parts(tmp_path):
    parts = {"pool": "squeeze_attention", "squeeze": 128, "project": True, "hidden": None}
    changes = [(("heads", "mine"), parts), (("compare", "heads"), ["mine"])]
    head = load(written(tmp_path / "params.yaml", changes)).head("mine")
    assert (head.pool, head.squeeze, head.project, head.hidden) == ("squeeze_attention", 128, True, None)


def test_swaps_are_those_asked_for_else_those_listed():
    settings = load(SHIPPED)
    assert settings.swaps(None, ()) == settings.swaps("lite0", ()) == [("lite0", "lite1")]
    assert settings.swaps("lite1", ("lite2", "lite0")) == [("lite1", "lite2"), ("lite1", "lite0")]
    for words, said in (
        (("lite0", ("lite1", "lite0")), "lite0 cannot be swapped for itself"),
        (("lite1", ()), "swap lists no backbone for lite1"),
        (("lite0", ("lite9",)), "unknown backbone 'lite9'"),
    ):
        with pytest.raises(SettingsError, match=said):
            settings.swaps(*words)


def test_a_name_asked_for_is_looked_up_and_the_near_one_told():
    settings = load(SHIPPED)
    with pytest.raises(SettingsError, match=r"head 'noisy_and'; did you mean noisy_or\? .*declared under heads: "):
        settings.head("noisy_and")
    with pytest.raises(SettingsError, match="unknown backbone 'lite'.*declared under backbones: "):
        settings.backbone("lite")


def test_a_preset_is_found_by_its_name_and_parts_by_theirs():
    assert resolve("average_fc") is PRESETS["average_fc"] is resolve(resolve("average_fc"))
    assert resolve({"pool": "mean", "hidden": None}) == PRESETS["average"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ("squeze_fc", "did you mean squeeze_fc?"),
        ("zzz", "presets: average,"),
        ({"pool": "mean", "hiden": 4}, "}: hiden: "),
        ({"pool": "men"}, "}: pool: "),
        ({"hidden": 4}, "}: pool: "),
        ({"pool": "mean", "hidden": 0}, "}: hidden: "),
        ({"pool": "mean", "hidden": "256"}, "}: hidden: "),
        ({"pool": "mean", "gate": "x\ny"}, "}: gate: "),
        ({"pool": "attention", "project": True}, "project needs a pool that squeezes"),
        ({"pool": "noisy_or", "project": True}, "project needs a pool that squeezes"),
    ],
)
def test_a_spec_that_means_nothing_is_refused_in_one_line(parts, said):
    with pytest.raises(SettingsError) as refused:
        resolve(parts)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_names_and_settings_are_read_without_torch():
    code = "import sys, pipeline.params, pipeline.heads as h; h.resolve('average'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
