"""Figures: what is drawn is what was measured, whoever reads it: without colour, without a guess at what is what."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from pipeline.heads.presets import PRESETS
from pipeline.report import figures, looks
from tests.synthetic import CEILINGS, SIZES, make_results

AXES = {
    "quality_size": ("parameters of the head, folded (count, log scale)", "micro average precision"),
    "f1_at_k": ("k (labels recommended)", "F1@k (mean over users)"),
    "training": ("epoch", "micro average precision on validation"),
    "labels": ("precision of the label (share, 0 to 1)", "recall of the label (share, 0 to 1)"),
    "set_size": ("images in the set", "micro average precision"),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Figures of simulated data with a pair missing, and where they lie."""
    folder = tmp_path_factory.mktemp("figures")
    return figures.draw(make_results(simulated=True, missing=[("b1", "average_cg")]), folder), folder


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context(looks.STYLE):
        yield


def texts(svg: str) -> list[str]:
    return [
        "".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter() if text.tag.endswith("text")
    ]


def panel(figure, title: str):
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def line(axes, ys) -> list[float] | None:
    """The x of the line in the axes that goes through these y."""
    lines = [own for own in axes.get_lines() if len(own.get_ydata()) == len(ys) and np.allclose(own.get_ydata(), ys)]
    return list(lines[0].get_xdata()) if lines else None


def bars(axes) -> set[tuple[float, float]]:
    """Lower and upper ends of all upright intervals."""
    segments = [segment for bundle in axes.collections for segment in getattr(bundle, "get_segments", list)()]
    return {(round(segment[0][1], 9), round(segment[1][1], 9)) for segment in segments}


@pytest.mark.parametrize("name", figures.TITLES)
def test_a_figure_has_a_title_axes_with_units_and_says_what_is_simulated_and_missing(drawn, name):
    svg, folder = drawn[0][name], drawn[1]
    assert (folder / f"{name}.svg").read_text(encoding="utf-8") == svg
    found = texts(svg)
    assert f"{figures.TITLES[name]} (demo, simulated)" in found
    assert set(AXES[name]) <= set(found)
    note = " ".join(found)
    assert "Simulated data:" in note and "Missing: b1 average_cg." in note
    assert "95 % interval" in note or name == "training"


def test_real_data_are_not_called_simulated(tmp_path):
    assert "imulated" not in "".join(figures.draw(make_results(1, ("b0",)), tmp_path).values())


def test_the_same_results_in_any_order_are_the_same_bytes(drawn, tmp_path):
    results = make_results(simulated=True, missing=[("b1", "average_cg")])
    frames = {name: getattr(results, name) for name in ("figures", "history", "costs")}
    mixed = {name: frame.sample(fraction=1, shuffle=True, seed=1) for name, frame in frames.items()}
    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "path"}):  # a user's own settings change nothing
        assert figures.draw(replace(results, **mixed), tmp_path) == drawn[0]


def test_nothing_is_outlined_dated_or_of_a_colour_the_page_does_not_know(drawn):
    for svg in drawn[0].values():
        assert set(re.findall("#[0-9a-f]{6}", svg)) <= set(looks.COLOURS)
        assert "<dc:date>" not in svg and "<dc:creator>" not in svg
        assert "DejaVuSans-" not in svg  # glyphs as outlines


def test_roles_differ_without_colour():
    results = make_results()
    heads = [looks.of_head(results, "b0", head) for head in results.heads[::-1]]
    best, *others, reference = heads
    assert len({str(look.line) for look in (best, reference)}) == 2
    assert best.width > reference.width > max(look.width for look in others)
    grey = [np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) for colour in (looks.BEST, looks.REFERENCE)]
    assert abs(grey[0] - grey[1]) > 0.2


def test_25_heads_have_25_markers_and_a_name_in_every_figure():
    results = make_results(25, ("b0",))
    heads = [looks.of_head(results, "", head) for head in results.heads]
    assert len({(look.marker, look.filled) for look in heads}) == 25
    for drawer in (figures.quality_size, figures.f1_at_k, figures.training, figures.set_size):
        assert set(results.heads) <= {text.get_text() for text in drawer(results).findobj(Text)}


def test_f1_lies_between_ceiling_and_floor_with_its_intervals():
    results = make_results()
    axes = panel(figures.f1_at_k(results), "b1")
    assert line(axes, list(CEILINGS.values())) == list(CEILINGS)
    rows = results.figures.filter(metric="f1", by="all").sort("k")
    for pair in [("any", "popularity"), *(("b1", head) for head in results.heads)]:
        own = rows.filter(backbone=pair[0], head=pair[1])
        assert line(axes, own["mean"]) == pytest.approx(list(CEILINGS), abs=0.5)
        assert {(round(low, 9), round(high, 9)) for low, high in own.select("low", "high").iter_rows()} <= bars(axes)
    names = [text.get_text() for text in axes.texts]
    order = [results.heads[i] for i in np.argsort(rows.filter(k=15, backbone="b1")["mean"])]
    assert names == ["popularity", *order, "ceiling"]


def test_names_at_the_ends_of_lines_do_not_overlap():
    figure = figures.f1_at_k(make_results(25, ("b0",)))
    figure.draw_without_rendering()
    boxes = sorted((Text.get_window_extent(text) for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert all(upper.y0 - lower.y0 > 10 for lower, upper in zip(boxes, boxes[1:]))  # pixels, of type 7.5 points high


def test_places_are_as_near_as_they_have_room():
    assert figures.spread_out([0.1, 0.5, 0.9], 0.1, 0, 1) == pytest.approx([0.1, 0.5, 0.9])
    assert figures.spread_out([0.5, 0.5, 0.5], 0.1, 0, 1) == pytest.approx([0.4, 0.5, 0.6])
    assert figures.spread_out([0.99, 1.0], 0.1, 0, 1) == pytest.approx([0.9, 1.0])
    assert figures.spread_out([0.0, 0.01], 0.1, 0, 1) == pytest.approx([0.0, 0.1])
    assert figures.spread_out([0.5] * 30, 0.1, 0, 1) == pytest.approx(np.arange(30) / 10)
    values = np.sort(np.random.default_rng(0).random(12))
    places = figures.spread_out(list(values), 0.05, 0, 1)
    assert np.diff(places).min() >= 0.05 - 1e-9


def test_the_front_is_what_no_smaller_head_matches():
    results = make_results(4, ("b0",))
    quality = dict(zip(results.heads, (0.7, 0.6, 0.7, 0.9)))  # sizes ascend
    own = pl.col("head").replace_strict(quality, default=0.4, return_dtype=pl.Float64)
    axes = figures.quality_size(replace(results, figures=results.figures.with_columns(mean=own))).axes[0]
    assert [text.get_text() for text in axes.texts] == [results.heads[0], results.heads[3]]
    assert line(axes, [0.7, 0.9]) == [990, 3990]
    assert axes.get_xscale() == "log"


def test_training_shows_the_mean_over_seeds_and_their_range():
    results = make_results(2, ("b0",))
    axes = panel(figures.training(results), results.heads[1])
    own = results.history.filter(head=results.heads[1]).group_by("epoch").agg(pl.col("micro_ap").sort()).sort("epoch")
    values = np.array(own["micro_ap"].to_list())
    assert line(axes, values.mean(1)) == [1, 2, 3, 4]
    heights = axes.collections[-1].get_paths()[0].vertices[:, 1].round(9)
    assert {*values.min(1).round(9), *values.max(1).round(9)} <= set(heights)


def test_labels_stand_by_frequency_and_what_is_cut_is_said():
    ticks = [text.get_text() for text in figures.labels(make_results()).axes[0].get_yticklabels()]
    assert ticks == [f"label {i} ({10 + i})" for i in range(5, -1, -1)]
    figure = figures.labels(make_results(2, ("b0",), labels=70))
    ticks = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(ticks) == figures.MOST_LABELS and ticks[0] == "label 69 (79)" and ticks[-1] == "label 0 (10)"
    assert "10 labels between them" in figure.get_supxlabel().replace("\n", " ")


def test_dollars_in_a_label_are_no_formula(tmp_path):
    results = make_results(1, ("b0",), labels=1)
    dear = results.figures.with_columns(pl.col("segment").replace("label 0", "$10 to $20 & up"))
    assert "$10 to $20 & up (10)" in texts(figures.draw(replace(results, figures=dear), tmp_path)["labels"])


def test_set_sizes_stand_in_the_order_of_numbers():
    axes = panel(figures.set_size(make_results()), "b0")
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == [f"{size.replace('-', '–')}\n{40 + place} sets" for place, size in enumerate(SIZES)]


def test_what_cannot_be_drawn_says_so(tmp_path):
    results = make_results(missing=[(b, h) for b in ("b0", "b1") for h in list(PRESETS)[:4]])
    floor_only = results.figures.clear()
    for svg in figures.draw(replace(results, figures=floor_only), tmp_path).values():
        assert re.search("run visagg (cost|evaluate|train)", " ".join(texts(svg)))
