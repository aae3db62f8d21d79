"""What was found, in a few words that are made of the figures."""

import numpy as np
import polars as pl

from pipeline.report.results import Results
from pipeline.report.statistics import Pair

METRIC = "micro_ap"


def finding(results: Results) -> str:
    """How the best head compares with the best published one, on the backbone where it does best on validation.

    Args:
        results: of the compared heads.

    Returns:
        Two or three sentences; "" where no head has results.
    """
    if not results.best:
        return ""
    backbone = max(results.best, key=lambda name: _validation(results, (name, results.best[name])))
    head, reference = results.best[backbone], results.reference.get(backbone)
    measured = _measured(results, (backbone, head))
    sentence = f"{head} on {backbone} does best: a micro average precision of {measured} on test users."
    if reference is None:
        return f"{sentence} {results.seen()}"
    if reference == head:
        return f"{sentence} It is a published head. {results.seen()}"
    other = f"The best published head, {reference}, reaches {_measured(results, (backbone, reference))}"
    return f"{sentence} {other}; {_verdict(results, (backbone, head), reference)} {results.seen()}"


def _validation(results: Results, pair: Pair) -> float:
    """Micro average precision on validation, mean over seeds; below all others where it is not known."""
    trained = results.training.get(pair)
    return float(np.mean([seed["micro_ap"] for seed in trained["seeds"]])) if trained else -1.0


def _measured(results: Results, pair: Pair) -> str:
    """A value with its interval; "nothing yet" where there is none."""
    row = results.value(pair, METRIC)
    return f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" if row else "nothing yet"


def _verdict(results: Results, pair: Pair, reference: str) -> str:
    """Whether the difference holds."""
    rows = results.comparisons.filter(
        pl.col("backbone") == pair[0],
        pl.col("head") == pair[1],
        pl.col("against") == reference,
        pl.col("metric") == METRIC,
    ).to_dicts()
    if not rows:
        return "the two were not compared."
    row = rows[0]
    measured = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    return f"the difference, {measured}, {'holds' if row['holds'] else 'is not shown to be one'}."
