"""What DVC watches of a head, and what a new head takes: one file, and one line of settings."""

import json
import shutil

import pytest

from pipeline.heads.declare import code_of, write_specs
from pipeline.heads.presets import PRESETS
from pipeline.heads.registry import parse
from pipeline.project import Project
from tests.support.pools import PROBE, TWICE
from tests.support.program import evaluate
from tests.support.settings import ROOT, change_settings, make_settings


@pytest.fixture
def copied(tmp_path):
    """A folder with a copy of the package."""
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


DIGESTS = """
import json
from pathlib import Path

from pipeline.heads.declare import code_of

digests = []
for files in {versions!r}:
    for path, text in files.items():
        Path("pipeline/heads", path).write_text(text)
    digests.append({{pool: code_of(pool) for pool in {pools!r}}})
print(json.dumps(digests))
"""


def test_an_edit_changes_the_digests_of_the_heads_that_have_the_code_and_no_words_do(copied):
    attention = (copied / "pipeline/heads/pools/attention.py").read_text()
    dropout = (copied / "pipeline/heads/layers/dropout.py").read_text()
    words = attention.replace('"""One layer of attention over a set."""', '"""Other words."""')
    words = words.replace("        super().__init__()\n", '        """Words."""\n        super().__init__()  # words\n')
    assert words.count("ords") == 3
    versions = [
        {},
        {"pools/attention.py": words, "pools/twice.py": TWICE},
        {"pools/attention.py": attention.replace("x @ self.query", "x @ (2 * self.query)")},
        {"pools/attention.py": attention, "layers/dropout.py": dropout.replace(">=", ">")},
    ]
    pools = ["attention", "attention2", "low_rank_attention2", "mean", "noisy_or", "squeeze_expand"]
    before, *after = evaluate(copied, DIGESTS.format(versions=versions, pools=pools))
    changed = [{pool for pool in before if digests[pool] != before[pool]} for digests in after]
    assert changed == [set(), set(pools[:3]), set(pools)]


def test_a_head_is_built_of_its_pool_and_of_what_that_imports_and_of_no_other_pool():
    for pool, imported in (("mean", set()), ("attention2", {"attention"}), ("squeeze_expand", {"squeeze_attention"})):
        code = code_of(pool).keys()
        assert {name for name in code if ".pools." in name} == {f"pipeline.heads.pools.{p}" for p in {pool, *imported}}
        assert {"pipeline.heads.classifier", "pipeline.heads.layers.gating", "pipeline.heads.spec"} <= code


def test_specs_are_written_of_the_compared_heads_and_of_no_others(tmp_path):
    project = Project(tmp_path)
    changes = {
        "heads": {"mine": {"pool": "squeeze_attention", "squeeze": 8}},
        "compare.heads": ["average", "mine"],
        "ablation.heads": ["max_fc"],
    }
    write_specs(project, make_settings(changes))
    assert sorted(path.name for path in project.specs.iterdir()) == ["average.json", "mine.json"]
    assert [path.name for path in project.ablation_specs.iterdir()] == ["max_fc.json"]
    content = json.loads((project.specs / "mine.json").read_text())
    assert content == {
        "spec": parse({"pool": "squeeze_attention", "squeeze": 8}).model_dump(),
        "code": code_of("squeeze_attention"),
    }
    average = (project.specs / "average.json").read_bytes()
    write_specs(project, make_settings({"compare.heads": ["average"], "ablation.heads": ["average"]}))
    assert [path.name for path in project.specs.iterdir()] == ["average.json"]
    assert [path.name for path in project.ablation_specs.iterdir()] == ["average.json"]
    assert (project.specs / "average.json").read_bytes() == average


# The recipe


USE = """
import json
from pathlib import Path

import torch

from pipeline.settings import settings
from pipeline.core.errors import SettingsError
from pipeline.export.folding import fold
from pipeline.heads.classifier import build_head
from pipeline.heads.declare import write_specs
from pipeline.heads.presets import listing
from pipeline.project import Project

loaded = settings.load(Path("pipeline/params.yaml"))
write_specs(Project(), loaded)
heads = {name: build_head(loaded.head(name), 16, 3).eval() for name in ("probe_fc", "twice_fc", "wide_probe")}
x, mask = torch.randn(4, 5, 9), torch.arange(5) < torch.tensor([[5], [2], [1], [3]])
matrix, offset = torch.randn(9, 16) / 3, torch.randn(16)
with torch.no_grad():
    difference = fold(heads["probe_fc"], matrix, offset)(x, mask) - heads["probe_fc"](x @ matrix + offset, mask)
try:
    refusal = fold(heads["twice_fc"], matrix, offset) and ""
except SettingsError as error:
    refusal = str(error)
print(json.dumps({
    "listed": {row["name"]: row["parameters"] for row in json.loads(listing(16, 3, as_json=True))},
    "built": {name: head.parameter_count() for name, head in heads.items()},
    "formula": {name: head.spec.parameter_count(16, 3) for name, head in heads.items()},
    "written": sorted(path.stem for path in Path("cache/specs/compared").iterdir()),
    "difference": difference.abs().max().item(),
    "refusal": refusal,
}))
"""


def test_a_new_head_is_one_file_and_one_line_of_settings(copied):
    (copied / "pipeline/heads/pools/probe.py").write_text(PROBE)
    (copied / "pipeline/heads/pools/twice.py").write_text(TWICE)
    changes = {"compare.heads": ["average", "probe_fc"], "heads": {"wide_probe": {"pool": "probe", "probes": 5}}}
    change_settings(copied / "pipeline/params.yaml", changes)
    used = evaluate(copied, USE)
    behind = 16 * 256 + 256 + 256 * 3 + 3
    sizes = {"probe_fc": 2 * 16 + 17 + behind, "twice_fc": behind, "wide_probe": 5 * 16 + 17 + behind}
    assert used["built"] == used["formula"] == sizes
    assert used["listed"].keys() == {*PRESETS, "probe_fc", "twice_fc"}
    assert used["listed"]["probe_fc"] == sizes["probe_fc"]
    assert used["written"] == ["average", "probe_fc"]
    assert used["difference"] < 1e-5
    assert used["refusal"] == ("no adapter can be merged into a head of this kind (twice): its pool does not say how")
