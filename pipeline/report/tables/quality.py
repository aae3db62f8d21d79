"""Tables of how good the heads are: on all test users, on some of them, and which differences hold."""

import csv
import io

import polars as pl

from pipeline.heads.presets import IMAGE_CLASSIFIER, NEAREST_IMAGES
from pipeline.metrics import measure
from pipeline.report import published
from pipeline.report.results import FLOOR, Results
from pipeline.report.statistics import Pair
from pipeline.report.table import MISSING, Cell, Measured, Table
from pipeline.report.tables.protocol import edges
from pipeline.report.text import csv_cells

SEGMENTS = {
    "images": "images in the set",
    "labels": "true labels",
    "frequency": "labels, by how many training sets have them",
    "unseen": "share of the set's images that no training set has",
}
AT_K = {"recall": "Recall@k", "precision": "Precision@k", "f1": "F1@k", "ceiling": "ceiling F1@k"}
THRESHOLDED = {f"published_{name.lower()}": f"thresholded {name}@k" for name in ("Recall", "Precision", "F1")}
PUBLISHED_K = 10  # of the published headline
FIRST = tuple(metric.title for name in ("micro_ap", "micro_f1") for metric in measure.OVERALL if metric.name == name)
COMPARED = "micro AP above averaging"
ADJUSTED = "better or worse: the difference holds after Holm's correction over all tests of comparisons.md"
LEAST_P = 1e-4
SMALL = 0.01  # of average precision: a head that is surely no more than this below another reaches it

SOURCE = "measured"
SOURCE_TRUE = "measured, with each image's true labels"
SOURCE_MERGED = "measured, adapter merged in"
SOURCE_PUBLISHED = "published, not comparable"

DEFINITIONS = """\
Values are means over test users, then over seeds; in brackets the 95 % interval of a bootstrap over users and seeds.
Standard at k: precision = hits / k, recall = hits / true labels; the ceiling is the best F1 that any ranking could
reach, the floor (popularity) gives every user the most frequent labels. Thresholded (the published definition): a label
counts as recommended only if it is among the k best and its score is at least 0.5. Among equal scores the mean over all
their orders counts."""
NOT_COMPARABLE = f"Rows marked published are not comparable with the others ({published.SOURCE})."


def headline(results: Results) -> Table:
    """One row a backbone and head: the metrics that are not at k, and those at the one k of the published headline."""
    k = PUBLISHED_K if PUBLISHED_K in results.ks else results.ks[0]
    titles = [metric.title for metric in measure.OVERALL]
    metrics = [*((metric.name, None) for metric in measure.OVERALL), ("f1", k), ("published_f1", k)]
    parameters: dict[Pair, Cell] = {pair: cost["parameters"] for pair, cost in results.cost_of.items()}
    parameters |= dict.fromkeys([FLOOR, *results.references], "")
    parameters[FLOOR] = 0
    for pair in results.merged:
        parameters[pair] = results.training.get(pair, {}).get("parameters", MISSING)
    asked = [COMPARED, "differs"] if results.average else []
    rows: list[list[Cell]] = []
    for source, pairs in (
        (SOURCE, [FLOOR, *results.pairs]),
        (SOURCE_TRUE, results.references),
        (SOURCE_MERGED, results.merged),
    ):
        for pair in pairs:
            cells = [_cell(results, pair, metric, k=at) for metric, at in metrics]
            against = _against_average(results, pair)[: len(asked)]
            rows.append([*pair, parameters.get(pair, MISSING), *cells, *against, source])
    for head, f1 in published.HEADLINE.items():
        cells = [f1 if k == PUBLISHED_K else "", ""]
        rows.append(
            [
                "published",
                head,
                published.SIZE[head][0],
                *[""] * len(titles),
                *cells,
                *[""] * len(asked),
                SOURCE_PUBLISHED,
            ]
        )
    columns = ["backbone", "head", "parameters", *titles, f"F1@{k}", f"thresholded F1@{k}", *asked, "source"]
    title = "How well each head tells a user's interests"
    first = ("head", "backbone", *FIRST, *asked, "parameters")
    return Table("headline", title, columns, rows, _about_headline(results), first=first)


def _about_headline(results: Results) -> str:
    """The notes of the table."""
    notes = [
        "F1 at a threshold chosen on validation; AP is average precision, micro over all pairs of a user and a label, "
        "macro the mean over labels.",
        *_notes(results),
        *([f"{COMPARED}: on the same users; {ADJUSTED}."] if results.average else []),
        *_supervision(results),
        *_about_merged(results),
        *_not_exhausted(results),
        f"{NOT_COMPARABLE} Its text does not say by which definition its F1@{PUBLISHED_K} is.",
    ]
    return "\n".join(notes)


def _against_average(results: Results, pair: Pair) -> list[Cell]:
    """How far a head is above averaging in micro AP, and whether that holds; empty where it is not tested."""
    row = results.test(pair, results.average, "micro_ap")
    return ["", ""] if row is None else [Measured(row["difference"], row["low"], row["high"]), _verdict(row)]


def _verdict(row: dict) -> str:
    """What a test says of a difference."""
    return ("better" if row["difference"] > 0 else "worse") if row["holds"] else "not shown"


def _about_merged(results: Results) -> list[str]:
    """Where heads come from that were trained on another backbone."""
    if not results.merged:
        return []
    named = ", ".join(f"{head} (reads {backbone})" for backbone, head in results.merged)
    return [f"Merged, not trained on what they read: {named}. An adapter maps one backbone's vectors to the other's."]


def quality(results: Results) -> Table:
    """The shape of the published table, one row a k and head, with both definitions and the published rows."""
    rows: list[list[Cell]] = []
    for k in results.ks:
        floor = _cell(results, FLOOR, "f1", k=k)
        for pair in [FLOOR, *results.pairs]:
            standard, thresholded = (
                [_cell(results, pair, name, k=k) for name in names] for names in (AT_K, THRESHOLDED)
            )
            rows.append([k, *pair, *standard, floor, *thresholded, SOURCE])
        for head, (recall, precision) in published.QUALITY.get(k, {}).items():
            f1 = round(2 * recall * precision / (recall + precision), 3)
            rows.append([k, "published", head, *[""] * 5, recall, precision, f1, SOURCE_PUBLISHED])
    notes = [
        *_notes(results),
        f"{NOT_COMPARABLE} Published F1 is worked out from the published recall and precision.",
    ]
    columns = ["k", "backbone", "head", *AT_K.values(), "floor F1@k", *THRESHOLDED.values(), "source"]
    first = ("head", "backbone", "k", AT_K["f1"], AT_K["ceiling"], "floor F1@k")
    return Table("quality", "Recommending the k best labels", columns, rows, "\n".join(notes), first=first)


def comparisons(results: Results) -> Table:
    """The tests that are asked; the CSV has the others too."""
    asked = results.comparisons.filter("asked")
    rows: list[list[Cell]] = []
    for row in asked.iter_rows(named=True):
        difference = Measured(row["difference"], row["low"], row["high"])
        p = [_p(row[name]) for name in ("p", "adjusted")]
        rows.append([row["backbone"], row["head"], row["against"], _title(row), difference, *p, _verdict(row)])
    notes = (
        "What is asked: the best head of each backbone (by validation) against the best published one, as published or "
        f"regularised, and against {IMAGE_CLASSIFIER}; each head against averaging. On the same users and resamples: "
        "t tests of the mean difference, its error from the bootstrap over users and seeds. Adjusted by Holm's method "
        f"over all {len(rows)} tests of this table. Intervals are not adjusted. comparisons.csv has the other heads "
        "against the best published one as well; these tests are not adjusted, and show nothing by themselves."
    )
    columns = ["backbone", "head", "against", "metric", "difference", "p", "p, Holm", "differs"]
    longer = {".csv": _every_test(results)}
    first = ("head", "against", "metric", "difference", "differs")
    return Table("comparisons", "Which differences hold", columns, rows, notes, first=first, longer=longer)


def _title(row: dict) -> str:
    """A test's metric, in words."""
    titles = {metric.name: metric.title for metric in measure.OVERALL}
    return titles.get(row["metric"], f"F1@{row['k']}")


def _p(value: float) -> str:
    """A p value, no smaller than the tails of a bootstrap bear."""
    return "< 0.0001" if value < LEAST_P else f"{value:.2g}"


def _every_test(results: Results) -> str:
    """Every test, for programs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["backbone", "head", "against", "metric", "difference", "low", "high", "p", "p Holm", "differs"])
    for row in results.comparisons.iter_rows(named=True):
        bounds = [round(row[name], 6) for name in ("difference", "low", "high")]
        p = ["" if row[name] is None else _p(row[name]) for name in ("p", "adjusted")]
        verdict = _verdict(row)
        cells = [row["backbone"], row["head"], row["against"], _title(row), *bounds, *p]
        writer.writerow(csv_cells("comparisons.csv", [*cells, verdict if row["asked"] else "not asked"]))
    return out.getvalue()


def segments(results: Results) -> Table:
    """The metrics of some sets, and of some labels."""
    rows: list[list[Cell]] = []
    for by, title in SEGMENTS.items():
        parts = results.values.filter(pl.col("by") == by).select("segment", "n").unique(maintain_order=True)
        for segment, sets in parts.iter_rows():
            for pair in results.pairs:
                cells = [_part_cell(results, pair, metric.name, by=by, segment=segment) for metric in measure.OVERALL]
                rows.append([title, segment, sets, *pair, *cells])
    notes = [
        "Labels by frequency: the third that most training sets have (head), the next (middle), the rest (tail); "
        "macro values, means over labels, are worked out there alone.",
        *_about_users(results),
    ]
    columns = ["divided by", "part", "sets", "backbone", "head", *(metric.title for metric in measure.OVERALL)]
    first = ("head", "backbone", "part", "divided by", "sets", *FIRST)
    return Table("segments", "For whom, and for what, each head works", columns, rows, "\n".join(notes), first=first)


def _cell(results: Results, pair: Pair, metric: str, *, k: int | None) -> Cell:
    """A metric value of all sets, marked where it differs from a reference."""
    row = results.value(pair, metric, k)
    if row is None:
        return MISSING
    return Measured(row["mean"], row["low"], row["high"], _marks(results, pair, metric, k=k))


def _part_cell(results: Results, pair: Pair, metric: str, *, by: str, segment: str) -> Cell:
    """A metric value of a part of the sets; empty where a head that has values has none of this part."""
    row = results.value(pair, metric, by=by, segment=segment)
    if row is None:
        return MISSING if pair in results.missing else ""
    return Measured(row["mean"], row["low"], row["high"])


def _marks(results: Results, pair: Pair, metric: str, *, k: int | None) -> str:
    """Such as "p+ a+": better than the best published head, and than averaging."""
    letters = {results.average: "a", results.reference.get(pair[0]): "p"}
    tests = results.differences.get((*pair, metric, k), [])
    marked = [test for test in tests if test["against"] in letters]
    return " ".join(letters[test["against"]] + "-+"[test["difference"] > 0] for test in marked)


def _notes(results: Results) -> list[str]:
    """What both tables of all test users say."""
    beyond = results.beyond()
    return [DEFINITIONS, *([beyond] if beyond else []), _about_marks(results), *_about_users(results)]


def _supervision(results: Results) -> list[str]:
    """Whether better supervision could help, a sentence a backbone."""
    sentences = []
    for row in results.comparisons.filter(against=IMAGE_CLASSIFIER, metric="micro_ap").iter_rows(named=True):
        what = f"{row['head']} on {row['backbone']}"
        measured = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] in micro AP"
        if row["low"] >= -SMALL:
            verdict = "reaches"
            then = "supervision is exhausted, and what is left to gain is in the features"
        elif row["holds"] and row["difference"] < 0:
            verdict, then = "stays below", "better supervision would help"
        else:
            verdict, then = "is not shown to differ from", "more users would tell whether supervision is exhausted"
        sentences.append(f"{what} {verdict} {IMAGE_CLASSIFIER} ({measured}): {then}.")
    about = (
        f"{IMAGE_CLASSIFIER}: the instance classifier of noisy_or trained on each image's true labels; "
        f"{NEAREST_IMAGES}: the labels of the nearest training images."
    )
    return [about, *sentences] if results.references else []


def _not_exhausted(results: Results) -> list[str]:
    """Which heads more tuning might help."""
    found = {pair: edges(results.training[pair]) for pair in results.pairs if pair in results.training}
    named = [f"{head} on {backbone} ({', '.join(at)})" for (backbone, head), at in found.items() if at]
    return [f"Tuning did not exhaust: {'; '.join(named)}; see tuning.md."] if named else []


def _about_marks(results: Results) -> str:
    """What the marks mean."""
    best = ", ".join(f"{head} on {backbone}" for backbone, head in results.reference.items())
    explained = [f"p+ (p-): better (worse) than the best published head by validation ({best}), of the best head alone"]
    explained = explained if best else []
    explained += [f"a+ (a-): than averaging ({results.average})"] if results.average else []
    if not explained:
        return "No published head is compared, so nothing is tested."
    return f"{'; '.join(explained)}; tests in comparisons.md. Where there is no mark, no difference is shown."


def _about_users(results: Results) -> list[str]:
    """Who is left out, and how much of what is tested the heads may know by heart."""
    test = results.data["sets"]["test"]
    left = f"{test['sets']:,} test users; {results.data.get('users_without_label', 0):,} users without a label and "
    left += f"{results.data.get('users_without_image', 0):,} without an image are left out."
    return [left, results.seen()]
