"""Plots: what is drawn is what was measured, whoever reads it: without colour, without a guess at what is what."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from pipeline.heads.presets import PRESETS
from pipeline.report.contents import PLOTS
from pipeline.report.plots import quality, styles
from pipeline.report.plots.labels import MOST_LABELS, labels
from pipeline.report.plots.panels import spread_out
from pipeline.report.plots.plot import draw
from pipeline.report.plots.quality import f1_at_k, quality_size, set_size
from pipeline.report.plots.reliability import STYLES as BEFORE_AND_AFTER
from pipeline.report.plots.reliability import reliability
from tests.support.results import CEILINGS, SIZES, make_results

AXES = {
    "quality_size": ("average · 990", "micro average precision"),
    "f1_at_k": ("k (labels recommended)", "F1@k (mean over users)"),
    "labels": ("precision of the label (share, 0 to 1)", "recall of the label (share, 0 to 1)"),
    "set_size": ("images in the set", "micro average precision"),
    "reliability": ("probability that the head gives (mean of a bin)", "share that is true - probability"),
}
SIMULATED = {"heads": 3, "labels": 3, "simulated": True, "missing": [("b1", "average_cg")]}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Plots of simulated data with a pair missing, by name, and where they lie."""
    folder = tmp_path_factory.mktemp("plots")
    return {picture.name: picture for picture in draw(PLOTS, make_results(**SIMULATED), folder)}, folder


@pytest.fixture(autouse=True)
def settings():
    with matplotlib.rc_context(styles.SETTINGS):
        yield


def plot(name: str):
    return next(plot for plot in PLOTS if plot.name == name)


def texts(svg: str) -> list[str]:
    return [
        "".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter() if text.tag.endswith("text")
    ]


def panel(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def names(figure: Figure) -> set[str]:
    """What is written in the panels, above them, and in the legend."""
    inside = {text.get_text() for axes in figure.axes for text in axes.texts}
    legend = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    return inside | legend | {axes.get_title(loc="left") for axes in figure.axes}


def line(axes: Axes, ys) -> list[float] | None:
    """The x of the line in the axes that goes through these y."""
    drawn = [
        line for line in axes.get_lines() if len(line.get_ydata()) == len(ys) and np.allclose(line.get_ydata(), ys)
    ]
    return list(drawn[0].get_xdata()) if drawn else None


def bars(axes: Axes) -> set[tuple[float, float]]:
    """Lower and upper ends of all upright intervals."""
    segments = [segment for bundle in axes.collections for segment in getattr(bundle, "get_segments", list)()]
    return {(round(segment[0][1], 9), round(segment[1][1], 9)) for segment in segments}


@pytest.mark.parametrize("name", AXES)
def test_a_plot_has_a_title_axes_with_units_and_says_what_is_simulated_and_missing(pictures, name):
    svg, folder = pictures[0][name].svg, pictures[1]
    assert (folder / f"{name}.svg").read_text(encoding="utf-8") == svg
    shown = texts(svg)
    assert f"{plot(name).title} (demo, simulated)" in shown
    assert set(AXES[name]) <= set(shown)
    note = " ".join(shown)
    assert "Source: demo. Simulated: images drawn by a program" in note
    assert "Missing: b1 average_cg." in note
    assert "95 % interval" in note


def test_every_plot_of_the_report_is_known_here():
    assert [plot.name for plot in PLOTS] == list(AXES)


def test_real_data_are_not_called_simulated(tmp_path):
    results = make_results(1, ("b0",))
    real = replace(results, data={**results.data, "source": "table"})
    (picture,) = draw([plot("set_size")], real, tmp_path)
    assert "imulated" not in picture.svg
    assert "Quality against the number of images in a set (table)" in " ".join(texts(picture.svg))


def test_the_same_results_in_any_order_are_the_same_bytes(pictures, tmp_path):
    results = make_results(**SIMULATED)
    frames = {name: getattr(results, name) for name in ("values", "history", "costs")}
    mixed = {name: frame.sample(fraction=1, shuffle=True, seed=1) for name, frame in frames.items()}
    with matplotlib.rc_context({"font.size": 20, "xtick.direction": "in"}):  # a user's own settings change nothing
        drawn = draw(PLOTS, replace(results, **mixed), tmp_path)
    assert {picture.name: picture for picture in drawn} == pictures[0]


def test_nothing_is_outlined_dated_or_of_a_colour_the_page_does_not_know(pictures):
    for picture in pictures[0].values():
        assert set(re.findall("#[0-9a-f]{6}", picture.svg)) <= set(styles.COLOURS)
        assert "<dc:date>" not in picture.svg
        assert "<dc:creator>" not in picture.svg
        assert "DejaVuSans-" not in picture.svg  # glyphs as outlines


def test_roles_differ_without_colour():
    results = make_results()
    best, *rest, reference = [styles.of_head(results, "b0", head) for head in results.heads[::-1]]
    assert best.line != reference.line
    assert best.thickness > reference.thickness > max(style.thickness for style in rest)
    grey = [np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) for colour in (styles.BEST, styles.REFERENCE)]
    assert abs(grey[0] - grey[1]) > 0.2


def test_25_heads_have_25_markers_and_a_name_in_every_plot():
    results = make_results(25, ("b0",))
    drawn = [styles.of_head(results, "", head) for head in results.heads]
    assert len({(style.marker, style.filled) for style in drawn}) == 25


def test_f1_lies_between_ceiling_and_floor_with_its_intervals():
    results = make_results()
    axes = panel(f1_at_k(results).figure, "b1")
    assert line(axes, list(CEILINGS.values())) == list(CEILINGS)
    rows = results.values.filter(metric="f1", by="all").sort("k")
    for pair in [("any", "popularity"), ("b1", results.heads[0]), ("b1", results.heads[-1])]:
        values = rows.filter(backbone=pair[0], head=pair[1])
        assert line(axes, values["mean"]) == pytest.approx(list(CEILINGS), abs=0.5)
        assert {(round(low, 9), round(high, 9)) for low, high in values.select("low", "high").iter_rows()} <= bars(axes)
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["ceiling", "2 other heads", results.heads[0], results.heads[-1], "popularity"]
    top = max(axes.get_lines(), key=lambda drawn: drawn.get_zorder())
    assert list(top.get_ydata()) == list(CEILINGS.values()), "nothing covers the ceiling"


def test_names_are_as_near_as_they_have_room():
    assert spread_out([0.1, 0.5, 0.9], 0.1, (0, 1)) == pytest.approx([0.1, 0.5, 0.9])
    assert spread_out([0.5, 0.5, 0.5], 0.1, (0, 1)) == pytest.approx([0.4, 0.5, 0.6])
    assert spread_out([0.99, 1.0], 0.1, (0, 1)) == pytest.approx([0.9, 1.0])
    assert spread_out([0.0, 0.01], 0.1, (0, 1)) == pytest.approx([0.0, 0.1])
    assert spread_out([0.5] * 30, 0.1, (0, 1)) == pytest.approx(np.arange(30) / 10)
    values = np.sort(np.random.default_rng(0).random(12))
    assert np.diff(spread_out(list(values), 0.05, (0, 1))).min() >= 0.05 - 1e-9


def test_the_front_is_what_no_smaller_head_matches():
    results = make_results(4, ("b0",))
    quality = dict(zip(results.heads, (0.7, 0.6, 0.7, 0.9), strict=True))  # sizes ascend
    mean = pl.col("head").replace_strict(quality, default=0.4, return_dtype=pl.Float64)
    axes = quality_size(replace(results, values=results.values.with_columns(mean=mean))).figure.axes[0]
    assert line(axes, [0, -3]) == [0.7, 0.9]
    ticks = [text.get_text() for text in axes.get_yticklabels()]
    assert ticks == [f"{head} · {1000 * i + 990:,}" for i, head in enumerate(results.heads)]


def test_heads_of_one_size_have_a_row_each_and_many_are_cut_with_a_word(monkeypatch):
    results = make_results(4, ("b0",))
    drawing = quality_size(replace(results, costs=results.costs.with_columns(folded_parameters=7)))
    assert [text.get_position()[1] for text in drawing.figure.axes[0].get_yticklabels()] == [0, -1, -2, -3]
    assert f"the front: {results.heads[-1]} (" in drawing.seen
    monkeypatch.setattr(quality, "MOST_HEADS", 3)
    drawing = quality_size(results)
    assert len(drawing.figure.axes[0].get_yticklabels()) == 3
    assert "only the best 3 are drawn" in drawing.note


def test_a_narrow_plot_has_its_panels_below_each_other_and_a_phone_can_read_it():
    results = make_results(8)
    for shown in PLOTS:
        figure = shown.drawn(results, 1).figure
        assert {axes.get_subplotspec().get_gridspec().ncols for axes in figure.axes} == {1}, shown.name
        assert figure.get_size_inches()[0] <= 5.1, shown.name  # inches: at 358 px type of 8 points is 8 px high


def test_who_cannot_see_a_plot_is_told_its_figures(pictures):
    seen = {name: picture.seen for name, picture in pictures[0].items()}
    assert re.search(
        r"On b0, micro AP of 3 heads from 0\.\d{3} \(average_fc\) to 0\.\d{3} \(average\)", seen["quality_size"]
    )
    assert "The ceiling is 0.780 at k = 5" in seen["f1_at_k"]
    assert "average_fc has recall from" in seen["labels"]
    assert "Sets of 1-2 images: On b0" in seen["set_size"]


def test_k_above_the_number_of_labels_is_said():
    results = make_results(2, ("b0",))
    few = replace(results, data={**results.data, "labels": 12})
    assert "There are only 12 labels: at k = 15 every head" in f1_at_k(few).note
    assert "There are only" not in f1_at_k(results).note


def test_labels_stand_by_frequency_and_what_is_cut_is_said():
    ticks = [text.get_text() for text in labels(make_results()).figure.axes[0].get_yticklabels()]
    assert ticks == [f"label {i} ({10 + i})" for i in range(5, -1, -1)]
    drawing = labels(make_results(2, ("b0",), labels=70))
    ticks = [text.get_text() for text in drawing.figure.axes[0].get_yticklabels()]
    assert len(ticks) == MOST_LABELS
    assert (ticks[0], ticks[-1]) == ("label 69 (79)", "label 0 (10)")
    assert "10 labels between them" in drawing.note


def test_a_label_s_points_are_its_values_and_stand_at_its_name():
    results = make_results(4, ("b0",))
    axes = panel(labels(results).figure, "b0: recall")
    for head, shift in ((results.heads[0], -0.16), (results.heads[-1], 0.16)):
        rows = results.values.filter(head=head, metric="recall", by="label").sort("n", descending=True)
        drawn = next(line for line in axes.get_lines() if np.allclose(sorted(line.get_xdata()), sorted(rows["mean"])))
        points = sorted(zip(drawn.get_ydata(), drawn.get_xdata(), strict=True), reverse=True)
        assert [y for y, _ in points] == pytest.approx(shift - np.arange(6))
        assert [x for _, x in points] == pytest.approx(rows["mean"].to_list())


def test_a_head_that_is_best_of_all_and_of_the_published_is_drawn_once():
    results = make_results(2, ("b0",))
    both = replace(results, best=results.reference)
    assert len(panel(labels(both).figure, "b0: recall").get_lines()) == 1


def test_dollars_in_a_label_are_no_formula(tmp_path):
    results = make_results(1, ("b0",), labels=1)
    dear = results.values.with_columns(pl.col("segment").replace("label 0", "$10 to $20 & up"))
    (picture,) = draw([plot("labels")], replace(results, values=dear), tmp_path)
    assert "$10 to $20 & up (10)" in texts(picture.svg)


def test_set_sizes_stand_in_the_order_of_numbers():
    axes = panel(set_size(make_results()).figure, "b0")
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == [f"{size.replace('-', '–')}\n{40 + i} sets" for i, size in enumerate(SIZES)]


def test_bins_stand_at_their_probability_and_share_before_and_after():
    results = make_results()
    figure = reliability(results).figure
    assert [axes.get_title(loc="left").partition("\n")[0] for axes in figure.axes] == [
        f"{backbone}: {head}" for backbone in ("b0", "b1") for head in (results.heads[-1], results.heads[0])
    ]
    axes, x = figure.axes[0], (np.arange(9) + 0.5) / 10  # the last bin has 3 pairs
    assert line(axes, x - x) == pytest.approx(x)
    assert line(axes, x**2 - x) == pytest.approx(x)
    assert line(axes, [0, 0]) == [0, 1]
    shares = results.values.filter(metric="share_true", backbone="b0", head=results.heads[-1]).filter(pl.col("n") > 3)
    at = {row["segment"]: row["mean"] for row in results.values.filter(metric="probability").to_dicts()}
    rows = shares.select("low", "high", "segment").iter_rows()
    wanted = {(round(low - at[bin_], 9), round(high - at[bin_], 9)) for low, high, bin_ in rows}
    assert bars(axes) == wanted
    assert len(wanted) == 6  # before: five heights, for they are symmetric; after: one


def test_before_and_after_differ_without_colour_and_have_their_error_beside_them():
    results = make_results(2, ("b0",))
    drawing = reliability(results)
    axes = drawing.figure.axes[0]
    error = results.value(("b0", results.heads[-1]), "ece", by="calibration", segment="before")["mean"]
    assert [text.get_text() for text in axes.texts] == [f"before: ECE {error:.3f}", "after: ECE 0.030", "as claimed"]
    ends = [text.xy for text in axes.texts]
    assert ends == [pytest.approx(end) for end in [(0.85, 0.85**2 - 0.85), (0.85, 0), (1, 0)]]
    before, after = BEFORE_AND_AFTER["before"], BEFORE_AND_AFTER["after"]
    assert before.line != after.line
    assert before.marker != after.marker
    assert before.filled != after.filled
    assert f"before calibration 9 of 9 points lie below 0, ECE {error:.3f}" in drawing.seen
    assert "after calibration 0 of 9 points lie below 0, ECE 0.030" in drawing.seen


def test_a_head_that_is_best_of_all_has_one_panel_of_reliability():
    results = make_results(2, ("b0",))
    assert len(reliability(replace(results, best=results.reference)).figure.axes) == 1


def test_what_cannot_be_drawn_says_so(tmp_path):
    results = make_results(missing=[(b, h) for b in ("b0", "b1") for h in list(PRESETS)[:4]])
    for picture in draw(PLOTS, replace(results, values=results.values.clear()), tmp_path):
        assert re.search("run visagg (cost|evaluate)", " ".join(texts(picture.svg))), picture.name
