"""What a change makes stale: the graph of dvc.yaml under DVC itself, with made-up outs in place of the stages' work."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from dvc.repo import Repo

from pipeline.heads.declare import write_specs
from pipeline.project import Project
from pipeline.settings.settings import load
from tests.support.pools import TWICE
from tests.support.program import start_dvc
from tests.support.settings import ROOT, change_settings

BACKBONES = ("lite0", "lite1")
HEADS = ("average", "squeeze_fc", "squeeze_expand_fc")


@pytest.fixture(scope="module")
def up_to_date(tmp_path_factory) -> Path:
    """A project in which every stage is up to date: its outs are made up, but for the specs of heads."""
    root = tmp_path_factory.mktemp("graph")
    shutil.copytree(ROOT / "pipeline", root / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", root)
    (root / "data/raw").mkdir(parents=True)
    change_settings(root / "pipeline/params.yaml", {"compare.heads": list(HEADS), "ablation.heads": ["average"]})
    start_dvc(root)
    with chdir(root), Repo(root) as repo:
        for out in (Path(out.fs_path) for stage in repo.index.stages for out in stage.outs):
            out.parent.mkdir(parents=True, exist_ok=True)
            if out.suffix:
                out.write_text(str(out.relative_to(root)))
            else:
                out.mkdir(exist_ok=True)
                (out / "content").write_text(str(out.relative_to(root)))
        (root / "data/catalogue/images.h5").write_text("images")
        write_specs(Project(root), load(root / "pipeline/params.yaml"))
        repo.commit(force=True)
    assert stale(root) == set()
    return root


@pytest.fixture
def graph(up_to_date) -> Iterator[Path]:
    """The same, as it was after each test."""
    saved = up_to_date.parent / "saved"
    shutil.copytree(up_to_date / "pipeline", saved)
    specs = shutil.copytree(up_to_date / "cache/specs", up_to_date.parent / "saved_specs")
    yield up_to_date
    for folder, kept in ((up_to_date / "pipeline", saved), (up_to_date / "cache/specs", specs)):
        shutil.rmtree(folder)
        shutil.move(kept, folder)


def stale(root: Path) -> set[str]:
    """The stages that DVC would run now, less those that only follow from others, and `source`, which always runs."""
    with chdir(root), Repo(root) as repo:
        return set(repo.status()) - {"source"}


def stale_after_specs(root: Path) -> set[str]:
    """The stages that are stale once the stage `specs` has run with the project's own code."""
    subprocess.run([sys.executable, "-m", "pipeline.cli", "specs"], cwd=root, check=True)
    return stale(root) - {"specs"}


def edit(root: Path, path: str, change: Callable[[str], str]) -> None:
    file = root / "pipeline" / path
    before = file.read_text()
    after = change(before)
    assert after != before
    file.write_text(after)


def comment(text: str) -> str:
    return text + "\n# A remark.\n"


def of_each_backbone(*stages: str) -> set[str]:
    return {stage.replace("*", backbone) for stage in stages for backbone in BACKBONES}


def test_a_new_pool_retrains_nothing_and_its_line_trains_it_once_a_backbone(graph):
    (graph / "pipeline/heads/pools/twice.py").write_text(TWICE)
    assert stale_after_specs(graph) == set()
    change_settings(graph / "pipeline/params.yaml", {"compare.heads": [*HEADS, "twice_fc"]})
    follow = {"swap", "merge", "gallery", "report"}
    assert stale_after_specs(graph) == of_each_backbone("train@*-twice_fc", "evaluate@*", "cost@*") | follow


def test_an_edited_pool_retrains_the_heads_that_have_it(graph):
    edit(
        graph,
        "heads/pools/squeeze_attention.py",
        lambda text: text.replace("pooled = weighted_sum(", "pooled = 2 * weighted_sum("),
    )
    trained = {stage for stage in stale_after_specs(graph) if stage.startswith("train")}
    # squeeze-expand pools by squeeze attention first: its code is part of that head's, its default is not.
    assert trained == of_each_backbone("train@*-squeeze_fc", "train@*-squeeze_expand_fc")


def test_a_comment_or_a_docstring_of_a_head_retrains_nothing(graph):
    for path in ("heads/pools/mean.py", "heads/classifier.py", "heads/layers/masking.py", "heads/spec.py"):
        edit(graph, path, comment)
    edit(graph, "heads/pools/mean.py", lambda text: text.replace('"""Average pooling."""', '"""Averages."""'))
    assert stale_after_specs(graph) == set()


def test_how_every_head_is_built_retrains_all(graph):
    edit(graph, "heads/classifier.py", lambda text: text.replace("x.masked_fill(~mask", "(2 * x).masked_fill(~mask"))
    trained = {stage for stage in stale_after_specs(graph) if stage.startswith("train")}
    assert trained == of_each_backbone(*(f"train@*-{head}" for head in HEADS))


def test_a_new_metric_retrains_nothing_and_fits_no_adapter(graph):
    edit(graph, "metrics/ranking.py", comment)
    edit(graph, "metrics/measure.py", comment)
    assert stale(graph) == of_each_backbone("evaluate@*", "references@*") | {"popularity", "merge", "report"}


def test_folding_touches_what_is_folded(graph):
    edit(graph, "export/folding.py", comment)
    assert stale(graph) == of_each_backbone("cost@*") | {"merge"}


def test_tables_and_plots_touch_the_report_alone(graph):
    for path in ("report/tables/swap.py", "report/page.py", "report/published.py", "report/template/page.css"):
        edit(graph, path, comment)
    assert stale(graph) == {"report"}


def test_reading_images_touches_nothing_behind_the_embeddings(graph):
    edit(graph, "images.py", comment)
    assert stale(graph) == {"ingest", "gallery"} | of_each_backbone("finetune@*", "embed@*")


def test_the_downloader_touches_no_catalogue_and_what_reads_photos_does(graph):
    edit(graph, "ingest/fetch/client.py", comment)
    edit(graph, "ingest/fetch/pace.py", comment)
    change_settings(graph / "pipeline/params.yaml", {"fetch.rate": 1.0, "fetch.contact": "tests@example.org"})
    assert stale(graph) == {"fetch"}
    edit(graph, "ingest/fetch/reading.py", comment)
    assert stale(graph) == {"fetch", "ingest"}


def test_a_training_setting_retrains_and_embeds_nothing(graph):
    change_settings(graph / "pipeline/params.yaml", {"train.cycles": [7]})
    stages = stale(graph)
    assert {stage.split("@")[0] for stage in stages} == {"train", "references", "ablate", "conditions"}
