"""Tables of what heads cost: numbers to keep, and time."""

from pipeline.report import published
from pipeline.report.results import Results
from pipeline.report.table import MISSING, Cell, Table

BYTES = 4  # float32
NOT_MEASURED = "Not measured: run visagg cost, or dvc repro."


def size(results: Results) -> Table:
    """What each head weighs, as trained and folded, without and with the backbone."""
    rows: list[list[Cell]] = []
    for pair in results.pairs:
        cells: list[Cell] = [MISSING] * 5
        if cost := results.cost_of.get(pair):
            trained, folded = cost["parameters"], cost["folded_parameters"]
            whole = folded + cost["backbone_parameters"]
            cells = [trained, _megabytes(trained), folded, _megabytes(folded), _megabytes(whole)]
        rows.append([*pair, *cells, "measured"])
    for head, (parameters, megabytes) in published.SIZE.items():
        rows.append(["published", head, parameters, megabytes, "", "", "", "published"])
    notes = [
        "Folded: the same answers from fewer numbers, where algebra allows (a squeeze into a query, standardisation "
        "into the next layer). MB: float32, 1e6 bytes.",
        f"Published counts are of heads for vectors of 1024 numbers and 1000 labels ({published.SOURCE}); `visagg "
        "heads --dim 1024 --classes 1000` gives the same.",
        *([] if results.machine else [NOT_MEASURED]),
    ]
    columns = ["backbone", "head", "parameters", "MB", "folded parameters", "folded MB", "folded MB with backbone"]
    first = ("head", "backbone", "parameters", "folded parameters", "folded MB")
    return Table("size", "What each head weighs", [*columns, "source"], rows, "\n".join(notes), first=first)


def times(results: Results) -> Table:
    """How long a decision takes on this machine, without the backbone."""
    rows: list[list[Cell]] = []
    for pair in results.pairs:
        cost = results.cost_of.get(pair)
        cells = [cost["milliseconds"], cost["folded_milliseconds"]] if cost else [MISSING] * 2
        rows.append([*pair, *cells])
    columns = ["backbone", "head", "ms a decision", "folded ms a decision"]
    title = "How long a decision takes on this machine"
    return Table("times", title, columns, rows, _about_times(results.machine), of_machine=True)


def _about_times(machine: dict | None) -> str:
    """On what, and of what, times were measured."""
    if machine is None:
        return NOT_MEASURED
    return (
        f"A decision: one set of {machine['images']} images whose vectors are cached, {machine['classes']} labels, "
        f"median time on {machine['processor']}, {machine['threads']} thread, torch {machine['torch']}. Times change "
        "from run to run; nothing else in these tables does."
    )


def _megabytes(parameters: int) -> float:
    return round(parameters * BYTES / 1e6, 2)
