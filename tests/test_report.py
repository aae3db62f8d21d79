"""Tables: what stands in them, to the letter, and that a missing pair is named."""

import json

import pytest

from pipeline import layout, published, report
from pipeline.errors import StageError

NAMES = ("recall", "precision", "f1", "ceiling", "published_recall", "published_precision", "published_f1")


def entry(value):
    return {"mean": value, "seeds": [value, value], "interval": [value - 0.01, value + 0.01]}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Figures of one head on one backbone, and of the floor."""
    monkeypatch.chdir(tmp_path)
    for path, base in ((layout.metrics("b0", "average"), 0.5), (layout.POPULARITY, 0.2)):
        figures = {
            name: entry(base + 0.01 * i) for i, name in enumerate(("micro_f1", "macro_f1", "micro_ap", "macro_ap"))
        }
        tuning = {
            "validation_micro_ap": {"0.003": 0.61234, "0.01": 0.6},
            "learning_rate": 0.003,
            "seeds": {"0": {"epoch": 4, "micro_ap": 0.61234}, "1": {"epoch": 2, "micro_ap": 0.5}},
        }
        write(path, {**figures, **{f"{name}@10": entry(base + 0.1) for name in NAMES}, "tuning": tuning})
    write(
        layout.DATA_REPORT,
        {
            "source": "demo",
            "simulated": True,
            "items": 1200,
            "sets": {"test": {"sets": 300, "share_of_images_in_training": 1.0}},
            "rejects": {"image: empty image": 2},
        },
    )
    write(
        layout.cost("b0"),
        {
            "dim": 8,
            "classes": 3,
            "images": 8,
            "backbone_parameters": 1_000_000,
            "machine": {"processor": "P", "threads": 1, "torch": "T"},
            "heads": {
                "average": {
                    "parameters": 27,
                    "milliseconds": 0.1234,
                    "folded_parameters": 20,
                    "folded_milliseconds": 0.1,
                }
            },
        },
    )
    return tmp_path


def test_the_headline_to_the_letter(saved):
    report.report([("b0", "average"), ("b0", "gone")], [10])
    lines = (layout.TABLES / "headline.md").read_text().splitlines()
    assert lines[:9] == [
        "# How well each head tells a user's interests",
        "",
        "Source: demo. **Simulated**: images drawn by a program, users who do not exist. "
        "No figure here is about people.",
        "",
        "| backbone | head | micro F1 | macro F1 | micro AP | macro AP |",
        "| --- | --- | --- | --- | --- | --- |",
        "| any | popularity | 0.200 [0.190, 0.210] | 0.210 [0.200, 0.220] "
        "| 0.220 [0.210, 0.230] | 0.230 [0.220, 0.240] |",
        "| b0 | average | 0.500 [0.490, 0.510] | 0.510 [0.500, 0.520] | 0.520 [0.510, 0.530] | 0.530 [0.520, 0.540] |",
        "| b0 | gone | missing | missing | missing | missing |",
    ]
    assert "100 % of the test sets' images are in training sets too" in "\n".join(lines)


def test_quality_has_the_published_rows_marked_and_not_comparable(saved):
    report.report([("b0", "average")], [10])
    text = (layout.TABLES / "quality.md").read_text()
    assert "| 10 | published | squeeze_fc |  |  |  |  | 0.91 | 0.83 |  |" in text
    assert "published are not comparable" in text and published.SOURCE in text
    assert "| 10 | b0 | average | 0.600 [0.590, 0.610] |" in text


def test_csv_has_a_column_for_each_bound(saved):
    report.report([("b0", "average")], [10])
    head, floor, own = (layout.TABLES / "headline.csv").read_text().splitlines()
    assert head.split(",")[:5] == ["backbone", "head", "micro F1", "micro F1 low", "micro F1 high"]
    assert own.split(",")[:5] == ["b0", "average", "0.5", "0.49", "0.51"]


def test_cost_counts_the_backbone_too(saved):
    report.report([("b0", "average"), ("b0", "unmeasured")], [10])
    text = (layout.TABLES / "cost.md").read_text()
    assert "| b0 | average | 27 | 20 | 0.0 | 0.0 | 4.0 | 0.1234 | 0.1 |" in text
    assert f"| b0 | unmeasured |{' missing |' * 7}" in text
    assert "P, 1 thread, torch T" in text


def test_the_data_table_counts_rejects(saved):
    report.report([("b0", "average")], [10])
    assert "| rejects image: empty image | 2 |" in (layout.TABLES / "data.md").read_text()


def test_tables_made_twice_are_the_same_bytes(saved):
    report.report([("b0", "average")], [10])
    first = {path.name: path.read_bytes() for path in layout.TABLES.iterdir()}
    report.report([("b0", "average")], [10])
    assert first == {path.name: path.read_bytes() for path in layout.TABLES.iterdir()}
    names = ("headline", "quality", "cost", "tuning", "ablation", "data")
    assert set(first) == {f"{name}.{end}" for name in names for end in ("md", "csv")}


def test_no_figures_at_all_is_an_error(tmp_path, monkeypatch, saved):
    with pytest.raises(StageError, match="no declared backbone and head has figures"):
        report.report([("b0", "gone")], [10])
    layout.DATA_REPORT.unlink()
    with pytest.raises(StageError, match="run visagg sets"):
        report.report([("b0", "average")], [10])


def test_the_tuning_table_shows_what_was_tried_and_chosen(saved):
    report.report([("b0", "average"), ("b0", "gone")], [10])
    lines = (layout.TABLES / "tuning.md").read_text().splitlines()
    assert lines[4:8] == [
        "| backbone | head | runs | rate 0.003 | rate 0.01 | chosen rate | seed 0 (epoch) | seed 1 (epoch) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| b0 | average | 3 | 0.6123 | 0.6000 | 0.003 | 0.6123 (4) | 0.5000 (2) |",
        "| b0 | gone | missing | missing | missing | missing | missing | missing |",
    ]


def test_the_ablation_table_says_how_much_each_switch_moves_the_figures(saved):
    figures = {name: entry(0.5) for name in ("macro_f1", "macro_ap")}
    plain = {"head": "average", "switch": "none", **figures, "micro_f1": entry(0.75), "micro_ap": entry(0.8)}
    worse = {**plain, "switch": "padding takes part", "micro_f1": entry(0.7), "micro_ap": entry(0.81)}
    write(layout.ABLATION, {"backbone": "b0", "rows": [plain, worse]})
    report.report([("b0", "average")], [10])
    last = (layout.TABLES / "ablation.md").read_text().splitlines()[7]
    assert last.startswith("| average | padding takes part | 0.700 [0.690, 0.710] | ")
    assert last.endswith(" | -0.050 | +0.010 |")
