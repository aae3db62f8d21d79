"""Saved results to tables, figures and a page. Computes no metric, and needs no torch, images or weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline import layout, swap_tables
from pipeline.heads import HeadSpec
from pipeline.report import figures, page, writing
from pipeline.report.results import gather, read_json
from pipeline.report.tables import all_tables

if TYPE_CHECKING:
    from pipeline.params import EvaluateSettings


def report(backbones: list[str], heads: Mapping[str, HeadSpec], settings: "EvaluateSettings") -> None:
    """Writes reports/ from the results of the declared backbones and heads; a pair without results is named.

    Raises:
        StageError: when no declared pair has results, the data were never described, or a file is damaged.
    """
    results = gather(backbones, heads)
    tables = all_tables(results, settings.ks)
    for table in tables:
        writing.write(table, results.data)
    writing.write_results(results)
    swap_tables.write_tables(layout.SWAPS, layout.DATA_REPORT, layout.TABLES)
    page.write(results, tables, figures.draw(results, layout.FIGURES), read_json(layout.GALLERY), layout.PAGE)
