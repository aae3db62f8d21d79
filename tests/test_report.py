"""The report: what stands in the tables, to the letter, and that what is missing is named."""

import csv
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from pipeline import layout, params, published, report, scores, statistics, summary
from pipeline.errors import StageError
from pipeline.heads import resolve
from pipeline.report import results, tables, writing
from tests.conftest import ROOT

LABELS = ["bags", "hats", "shoes", "ties"]
SETTINGS = params.load(ROOT / "pipeline/params.yaml").evaluate.model_copy(update={"ks": [2, 10], "resamples": 200})
HEADS = {name: resolve(name) for name in ("average", "squeeze_fc", "noisy_or")}
GOLDEN = ROOT / "tests/golden"


def save_head(folder, skill, seeds=(0, 1), micro_ap=0.9):
    """A head's results on 120 users: the higher its skill, the nearer its scores to the truth."""
    generator = np.random.default_rng(0)
    truth = generator.random((120, 4)) < 0.4
    truth[:, 0] |= ~truth.any(1)
    images, unseen = generator.integers(1, 9, 120), np.round(generator.random(120) * 1.2) / 1
    parts = summary.segments(images, np.minimum(unseen, 1), truth, np.array([40, 30, 20, 10]))
    own = [
        (skill * truth + (1 - skill) * np.random.default_rng(seed + 5).random(truth.shape)).astype(np.float32)
        for seed in seeds
    ]
    figures = summary.figures(own, truth, [0.5] * len(seeds), list(seeds), LABELS, parts, SETTINGS)
    training = {
        "validation_micro_ap": {"0.003": micro_ap, "0.01": 0.6},
        "learning_rate": 0.003,
        "seeds": [{"seed": seed, "epoch": 2, "micro_ap": micro_ap, "threshold": 0.5} for seed in seeds],
        "epochs": [
            {"seed": seed, "epoch": epoch, "loss": 1 / epoch, "micro_ap": micro_ap - 0.1 / epoch}
            for seed in seeds
            for epoch in (1, 2)
        ],
    }
    scores.write(folder, figures, training=training)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory):
    """What `saved` copies."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_results()
    return folder


@pytest.fixture
def saved(evaluated, tmp_path, monkeypatch):
    """Results of three heads on one backbone, of the floor, and what the other stages leave."""
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_results():
    for name, skill, quality in (("average", 0.3, 0.7), ("squeeze_fc", 0.32, 0.72), ("noisy_or", 0.6, 0.9)):
        save_head(layout.scores("b0") / name, skill, micro_ap=quality)
    save_head(layout.FLOOR_SCORES, 0.0, seeds=(0,))
    (layout.FLOOR_SCORES / "training.json").unlink()
    write(
        layout.DATA_REPORT,
        {
            "source": "demo",
            "simulated": True,
            "items": 1200,
            "users_without_label": 3,
            "users_without_image": 1,
            "sets": {"test": {"sets": 120, "share_of_images_in_training": 1.0}},
            "rejects": {"image: empty image": 2},
        },
    )
    own = {"parameters": 27, "milliseconds": 0.1234, "folded_parameters": 20, "folded_milliseconds": 0.1}
    write(
        layout.cost("b0"),
        {
            "dim": 8,
            "classes": 4,
            "images": 8,
            "backbone_parameters": 1_000_000,
            "machine": {"processor": "P", "threads": 1, "torch": "T"},
            "heads": {"average": own, "squeeze_fc": {**own, "parameters": 54}, "noisy_or": own},
        },
    )
    paired = {"figure": [0.7, 0.65, 0.75], "difference": [-0.05, -0.08, -0.02]}
    alone = {"figure": [0.75, 0.7, 0.8]}
    rows = [
        {"head": "average", "switch": "none", "micro_f1": alone, "micro_ap": alone},
        {"head": "average", "switch": "padding takes part", "micro_f1": paired, "micro_ap": paired},
    ]
    write(layout.ABLATION, {"backbone": "b0", "rows": rows})


def cells(name):
    with open(layout.TABLES / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_to_the_letter(saved):
    """After a change that was meant: look at the difference, then copy the new text to tests/golden."""
    report.report(["b0"], {**HEADS, "gone": resolve("average_fc")}, SETTINGS)
    golden = sorted(GOLDEN.iterdir())
    made = {path.name: (layout.TABLES / path.name).read_text() for path in golden}
    assert made == {path.name: path.read_text() for path in golden} and len(made) == 10


def test_every_table_has_three_forms_and_twice_the_same_bytes(saved):
    report.report(["b0"], HEADS, SETTINGS)
    first = {path: path.read_bytes() for path in layout.REPORTS.rglob("*") if path.is_file()}
    report.report(["b0"], HEADS, SETTINGS)
    assert first == {path: path.read_bytes() for path in layout.REPORTS.rglob("*") if path.is_file()}
    names = ("headline", "quality", "cost", "comparisons", "segments", "tuning", "ablation", "data")
    forms = {layout.TABLES / f"{name}.{end}" for name in names for end in ("md", "csv", "tex")}
    assert forms <= first.keys()
    assert {path.suffix for path in first} <= {".md", ".csv", ".tex", ".json", ".svg", ".html"}


def test_a_missing_pair_is_named_and_the_rest_stands(saved):
    report.report(["b0", "b1"], HEADS, SETTINGS)
    headline = {(row["backbone"], row["head"]): row for row in cells("headline")}
    assert "b1 noisy_or. Declared, but without figures" in layout.PAGE.read_text()
    assert headline["b1", "noisy_or"]["micro F1"] == "missing" and headline["b0", "noisy_or"]["micro F1"] != "missing"
    for name in ("quality", "cost", "tuning"):
        found = [row for row in cells(name) if row["backbone"] == "b1"]
        assert found and all("missing" in row.values() for row in found), name


def test_only_declared_pairs_are_shown(saved):
    save_head(layout.scores("b0") / "stray", 0.5)
    report.report(["b0"], HEADS, SETTINGS)
    assert not any("stray" in path.read_text() for path in layout.TABLES.iterdir())


def test_a_figure_is_the_mean_over_seeds_with_its_interval(saved):
    report.report(["b0"], HEADS, SETTINGS)
    frame = scores.figures(layout.scores("b0") / "noisy_or").filter(pl.col("by") == "all", metric="micro_ap")
    values = np.column_stack([frame["value"], np.array(frame["samples"].to_list())])
    wanted = statistics.estimate(values)
    row = next(row for row in cells("headline") if row["head"] == "noisy_or")
    assert float(row["micro AP"]) == pytest.approx(frame["value"].mean(), abs=1e-6)
    assert [float(row["micro AP low"]), float(row["micro AP high"])] == pytest.approx(
        [wanted.low, wanted.high], abs=1e-6
    )


def test_marks_follow_the_corrected_tests_against_the_references(saved):
    found = results.gather(["b0"], HEADS)
    assert found.reference == {"b0": "squeeze_fc"} and found.average == "average" and found.best == {"b0": "noisy_or"}
    tests = found.comparisons
    asked = {(row["head"], row["against"]) for row in tests.iter_rows(named=True)}
    assert asked == {
        ("average", "squeeze_fc"),
        ("squeeze_fc", "average"),
        ("noisy_or", "squeeze_fc"),
        ("noisy_or", "average"),
    }
    assert len(tests) == 4 * (4 + len(SETTINGS.ks))
    np.testing.assert_allclose(tests["adjusted"], statistics.holm(tests["p"].to_numpy()))
    assert (tests["adjusted"] >= tests["p"]).all() and tests["holds"].sum() < len(tests)
    report.report(["b0"], HEADS, SETTINGS)
    for row in [row for row in cells("headline") if row["backbone"] == "b0"]:
        marks = tests.filter(head=row["head"], metric="micro_f1", holds=True)
        letters = {"average": "a", "squeeze_fc": "p"}
        wanted = {letters[one["against"]] + "-+"[one["difference"] > 0] for one in marks.iter_rows(named=True)}
        assert set(row["micro F1 differs"].split()) == wanted, row["head"]
    assert {"p+", "a+"} == set(
        next(row for row in cells("headline") if row["head"] == "noisy_or")["micro F1 differs"].split()
    )


def test_the_published_best_is_chosen_on_validation_not_on_test(saved):
    save_head(layout.scores("b0") / "average", 0.3, micro_ap=0.99)  # no better on test, but validation says so
    assert results.gather(["b0"], HEADS).reference == {"b0": "average"}


def test_quality_has_ceiling_floor_and_published_rows(saved):
    report.report(["b0"], HEADS, SETTINGS)
    rows = cells("quality")
    ours = [row for row in rows if row["source"] == "measured" and row["k"] == "2"]
    floor = next(row for row in ours if row["head"] == "popularity")
    assert {row["floor F1@k"] for row in ours} == {floor["F1@k"]}
    assert all(float(row["F1@k"]) <= float(row["ceiling F1@k"]) for row in ours)
    quoted = {row["head"]: row for row in rows if row["backbone"] == "published"}
    assert quoted["squeeze_fc"]["thresholded Recall@k"] == "0.91"
    assert quoted["squeeze_fc"]["source"] == "published, not comparable" and quoted["squeeze_fc"]["F1@k"] == ""
    assert published.SOURCE in (layout.TABLES / "quality.md").read_text()


def test_segments_cover_the_test_users(saved):
    report.report(["b0"], HEADS, SETTINGS)
    rows = [row for row in cells("segments") if row["head"] == "noisy_or"]
    for by in ("images in the set", "true labels"):
        assert sum(int(row["sets"]) for row in rows if row["divided by"] == by) == 120
    assert {"head", "middle", "tail"} <= {row["part"] for row in rows}


def test_simulated_data_and_those_left_out_are_named_on_every_page(saved):
    report.report(["b0"], HEADS, SETTINGS)
    for path in layout.TABLES.glob("*.md"):
        assert "**Simulated**" in path.read_text(), path
    text = (layout.TABLES / "headline.md").read_text()
    assert "3 users without a label and 1 without an image are left out" in text
    assert "100 % of the test sets' images are in training sets too" in text


def test_nothing_of_torch_images_or_weights_is_needed_and_it_is_quick(saved):
    code = (
        "import sys; from pathlib import Path; from pipeline import params, report;"
        f"settings = params.load(Path({str(ROOT / 'pipeline/params.yaml')!r}));"
        "report.report(['b0'], {name: settings.head(name) for name in ('average', 'noisy_or')}, settings.evaluate);"
        "sys.exit(bool({'torch', 'timm', 'h5py', 'openvino'} & sys.modules.keys()))"
    )
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})
    assert time.monotonic() - start < 15
    assert cells("headline")


def test_what_is_absent_or_damaged_is_told(saved):
    with pytest.raises(StageError, match="no declared backbone and head has figures"):
        report.report(["b1"], HEADS, SETTINGS)
    (layout.scores("b0") / "noisy_or/figures.parquet").write_bytes(b"nothing")
    with pytest.raises(StageError, match="noisy_or is damaged: delete it"):
        report.report(["b0"], HEADS, SETTINGS)
    layout.DATA_REPORT.unlink()
    with pytest.raises(StageError, match="run visagg sets"):
        report.report(["b0"], HEADS, SETTINGS)


def test_cells_keep_their_meaning_in_every_format():
    table = tables.Table(
        "t", "A title", ["who", "F1"], [["a|b_c", tables.Figure(0.5, 0.4, 0.6, "p+")], ["d", "missing"]], "Note."
    )
    assert "a\\|b_c" in writing.markdown(table, {"source": "dvbpr", "simulated": False})
    assert "a|b\\_c" in writing.latex(table, {"source": "dvbpr", "simulated": False})
    assert writing.comma_separated(table) == "who,F1,F1 low,F1 high,F1 differs\na|b_c,0.5,0.4,0.6,p+\nd,missing,,,\n"


def test_the_tidy_frame_has_every_figure_once(saved):
    report.report(["b0"], HEADS, SETTINGS)
    frame = pl.read_csv(layout.TABLES / "results.csv")
    keys = ["backbone", "head", "metric", "k", "by", "segment"]
    assert frame.select(keys).is_duplicated().sum() == 0
    assert ((frame["low"] <= frame["mean"] + 1e-9) & (frame["mean"] <= frame["high"] + 1e-9)).mean() > 0.99
    one = frame.filter(head="average", metric="f1", by="label", segment="hats")
    truth = scores.figures(layout.scores("b0") / "average").filter(metric="f1", by="label", segment="hats")
    assert one["mean"].item() == pytest.approx(truth["value"].mean(), abs=1e-6)


def test_swaps_are_a_table_of_the_report(saved):
    def entry(value):
        return {"value": value, "interval": [value - 0.01, value + 0.01]}

    both = {"micro_ap": entry(0.8), "micro_f1": entry(0.7)}
    kept = {"adapted": entry(0.79), "retention": entry(0.98), "gain": entry(-0.02)}
    adapted = {"adapter": "ridge", "pairs": 500, "micro_ap": kept, "micro_f1": kept}
    head = {"obstacle": None, "stay": both, "unadapted": None, "retrained": both}
    fit = {"adapter": "ridge", "pairs": 500, "images": 40, "strength": 0.1}
    swap = {
        "old": "b0",
        "new": "b1",
        "k": 5,
        "test_users": 120,
        "backbone_parameters": {"b0": 1, "b1": 2},
        "images": 900,
        "training_images": 500,
        "best": "ridge",
        "adapter_parameters": 72,
        "compared_on": "images that only test users show",
        "refused": {},
        "floor": both,
        "adapters": [{**fit, "cosine": entry(0.9), "explained_variance": entry(0.8)}],
        "heads": {"average": {**head, "adapted": [{**adapted, "negative_flips": entry(0.1), "overlap": entry(0.9)}]}},
    }
    write(layout.swap("b0", "b1"), swap)
    report.report(["b0"], HEADS, SETTINGS)
    [row] = [row for row in cells("swap") if row["metric"] == "micro_ap"]
    assert (row["old"], row["new"], row["head"], row["retention"]) == ("b0", "b1", "average", "0.98")
    assert "0.980 [0.970, 0.990]" in (layout.TABLES / "swap.tex").read_text()
    assert "Is it wise?" in (layout.TABLES / "swap.md").read_text()
    assert 'id="swap"' in layout.PAGE.read_text()
    layout.swap("b0", "b1").unlink()
    report.report(["b0"], HEADS, SETTINGS)
    assert 'id="swap"' not in layout.PAGE.read_text() and not list(layout.TABLES.glob("swap.*"))
