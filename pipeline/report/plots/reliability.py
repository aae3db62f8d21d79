"""The plot of how far what heads claim is from what is true, before and after calibration."""

import polars as pl
from matplotlib.axes import Axes

from pipeline.report.plots.panels import End, draw_points, label_outer, make_panels, name_ends, numbers, roles, select
from pipeline.report.plots.plot import Drawing, nothing
from pipeline.report.plots.styles import BEST, DASHED, GREY, INK, HeadStyle
from pipeline.report.results import Results

STYLES = {
    "before": HeadStyle(marker="s", colour=GREY, filled=False, line=DASHED, thickness=1.2),
    "after": HeadStyle(marker="o", colour=BEST, thickness=1.8, weight="bold", order=6),
}
MARGIN = 0.02  # below and above what is drawn
LEAST_PAIRS = 10  # of a set and a label: fewer say nothing of a share
NOTE = f"""\
Each point: the pairs of a test user and a label in one of ten bins of equal width by probability; bins of fewer than \
{LEAST_PAIRS} pairs are left out. Below the line at 0 a head claims more than is true, above it less. ECE: the mean \
distance from that line over all pairs (expected calibration error). Bars: 95 % interval over users and seeds."""


def reliability(results: Results, columns: int = 2) -> Drawing:
    """The share that is true less the probability, before and after: of the best head and of the best published."""
    shares = _shares(results)
    shown = [
        (backbone, head, role)
        for backbone in results.backbones
        for head, role in reversed(roles(results, backbone).items())
        if len(shares.filter(backbone=backbone, head=head))
    ]
    if not shown:
        return nothing("No head has values before and after calibration: run visagg evaluate.")
    figure, panels = make_panels(len(shown), (3.9, 2.6), columns)
    wanted = shares.join(pl.DataFrame(shown, ["backbone", "head", "role"], orient="row"), on=["backbone", "head"])
    low, high = numbers(wanted, "low") - numbers(wanted, "x"), numbers(wanted, "high") - numbers(wanted, "x")
    limits = (float(min(low.min(), 0)) - MARGIN, float(max(high.max(), 0)) + MARGIN)
    seen = []
    for axes, (backbone, head, role) in zip(panels, shown, strict=True):
        axes.set(title=f"{backbone}: {head}\n({role})", xlim=(-0.02, 1.02), ylim=limits)
        axes.plot([0, 1], [0, 0], color=INK, linewidth=0.6, zorder=2)
        parts = _draw(axes, shares.filter(backbone=backbone, head=head), results)
        seen.append(f"{head} on {backbone}: {'; '.join(parts)}.")
    label_outer(panels, "probability that the head gives (mean of a bin)", "share that is true - probability")
    return Drawing(
        figure, NOTE, " ".join(["Share that is true less the probability that a head gave; 0: as claimed.", *seen])
    )


def _shares(results: Results) -> pl.DataFrame:
    """The bins of compared heads that have enough pairs: where each stands in column x, before or after in `when`."""
    keys = ["backbone", "head", "by", "segment"]
    x = select(results, metric="probability").select(*keys, x="mean")
    shares = select(results, metric="share_true").filter(pl.col("n") >= LEAST_PAIRS)
    when = pl.col("by").str.strip_prefix("reliability ")
    return shares.join(x, on=keys, maintain_order="left").with_columns(when=when).sort("x", maintain_order=True)


def _draw(axes: Axes, shares: pl.DataFrame, results: Results) -> list[str]:
    """One head's lines, with their names at the right; returns what each one shows, in words."""
    ends, seen = [End(0.0, "as claimed", x=1.0)], []
    for when, style in STYLES.items():
        points = shares.filter(when=when)
        if points.is_empty():
            continue
        points = points.with_columns(pl.col("mean", "low", "high") - pl.col("x"))
        x, y = numbers(points, "x"), numbers(points, "mean")
        axes.plot(x, y, **{**style.keywords(), "marker": ""})
        draw_points(axes, x, points, style=style)
        row = results.value((points["backbone"][0], points["head"][0]), "ece", by="calibration", segment=when)
        error = f"ECE {row['mean']:.3f}" if row else "ECE not measured"
        ends.append(End(float(y[-1]), f"{when}: {error}", style.colour, style.weight, x=float(x[-1])))
        seen.append(f"{when} calibration {(y < 0).sum()} of {len(x)} points lie below 0, {error}")
    name_ends(axes, 1.0, ends)
    return seen
