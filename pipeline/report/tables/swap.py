"""What heads keep when the backbone is swapped, as a table, as a longer page (swap.md) and as rows (swap.csv).

A swap is the content of cache/swap/OLD/NEW.json; an entry is a metric value in it: {"value", "interval"}, or None.
"""

import csv
import io
from collections.abc import Iterator

from pipeline.report.origin import origin
from pipeline.report.results import Results
from pipeline.report.table import MISSING, Cell, Measured, Table
from pipeline.report.text import csv_cells

METRICS = ("micro_ap", "micro_f1")
COLUMNS = ["old", "new", "head", "adapter", "pairs", "metric"]
COLUMNS += ["stay", "adapted", "unadapted", "retrained", "floor", "retention"]
VALUES = ["stay", "adapted", "unadapted", "retrained", "floor", "retention"]
SHARED = {"negative_flips": "negative flips", "overlap": "overlap"}  # not of one metric
CLOSENESS = {"cosine": "cosine", "explained_variance": "explained variance"}

NOTES = """\
stay: the old backbone with the old head. adapted: the new backbone's vectors, mapped to the old one's, with the old
head. unadapted: without the map. retrained: the new backbone with a head of the same kind, trained on it. floor:
popularity. Retention = (adapted - floor) / (retrained - floor). Values are means over seeds, on test users; in
brackets the 95 % interval of a bootstrap over users and seeds, the same resamples for all: differences are paired.
F1 at the threshold that was chosen with the old backbone. Negative flips: the share of a user's labels that were
decided rightly before and are not after. merges: whether map and head become one head of the new backbone, at no cost
per image; if not, why.
Cosine and explained variance (bootstrap over images) compare mapped vectors with the old backbone's own, in units of
each dimension's standard deviation. restored_ridge gives shrunk predictions most of their spread back: farther from
the single vector, nearer to what heads were trained on. The adapter is chosen on validation users."""


def swap(results: Results) -> Table | None:
    """One row a swap and head: micro AP with the chosen adapter; None where nothing was swapped."""
    if not results.swaps:
        return None
    rows: list[list[Cell]] = []
    for content in results.swaps:
        for name, head in content["heads"].items():
            row = _chosen(content, head)
            entries = _entries(content, head, row, metric="micro_ap")
            gain = row["micro_ap"]["gain"]
            cells = [_measured(entry) for entry in (*entries.values(), gain)]
            identity = [content["old"], content["new"], name, row["adapter"], row["pairs"]]
            rows.append([*identity, *cells, _verdict(gain), _merges(head)])
    return Table(
        "swap",
        "What heads keep when the backbone is swapped: micro AP, with the chosen adapter",
        ["old", "new", "head", "adapter", "pairs", *VALUES, "adapted - stay", "verdict", "merges"],
        rows,
        NOTES,
        first=("head", "old", "new", "stay", "adapted", "adapted - stay", "verdict"),
        longer={".md": page(results.swaps, results.data), ".csv": comma_separated(results.swaps)},
    )


def page(swaps: list[dict], data: dict) -> str:
    """All swaps as Markdown, for people; `data` is the content of description.json."""
    lines = ["# What heads keep when the backbone is swapped", "", origin(data, "**Simulated**"), ""]
    for content in swaps:
        lines += [f"## {content['old']} to {content['new']}", "", *_summary(content), "", *_heads(content), ""]
        lines += [*_by_pairs(content), "", *_adapters(content), ""]
    return "\n".join([*lines, NOTES, ""])


def comma_separated(swaps: list[dict]) -> str:
    """One row a swap, head, adapter and metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    bounds = [f"{name} {end}" for name in VALUES for end in ("low", "high")]
    beside = ["gain", *SHARED.values(), *CLOSENESS.values()]
    spread = [f"{name}{end}" for name in beside for end in ("", " low", " high")]
    writer.writerow([*COLUMNS, *bounds, *spread, "strength", "rank", "chosen", "verdict", "merges"])
    for content in swaps:
        writer.writerows(csv_cells("swap.csv", row) for row in _rows(content))
    return out.getvalue()


def _rows(content: dict) -> Iterator[list]:
    """The rows of one swap for programs."""
    fits = {(fit["adapter"], fit["pairs"]): fit for fit in content["adapters"]}
    for name, head in content["heads"].items():
        for row in head["adapted"]:
            fit = fits[row["adapter"], row["pairs"]]
            for metric in METRICS:
                entries, gain = _entries(content, head, row, metric=metric), row[metric]["gain"]
                cells = [content["old"], content["new"], name, row["adapter"], row["pairs"], metric]
                cells += [_number(entry) for entry in entries.values()]
                cells += [bound for entry in entries.values() for bound in _bounds(entry)]
                for entry in (gain, *(row[key] for key in SHARED), *(fit[key] for key in CLOSENESS)):
                    cells += [_number(entry), *_bounds(entry)]
                cells += [fit.get("strength", ""), fit.get("rank", ""), "yes" if _is_chosen(content, row) else "no"]
                yield [*cells, _verdict(gain), _merges(head)]


def _summary(content: dict) -> list[str]:
    """Whether adapting beats staying, and what it costs."""
    old, new = content["old"], content["new"]
    gains = {name: _chosen(content, head)["micro_ap"]["gain"] for name, head in content["heads"].items()}
    better, worse = ([name for name, gain in gains.items() if _verdict(gain) == word] for word in ("better", "worse"))
    merging = [name for name, head in content["heads"].items() if head["obstacle"] is None]
    millions = {name: f"{parameters / 1e6:.1f}" for name, parameters in content["backbone_parameters"].items()}
    images, pairs, numbers = (content[key] for key in ("images", "training_images", "adapter_parameters"))
    return [
        f"Is it wise? On {content['test_users']:,} test users, micro AP with {new} adapted is higher than with {old} "
        f"for {_of(better, gains)}, and lower for {_of(worse, gains)}; where it is neither, no difference is seen.",
        f"What it costs: {images:,} images to embed with {new} ({millions[new]} million parameters, {old} has "
        f"{millions[old]}), of which {pairs:,} fit the map, and at least {min(_sizes(content)):,} could; no training, "
        f"no labels. The map has {numbers:,} numbers and takes as many multiplications an image; merged, which "
        f"{_of(merging, gains)} can be, it costs nothing.",
    ]


def _heads(content: dict) -> list[str]:
    """What each head keeps with the chosen adapter."""
    columns = ["head", *VALUES, "retention of micro F1"]
    columns += ["adapted - stay", "verdict", "negative flips", f"same among the {content['k']} best", "merges"]
    rows = []
    for name, head in content["heads"].items():
        row = _chosen(content, head)
        gain = row["micro_ap"]["gain"]
        cells = [_text(entry) for entry in _entries(content, head, row, metric="micro_ap").values()]
        cells += [_text(row["micro_f1"]["retention"]), _text(gain, "+"), _verdict(gain)]
        rows.append([name, *cells, *(_text(row[key]) for key in SHARED), _merges(head)])
    title = f"Micro AP with the chosen adapter, {content['best']}, from all {content['training_images']:,} pairs:"
    return [title, "", *_grid(columns, rows)]


def _by_pairs(content: dict) -> list[str]:
    """What each head keeps, by the number of pairs."""
    sizes = _sizes(content)
    rows = []
    for name, head in content["heads"].items():
        chosen = [row for row in head["adapted"] if row["adapter"] == content["best"]]
        retention = {row["pairs"]: row["micro_ap"]["retention"] for row in chosen}
        rows.append([name, *(_text(retention[size]) for size in sizes)])
    title = f"Retention of micro AP against the images that {content['best']} is fitted on:"
    return [title, "", *_grid(["head", *(f"{size:,}" for size in sizes)], rows)]


def _adapters(content: dict) -> list[str]:
    """How close each map comes, and what heads keep with it."""
    columns = ["adapter", "pairs", "strength", "rank", "cosine", "explained variance", "highest retention", "lowest"]
    rows = []
    for fit in content["adapters"]:
        kept = [
            row["micro_ap"]["retention"]["value"]
            for head in content["heads"].values()
            for row in head["adapted"]
            if (row["adapter"], row["pairs"]) == (fit["adapter"], fit["pairs"]) and row["micro_ap"]["retention"]
        ]
        ends = [f"{value:.3f}" for value in (max(kept), min(kept))] if kept else [MISSING] * 2
        closeness = [_text(fit[key]) for key in CLOSENESS]
        strength = f"{fit['strength']:g}" if "strength" in fit else ""
        rows.append([fit["adapter"], f"{fit['pairs']:,}", strength, str(fit.get("rank", "")), *closeness, *ends])
    rows += [[kind, "not fitted: " + why, *[""] * 6] for kind, why in content["refused"].items()]
    images = content["adapters"][0]["images"]
    return [f"The maps, on {images:,} images: {content['compared_on']}.", "", *_grid(columns, rows)]


def _entries(content: dict, head: dict, row: dict, *, metric: str) -> dict[str, dict | None]:
    """The entries of one head, adapter and metric, in the order of VALUES."""
    entries = {name: (head[name] or {}).get(metric) for name in ("stay", "unadapted", "retrained")}
    entries |= {"floor": content["floor"][metric], **row[metric]}
    return {name: entries[name] for name in VALUES}


def _chosen(content: dict, head: dict) -> dict:
    """A head's row with the chosen adapter."""
    return next(row for row in head["adapted"] if _is_chosen(content, row))


def _is_chosen(content: dict, row: dict) -> bool:
    return (row["adapter"], row["pairs"]) == (content["best"], content["training_images"])


def _sizes(content: dict) -> list[int]:
    return sorted(fit["pairs"] for fit in content["adapters"] if fit["adapter"] == content["best"])


def _verdict(gain: dict) -> str:
    """Whether adapting beats staying, by the interval of the difference."""
    low, high = gain["interval"]
    return "better" if low > 0 else "worse" if high < 0 else "no difference seen"


def _merges(head: dict) -> str:
    return head["obstacle"] or "yes"


def _of(part: list, whole: dict) -> str:
    return f"{len(part)} of {len(whole)} heads{' (' + ', '.join(part) + ')' if 0 < len(part) < len(whole) else ''}"


def _measured(entry: dict | None) -> Cell:
    return MISSING if entry is None else Measured(entry["value"], *entry["interval"])


def _number(entry: dict | None) -> float | str:
    return "" if entry is None else entry["value"]


def _bounds(entry: dict | None) -> list:
    return ["", ""] if entry is None else entry["interval"]


def _text(entry: dict | None, sign: str = "") -> str:
    if entry is None:
        return MISSING
    low, high = entry["interval"]
    return f"{entry['value']:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _grid(columns: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]
