"""Which tables and plots the report has, in the order of the page. A new one is a function and an entry here."""

from collections.abc import Callable

from pipeline.report.plots.labels import labels
from pipeline.report.plots.plot import Plot
from pipeline.report.plots.quality import f1_at_k, quality_size, set_size
from pipeline.report.plots.reliability import reliability
from pipeline.report.results import Results
from pipeline.report.table import Table
from pipeline.report.tables.calibration import calibration
from pipeline.report.tables.conditions import conditions
from pipeline.report.tables.data import data
from pipeline.report.tables.protocol import ablation, factor, tuning
from pipeline.report.tables.quality import comparisons, headline, quality, segments
from pipeline.report.tables.size import size, times
from pipeline.report.tables.swap import swap

# Each takes the results; None: there is nothing to show.
TABLES: list[Callable[[Results], Table | None]] = [
    headline,
    quality,
    size,
    times,
    comparisons,
    segments,
    calibration,
    swap,
    tuning,
    ablation,
    factor,
    conditions,
    data,
]
PLOTS = [
    Plot("quality_size", "Quality against size", quality_size),
    Plot("f1_at_k", "F1 of the k best labels", f1_at_k),
    Plot("labels", "Precision and recall of each label", labels),
    Plot("set_size", "Quality against the number of images in a set", set_size),
    Plot("reliability", "How far what the heads claim is from what is true", reliability),
]
