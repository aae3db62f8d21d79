"""Saved figures of swapped backbones to tables: swap.md for people, swap.csv for programs. Computes no metric."""

import csv
import io
import json
from pathlib import Path

from pipeline import files

METRICS = {"micro_ap": "micro AP", "micro_f1": "micro F1"}
COLUMNS = ["old", "new", "head", "adapter", "pairs", "metric"]
COLUMNS += ["stay", "adapted", "unadapted", "retrained", "floor", "retention"]
FIGURES = ["stay", "adapted", "unadapted", "retrained", "floor", "retention", "gain"]
SHARED = {"negative_flips": "negative flips", "overlap": "overlap"}  # not of one metric
CLOSENESS = {"cosine": "cosine", "explained_variance": "explained variance"}

NOTES = """\
stay: the old backbone with the old head. adapted: the new backbone's vectors, mapped to the old one's, with the old
head. unadapted: without the map. retrained: the new backbone with a head of the same kind, trained on it. floor:
popularity. Retention = (adapted - floor) / (retrained - floor). Figures are means over seeds, on test users; in
brackets the 95 % interval of a bootstrap over users and seeds, the same resamples for all: differences are paired.
F1 at the threshold that was chosen with the old backbone. Negative flips: the share of a user's labels that were
decided rightly before and are not after. merges: whether map and head become one head of the new backbone, at no cost
per image; if not, why.
Cosine and explained variance (bootstrap over images) compare mapped vectors with the old backbone's own, in units of
each dimension's standard deviation. restored_ridge gives shrunk predictions most of their spread back: farther from
the single vector, nearer to what heads were trained on. The adapter is chosen on validation users."""


def write_tables(figures: Path, description: Path, folder: Path) -> None:
    """Writes swap.md and swap.csv of all swaps that have figures; where there are none, removes what an older run left.

    Args:
        figures: the folder of OLD/NEW.json.
        description: reports/data.json, for where the data are from.
        folder: of the tables.
    """
    swaps = read(figures)
    texts = {"swap.md": _page(swaps, description), "swap.csv": _comma_separated(swaps)} if swaps else {}
    for name in () if swaps else ("swap.md", "swap.csv", "swap.tex"):
        files.remove(folder / name)
    for name, text in texts.items():
        with files.write_aside(folder / name) as aside:
            aside.write_text(text, encoding="utf-8")


def read(figures: Path) -> list[dict]:
    """All swaps that have figures, by old and new backbone; `figures` is the folder of OLD/NEW.json."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(figures.glob("*/*.json"))]


def overview(swaps: list[dict]) -> tuple[list[str], list[list]]:
    """Columns and rows of one table for all swaps: micro AP with the chosen adapter; figures are (value, low, high)."""
    names = [name for name in FIGURES if name != "gain"]
    columns = ["old", "new", "head", "adapter", "pairs", *names, "adapted - stay", "verdict", "merges"]
    rows = []
    for swap in swaps:
        for head, own in swap["heads"].items():
            row = _best_row(swap, own)
            found = _figures(swap, own, row, "micro_ap")
            cells = [_triple(found[name]) for name in [*names, "gain"]]
            place = [swap["old"], swap["new"], head, row["adapter"], row["pairs"]]
            rows.append([*place, *cells, _verdict(found["gain"]), own["obstacle"] or "yes"])
    return columns, rows


def _triple(entry: dict | None) -> tuple[float, float, float] | str:
    return "missing" if entry is None else (entry["value"], *entry["interval"])


def _comma_separated(swaps: list[dict]) -> str:
    """One row a swap, head, adapter and metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    bounds = [f"{name} {end}" for name in FIGURES for end in ("low", "high") if name != "gain"]
    others = ["gain", *SHARED.values(), *CLOSENESS.values()]
    spread = [f"{name}{end}" for name in others for end in ("", " low", " high")]
    writer.writerow([*COLUMNS, *bounds, *spread, "strength", "rank", "chosen", "verdict", "merges"])
    for swap in swaps:
        about = {(fit["adapter"], fit["pairs"]): fit for fit in swap["adapters"]}
        for name, head in swap["heads"].items():
            for row in head["adapted"]:
                fit = about[row["adapter"], row["pairs"]]
                for metric in METRICS:
                    found = _figures(swap, head, row, metric)
                    cells = [swap["old"], swap["new"], name, row["adapter"], row["pairs"], metric]
                    cells += [_value(found[figure]) for figure in FIGURES[:-1]]
                    cells += [bound for figure in FIGURES[:-1] for bound in _bounds(found[figure])]
                    for entry in (found["gain"], *(row[key] for key in SHARED), *(fit[key] for key in CLOSENESS)):
                        cells += [_value(entry), *_bounds(entry)]
                    cells += [fit.get("strength", ""), fit.get("rank", ""), "yes" if _is_best(swap, row) else "no"]
                    writer.writerow([*cells, _verdict(found["gain"]), head["obstacle"] or "yes"])
    return out.getvalue()


def _page(swaps: list[dict], description: Path) -> str:
    lines = ["# What heads keep when the backbone is swapped", ""]
    if description.is_file():
        data = json.loads(description.read_text(encoding="utf-8"))
        lines.append(f"Source: {data['source']}.")
        if data["simulated"]:
            lines[-1] += " **Simulated**: images drawn by a program, users who do not exist. No figure is about people."
        lines.append("")
    for swap in swaps:
        lines += [f"## {swap['old']} to {swap['new']}", "", *_wise(swap), "", *_heads(swap), ""]
        lines += [*_curve(swap), "", *_kinds(swap), ""]
    return "\n".join([*lines, NOTES, ""])


def _wise(swap: dict) -> list[str]:
    """Whether adapting beats staying, and what it costs."""
    old, new = swap["old"], swap["new"]
    best = {name: _best_row(swap, head) for name, head in swap["heads"].items()}
    verdicts = {name: _verdict(row["micro_ap"]["gain"]) for name, row in best.items()}
    better, worse = ([name for name, said in verdicts.items() if said == word] for word in ("better", "worse"))
    merging = [name for name, head in swap["heads"].items() if head["obstacle"] is None]
    old_size, new_size = (f"{swap['backbone_parameters'][name] / 1e6:.1f}" for name in (old, new))
    return [
        f"Is it wise? On {swap['test_users']:,} test users, micro AP with {new} adapted is higher than with {old} for "
        f"{_of(better, verdicts)}, and lower for {_of(worse, verdicts)}; where it is neither, no difference is seen.",
        f"What it costs: {swap['images']:,} images to embed with {new} ({new_size} million parameters, {old} has "
        f"{old_size}), of which {swap['training_images']:,} fit the map, and at least {min(_sizes(swap)):,} could; no "
        f"training, no labels. The map has {swap['adapter_parameters']:,} numbers and takes as many multiplications "
        f"an image; merged, which {_of(merging, verdicts)} can be, it costs nothing.",
    ]


def _heads(swap: dict) -> list[str]:
    columns = ["head", "stay", "adapted", "unadapted", "retrained", "floor", "retention", "retention of micro F1"]
    columns += ["adapted - stay", "verdict", "negative flips", f"same among the {swap['k']} best", "merges"]
    rows = []
    for name, head in swap["heads"].items():
        row = _best_row(swap, head)
        found = _figures(swap, head, row, "micro_ap")
        cells = [_text(found[figure]) for figure in FIGURES[:-1]] + [_text(row["micro_f1"]["retention"])]
        cells += [_text(found["gain"], "+"), _verdict(found["gain"]), *(_text(row[key]) for key in SHARED)]
        rows.append([name, *cells, head["obstacle"] or "yes"])
    title = f"Micro AP with the chosen adapter, {swap['best']}, from all {swap['training_images']:,} pairs:"
    return [title, "", *_table(columns, rows)]


def _curve(swap: dict) -> list[str]:
    sizes = _sizes(swap)
    rows = []
    for name, head in swap["heads"].items():
        found = {
            row["pairs"]: row["micro_ap"]["retention"] for row in head["adapted"] if row["adapter"] == swap["best"]
        }
        rows.append([name, *(_text(found[size]) for size in sizes)])
    return [
        f"Retention of micro AP against the images that {swap['best']} is fitted on:",
        "",
        *_table(["head", *(f"{size:,}" for size in sizes)], rows),
    ]


def _kinds(swap: dict) -> list[str]:
    columns = ["adapter", "pairs", "strength", "rank", "cosine", "explained variance", "highest retention", "lowest"]
    rows = []
    for fit in swap["adapters"]:
        kept = [
            row["micro_ap"]["retention"]
            for head in swap["heads"].values()
            for row in head["adapted"]
            if (row["adapter"], row["pairs"]) == (fit["adapter"], fit["pairs"])
        ]
        known = sorted(entry["value"] for entry in kept if entry)
        ends = [f"{value:.3f}" for value in (known[-1], known[0])] if known else ["missing"] * 2
        closeness = [_text(fit[key]) for key in CLOSENESS]
        strength = f"{fit['strength']:g}" if "strength" in fit else ""
        rows.append([fit["adapter"], f"{fit['pairs']:,}", strength, str(fit.get("rank", "")), *closeness, *ends])
    rows += [[kind, "not fitted: " + why, *[""] * 6] for kind, why in swap["refused"].items()]
    images = swap["adapters"][0]["images"]
    return [f"The maps, on {images:,} images: {swap['compared_on']}.", "", *_table(columns, rows)]


def _figures(swap: dict, head: dict, row: dict, metric: str) -> dict[str, dict | None]:
    """All figures of one head, adapter and metric, each {"value", "interval"} or None."""
    return {
        **{name: (head[name] or {}).get(metric) for name in ("stay", "unadapted", "retrained")},
        **{name: row[metric][name] for name in ("adapted", "retention", "gain")},
        "floor": swap["floor"][metric],
    }


def _best_row(swap: dict, head: dict) -> dict:
    return next(row for row in head["adapted"] if _is_best(swap, row))


def _is_best(swap: dict, row: dict) -> bool:
    return (row["adapter"], row["pairs"]) == (swap["best"], swap["training_images"])


def _sizes(swap: dict) -> list[int]:
    return sorted(fit["pairs"] for fit in swap["adapters"] if fit["adapter"] == swap["best"])


def _verdict(gain: dict) -> str:
    """Whether adapting beats staying, by the interval of the difference."""
    low, high = gain["interval"]
    return "better" if low > 0 else "worse" if high < 0 else "no difference seen"


def _of(some: list, every: dict) -> str:
    return f"{len(some)} of {len(every)} heads{' (' + ', '.join(some) + ')' if 0 < len(some) < len(every) else ''}"


def _value(entry: dict | None) -> float | str:
    return "" if entry is None else entry["value"]


def _bounds(entry: dict | None) -> list:
    return ["", ""] if entry is None else entry["interval"]


def _text(entry: dict | None, sign: str = "") -> str:
    if entry is None:
        return "missing"
    low, high = entry["interval"]
    return f"{entry['value']:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]
