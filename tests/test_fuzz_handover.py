"""Whatever damaged a file between two stages, the next stage ends in one line, or in the bytes of an undisturbed run.

Files are cut, flipped, zeroed, emptied, exchanged with others; records are also changed and sealed anew, as a hostile
writer would: then a stage may believe them, but never ends in a traceback. The long version tries more:

    VISAGG_FUZZ=1500 pytest -n 0 -m long tests/test_fuzz_handover.py -s
"""

import json
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.failure import explain
from pipeline.core.handover import SEAL, sealed, write_record
from pipeline.evaluation.ablation import ablate
from pipeline.evaluation.conditions import compare_under_conditions
from pipeline.evaluation.cost import measure_heads
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.popularity import evaluate_popularity
from pipeline.evaluation.references import evaluate_references
from pipeline.project import Project
from pipeline.report import contents
from pipeline.report.gallery import make_gallery
from pipeline.report.stage import report
from pipeline.settings.settings import Settings
from pipeline.swap.merging import merge
from pipeline.swap.stage import swap
from pipeline.training.stage import train
from tests.support.results import DESCRIPTION
from tests.support.world import World
from tests.support.world import contents as files_of

QUICK = {
    "train.seeds": [0],
    "train.cycles": [2],
    "compare.heads": ["average", "noisy_or"],
    "compare.backbones": ["old", "new"],
    "conditions.heads": ["average"],
    "conditions.users": 60,
    "conditions.cases": {"gifts": {"rule": "any", "gifts": 0.2, "photos": 5}},
}
Stage = Callable[[Project, Settings], Any]
STAGES: dict[str, Stage] = {
    "train": lambda project, settings: train(project, "old", "average", settings),
    "evaluate": lambda project, settings: evaluate(project, "old", [], settings),
    "popularity": evaluate_popularity,
    "references": lambda project, settings: evaluate_references(project, "old", settings),
    "conditions": compare_under_conditions,
    "ablate": ablate,
    "cost": lambda project, settings: measure_heads(project, "old", settings),
    "swap": lambda project, settings: swap(project, [("old", "new")], settings),
    "merge": lambda project, settings: merge(project, [("old", "new")], settings),
    "gallery": make_gallery,
    "report": report,
}
READERS = {  # by the beginning of a path
    "data/sets.parquet": ("train", "evaluate", "popularity", "swap", "gallery"),
    "data/image_labels.parquet": ("references", "conditions"),
    "data/labels.json": ("train", "evaluate", "references", "popularity", "cost", "swap", "gallery"),
    "data/description.json": ("report",),
    "data/catalogue/": ("gallery", "ablate"),
    "cache/embeddings/": ("train", "evaluate", "swap"),
    "cache/heads/old/": ("evaluate", "swap", "merge"),
    "cache/results/": ("gallery", "report"),
    "cache/references/": ("report",),
    "cache/conditions.json": ("report",),
    "cache/adapters/": ("merge",),
    "cache/swap/": ("report",),
    "cache/merged/": ("report",),
    "cache/cost/": ("report",),
    "cache/ablation.json": ("report",),
    "cache/gallery.json": ("report",),
}
OUTPUTS = {
    "train": "cache/heads/old/average",
    "evaluate": "cache/results/old",
    "popularity": "cache/results/popularity",
    "references": "cache/references/old",
    "conditions": "cache/conditions.json",
    "ablate": "cache/ablation.json",
    "swap": "cache/swap",
    "merge": "cache/merged",
    "gallery": "cache/gallery.json",
    "report": "reports/tables",
}
ODD = [
    None,
    -1,
    0,
    1e9,
    10**30,
    1e308,
    "",
    "x" * 1000,
    [],
    {},
    [[]],
    {"a": 1},
    True,
    "../../etc/passwd",
    0.5,
    [1] * 5000,
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> World:
    """A project in which every stage has run."""
    patch = pytest.MonkeyPatch()
    patch.setattr(contents, "PLOTS", [])  # they take the most time and read nothing
    made = World(tmp_path_factory.mktemp("whole"), QUICK)
    made.write_catalogue()
    write_record(made.project.description, {**DESCRIPTION, "sets_digest": made.labelled().digest})
    made.train("old", "average", "noisy_or")
    made.train("new", "average", "noisy_or")
    made.evaluate("new", "average", "noisy_or")
    for stage in (
        "evaluate",
        "popularity",
        "references",
        "conditions",
        "ablate",
        "cost",
        "swap",
        "merge",
        "gallery",
        "report",
    ):
        STAGES[stage](made.project, made.settings)
    yield made
    patch.undo()


def damaged(generator: np.random.Generator, path: Path, others: list[Path]) -> tuple[str, bytes | None]:
    """What is done to a file, and its bytes afterwards; None: it is gone."""
    data = path.read_bytes()
    ways = ["cut", "flip", "zeros", "empty", "other", "gone", "longer", *["changed"] * (3 * (path.suffix == ".json"))]
    way = str(generator.choice(ways))
    at = int(generator.integers(0, max(1, len(data))))
    if way == "cut":
        return way, data[:at]
    if way == "flip" and data:
        return way, data[:at] + bytes([data[at] ^ int(generator.integers(1, 256))]) + data[at + 1 :]
    if way == "zeros":
        return way, data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :]
    if way == "other":
        return way, others[int(generator.integers(0, len(others)))].read_bytes()
    if way == "longer":
        return way, data + generator.bytes(40)
    if way == "changed":
        return way, changed(generator, data)
    return ("gone", None) if way == "gone" else ("empty", b"")


def changed(generator: np.random.Generator, data: bytes) -> bytes:
    """A record with something odd in it, sealed anew."""
    content = json.loads(data)
    content.pop(SEAL, None)
    place, key = content, None
    while isinstance(place, dict | list) and len(place):
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = keys[int(generator.integers(0, len(keys)))]
        if not isinstance(place[key], dict | list) or not len(place[key]) or generator.random() < 0.3:
            break
        place = place[key]
    if generator.random() < 0.2:
        del place[key]
    else:
        place[key] = ODD[int(generator.integers(0, len(ODD)))]
    return json.dumps(sealed(content)).encode()


def attempt(world: World, folder: Path, seed: int) -> str:
    """One file damaged, one of its readers run: what came of it."""
    generator = np.random.default_rng(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world.project.root, folder, symlinks=True)
    project = Project(folder)
    prefix = str(generator.choice(list(READERS)))
    candidates = [name for name in files_of(folder) if name.startswith(prefix)]
    path = folder / str(generator.choice(candidates))
    stage = str(generator.choice(READERS[prefix]))
    others = [other for other in sorted(folder.rglob(f"*{path.suffix}")) if other != path and other.is_file()]
    if path.suffix == ".h5":  # another backbone's whole store, under this name, is a store like any other
        others = []
    way, data = damaged(generator, path, others or [path])
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            STAGES[stage](project, world.settings)
    except Exception as error:
        said = explain(error)
        where = f"seed {seed}: {way} {path.relative_to(folder)} for {stage}"
        if said is None or "\n" in said[0] or len(said[0]) > 1000:
            pytest.fail(f"{where}: {type(error).__name__}: {str(error)[:300]}")
        return "refused"
    shown_as_missing = way == "gone" and stage == "report"
    if way != "changed" and stage in OUTPUTS and not shown_as_missing:
        was, now = (root / OUTPUTS[stage] for root in (world.project.root, folder))
        same = files_of(now) == files_of(was) if now.is_dir() else now.read_bytes() == was.read_bytes()
        assert same, f"seed {seed}: {way} {path.relative_to(folder)} was accepted by {stage}"
    return "believed" if way == "changed" else "same"


def test_damaged_files_between_stages(whole, tmp_path):
    outcomes = Counter(attempt(whole, tmp_path / "copy", seed) for seed in range(30))
    assert outcomes["refused"] > 15


@pytest.mark.long
def test_many_damaged_files_between_stages(whole, tmp_path):
    count = int(os.environ.get("VISAGG_FUZZ", "1500"))
    outcomes, faults = Counter(), []
    for seed in range(1000, 1000 + count):
        try:
            outcomes[attempt(whole, tmp_path / "copy", seed)] += 1
        except (AssertionError, pytest.fail.Exception) as error:
            faults.append(str(error).splitlines()[0])
    print(f"\ndamaged files: {count}; {dict(outcomes)}; faults {len(faults)}", *faults, sep="\n")
    assert not faults
