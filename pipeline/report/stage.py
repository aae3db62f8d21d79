"""The stage: saved results to tables, plots and a page; the only writer of reports/."""

from typing import TYPE_CHECKING

from pipeline.core.files import write_aside
from pipeline.core.lock import hold
from pipeline.project import Project
from pipeline.report import contents, page, writing
from pipeline.report.finding import finding
from pipeline.report.plots.plot import draw
from pipeline.report.records import Gallery
from pipeline.report.results import Results, gather, of_these_sets

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings


def report(project: Project, settings: "Settings") -> str:
    """Writes reports/ from the results of the compared backbones and heads; a pair without results is named.

    Each folder is replaced as a whole: no number of other heads, or of another source, stays.

    Returns:
        What was found, and where all of it is, for people.

    Raises:
        StageError: when no compared pair has results, the data were never described, or a file is damaged.
    """
    with hold(project.tables, project.times, project.metrics, project.plots, project.page):
        results = gather(project, settings)
        gallery = _gallery(project, results)
        tables = [table for make in contents.TABLES if (table := make(results)) is not None]
        writing.write_tables(project, results, tables)
        writing.write_metrics(project, results)
        with write_aside(project.plots) as aside:
            aside.mkdir()
            pictures = draw(contents.PLOTS, results, aside)
            writing.write_plot_data(aside, results)
        page.write(project.page, results, tables, pictures=pictures, gallery=gallery)
    simulated = " (Simulated data.)" if results.data["simulated"] else ""
    return f"{finding(results)}{simulated}\nAll of it: {project.page}"


def _gallery(project: Project, results: Results) -> dict | None:
    """What `visagg gallery` wrote; None where it did not, or did of heads that are compared no more."""
    gallery = of_these_sets(project.gallery, Gallery, results.data["sets_digest"], again="run visagg gallery")
    pairs = {(backbone, head) for backbone, head in gallery["pairs"]} if gallery else set()
    return gallery if pairs <= set(results.pairs) else None
