"""visagg export: what is carried away answers as the trained model does, or there is nothing to carry."""

import hashlib
import json
import re
import sys
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.core import provenance
from pipeline.core.errors import SettingsError, StageError
from pipeline.export import onnx_files
from pipeline.export.folding import fold
from pipeline.export.onnx_files import quantise, write_head
from pipeline.export.predict.exported import open_exported, session
from pipeline.export.predict.interests import predict
from pipeline.export.predict.photos import find_photos
from pipeline.export.predict.trained import TrainedModel
from pipeline.export.stage import Form, export
from pipeline.heads.classifier import build_head
from pipeline.heads.presets import PRESETS, preset
from tests.support.carried import inside
from tests.support.images import jpeg
from tests.support.settings import ROOT

pytest.importorskip("onnxscript", reason="no onnxscript here: pip install 'visagg[export]'")
DIM, CLASSES = 16, 5
FILES = {"README.md", "config.json", "backbone.onnx", "head.onnx", "backbone.safetensors", "head.safetensors"}
SOME = ("average", "attention2_cg_fc", "squeeze_fc", "gem_fc", "nextvlad_fc", "noisy_or", "logsumexp_sharp")


def stressed(name: str):
    """A head with parameters as large as training could make them, and a calibration."""
    torch.manual_seed(len(name))
    head = build_head(preset(name), DIM, CLASSES).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    if head.spec.standardised:
        head.standardise(torch.randn(DIM), torch.rand(DIM) + 0.1)
    head.calibrate(0.6, -1.5)
    return head


def require_same_answers(head, path):
    """ONNX against torch: an empty set, one photo, 200 photos, padding; and vectors a hundred times too large, of whose
    scores float32 itself knows little: they are numbers."""
    runtime = session(path)
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(200) < torch.tensor([[0], [1], [7], [200]])
    for scale, tolerance in ((1.0, 5e-4), (100.0, 0.1)):
        x = scale * torch.randn(4, 200, DIM, generator=generator) * mask.unsqueeze(-1)
        with torch.inference_mode():
            expected = [torch.sigmoid(head(x, mask)), head.importance(x, mask), head.importance_by_label(x, mask)]
        answers = runtime.run(None, {"vectors": x.numpy(), "mask": mask.numpy()})
        for wanted, answer in zip(expected, answers, strict=True):
            assert np.isfinite(answer).all()
            assert np.abs(answer - wanted.numpy()).max() < tolerance
    assert np.abs(answers[2][0]).max() == 0  # nobody's photos speak for nothing


def check_preset(name, path):
    head = stressed(name)
    if head.spec.pool == "pma":
        with pytest.raises(SettingsError, match="pma cannot be exported"):
            write_head(path, head, half=False)
        return
    write_head(path, head, half=False)
    require_same_answers(head, path)


@pytest.mark.parametrize("name", [*SOME, "instance_attention", "pma_fc"])
def test_a_head_answers_in_onnx_as_in_torch(name, tmp_path):
    check_preset(name, tmp_path / "head.onnx")


@pytest.mark.long
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_answers_in_onnx_as_in_torch(name, tmp_path):
    check_preset(name, tmp_path / "head.onnx")


def test_a_folded_head_answers_in_onnx_as_the_head_did(tmp_path):
    head = stressed("squeeze_fc")
    write_head(tmp_path / "head.onnx", fold(head).eval(), half=False)
    require_same_answers(head, tmp_path / "head.onnx")


def test_weights_of_16_bits_lose_little():
    weights = np.random.default_rng(0).normal(0, [[0.01], [1.0], [100.0]], (3, 5000)).astype(np.float32)
    levels, scale = quantise(weights)
    assert levels.dtype == np.int16 and scale.shape == (3, 1)
    error = np.abs(levels * scale - weights).max(1) / np.abs(weights).max(1)
    assert (error < 2e-5).all()  # float16: 2e-4


@pytest.fixture(scope="module")
def folder(carried, tmp_path_factory):
    """An exported model."""
    return _export(carried, tmp_path_factory.mktemp("exported") / "model")


def _export(carried, folder, backbone="lite0", head="noisy_or", **form):
    with inside(carried.root):
        export(carried.project, (backbone, head), folder, form=Form(**form), settings=carried.settings)
    return folder


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Some photos."""
    top = tmp_path_factory.mktemp("shots")
    for seed in range(7):
        (top / f"{seed}.jpg").write_bytes(jpeg(seed, 90 + 20 * seed, 120))
    return top


def trained(carried, backbone="lite0", head="noisy_or"):
    with inside(carried.root):
        return TrainedModel(carried.project, backbone, head, settings=carried.settings)


@pytest.mark.parametrize(
    ("backbone", "head", "half"),
    [("lite0", "noisy_or", False), ("lite1", "average_fc_from_lite0", True)],
)
def test_the_folder_answers_as_the_trained_model_does(carried, shots, tmp_path, backbone, head, half):
    folder = _export(carried, tmp_path / "model", backbone, head, half=half)
    assert {path.name for path in folder.iterdir()} == FILES
    photos = [*find_photos([shots])]
    said, expected = (
        predict(photos, model, 2).content["interests"]
        for model in (open_exported(folder), trained(carried, backbone, head).model())
    )
    values = [{one["label"]: one["probability"] for one in answer} for answer in (said, expected)]
    assert values[0] == pytest.approx(values[1], abs=1e-3)
    decided = [{one["label"]: one["predicted"] for one in answer} for answer in (said, expected)]
    assert decided[0] == decided[1]


def test_the_configuration_says_what_an_application_needs(carried, folder):
    config = json.loads((folder / "config.json").read_text())
    model = trained(carried)
    assert config["labels"] == model.checkpoint.labels
    assert config["thresholds"] == [model.seed.threshold] * len(config["labels"])
    assert config["simulated"] is True and config["source"] == "demo"
    assert config["preprocessing"]["resize"] == model.backbone.preprocessing.crop.resize
    assert config["fingerprint"] == model.backbone.fingerprint
    assert config["calibration"]["slope"] == pytest.approx(float(model.head.slope), abs=1e-6)
    for name, digest in config["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert set(config["files"]) == FILES - {"README.md", "config.json"}


def test_safetensors_are_the_weights_themselves(carried, folder):
    model = trained(carried)
    state = load_file(folder / "backbone.safetensors")
    assert provenance.digest_tensors((name, tensor.numpy()) for name, tensor in state.items()) == (
        provenance.digest_tensors((name, tensor.numpy()) for name, tensor in model.backbone.model.state_dict().items())
    )
    assert load_file(folder / "head.safetensors").keys() == fold(model.head).state_dict().keys()


def test_the_card_has_the_metadata_of_a_hub_and_figures_with_intervals(folder):
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert len(re.findall(r"^\| (?:micro|macro) (?:F1|AP) \| \d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\] \|$", card, re.M)) == 4
    assert "**Simulated.**" in card and "users who do not exist" in card
    assert "{{" not in card and "missing" not in card


def test_an_export_is_replaced_by_the_same_bytes_without_a_path_of_this_machine(carried, folder, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "model/old.onnx").write_text("old")
    again = _export(carried, tmp_path / "model")
    assert {path.name for path in again.iterdir()} == FILES
    for name in FILES:
        content = (folder / name).read_bytes()
        assert (again / name).read_bytes() == content, name
        assert str(ROOT).encode() not in content and str(carried.root).encode() not in content


def test_a_model_that_differs_is_not_left(carried, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "SMALLEST_HALF", 64)
    monkeypatch.setattr(onnx_files, "LEVELS", 7)
    with pytest.raises(StageError, match=r"differs from lite0/noisy_or: .* nothing was left") as raised:
        _export(carried, tmp_path / "model")
    assert "\n" not in str(raised.value) and list(tmp_path.glob("model*")) == []


def test_no_other_folder_is_replaced(carried, tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(StageError, match="no exported model: name another folder"):
        _export(carried, tmp_path)
    assert (tmp_path / "diary.txt").read_text() == "mine"


@pytest.mark.long
def test_files_for_litert_answer_as_the_trained_model_does(carried, tmp_path):
    pytest.importorskip("litert_torch", reason="no litert-torch here: pip install 'visagg[litert]'")
    folder = _export(carried, tmp_path / "model", litert=True)  # which compares them
    assert {path.name for path in folder.iterdir()} == FILES | {"backbone.tflite", "head.tflite"}


def test_without_what_converts_for_litert_the_folder_is_not_left(carried, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(StageError, match=r"pip install 'visagg\[litert\]'"):
        _export(carried, tmp_path / "model", litert=True)
    assert not (tmp_path / "model").exists()


def _cut(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-9])


def _edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "head.onnx").unlink(), "head.onnx cannot be read"),
        (partial(_cut, name="backbone.onnx"), "backbone.onnx is not the file that was written"),
        (partial(_cut, name="config.json"), "config.json"),
        (partial(_edit, format=2), "has format 2, and this program reads 1"),
        (partial(_edit, thresholds=[0.5]), "labels and 1 thresholds"),
        (partial(_edit, labels="hats"), "labels"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(folder, tmp_path, damage, message):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    damage(copy)
    with pytest.raises(StageError, match=message) as raised:
        open_exported(copy)
    assert "\n" not in str(raised.value)
