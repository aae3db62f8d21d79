"""The table of what probabilities are worth, before and after calibration."""

import numpy as np

from pipeline.report.results import Results
from pipeline.report.statistics import Pair
from pipeline.report.table import MISSING, Cell, Measured, Table

NOTES = """\
ECE, the expected calibration error (C. Guo et al., 2017): all pairs of a test user and a label are put into ten bins of
equal width by the head's probability; how far a bin's mean probability lies from the share of it that is true, mean
over all pairs. 0: of all labels that get 0.7, seven in ten are true. Means over seeds; in brackets the 95 % interval of
a bootstrap over users and seeds.
By chance: what the error after calibration would be on average if every probability were right, for there are only so
many pairs. An error near it leaves nothing to mend that these users could show.
Calibration (J. Platt, 1999): a head's logits become slope z + offset, one pair for all labels, fitted on validation
users. Before: without it. It changes the order of no labels, so rankings and AP are the same with it and without."""
MERGED = (
    "A head with an adapter merged in keeps the slope and the offset that were fitted on its old backbone's vectors."
)


def calibration(results: Results) -> Table:
    """One row a backbone and head: slope, offset, and the expected calibration error with them and without."""
    rows: list[list[Cell]] = []
    for pair in [*results.pairs, *results.merged]:
        chance = results.value(pair, "ece", by="calibration", segment="by chance")
        errors = [_error(results, pair, when) for when in ("before", "after")]
        rows.append([*pair, *_fitted(results, pair), *errors, f"{chance['mean']:.3f}" if chance else MISSING])
    notes = [NOTES, *_lowered(results), *([MERGED] if results.merged else [])]
    columns = ["backbone", "head", "slope", "offset", "ECE before", "ECE after", "by chance"]
    first = ("head", "backbone", "ECE before", "ECE after", "by chance")
    title = "How far probabilities are from what is true"
    return Table("calibration", title, columns, rows, "\n".join(notes), first=first)


def _fitted(results: Results, pair: Pair) -> list[Cell]:
    """Slope and offset, means over seeds."""
    if pair not in results.training:
        return [MISSING] * 2
    seeds = results.training[pair]["calibrations"]
    return [f"{np.mean([seed[name] for seed in seeds]):.3f}" for name in ("slope", "offset")]


def _error(results: Results, pair: Pair, when: str) -> Cell:
    row = results.value(pair, "ece", by="calibration", segment=when)
    return Measured(row["mean"], row["low"], row["high"]) if row else MISSING


def _lowered(results: Results) -> list[str]:
    """For how many of the compared heads the error is smaller after, in a sentence."""
    errors = [
        [results.value(pair, "ece", by="calibration", segment=s) for s in ("before", "after")] for pair in results.pairs
    ]
    known = [(before["mean"], after["mean"]) for before, after in errors if before and after]
    lower = sum(after < before for before, after in known)
    return [f"The error is smaller after calibration for {lower} of {len(known)} compared heads."] if known else []
