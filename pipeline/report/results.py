"""What the report is made of, read once."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Results:
    """Saved results of the declared backbones and heads.

    Attributes:
        backbones: declared, in order.
        heads: declared, in order.
        best: backbone to the head that did best on validation.
        reference: backbone to the published head that did best on validation.
        figures: backbone, head, metric, k (or null), by ("all", "images", "labels", "frequency", "unseen", "label"),
            segment ("" for all; such as "1-2"; a label's name), n (sets; for a label those that have it), mean, low,
            high. The floor is backbone "any", head "popularity".
        history: backbone, head, seed, learning_rate, epoch, loss, micro_ap; the chosen rate alone.
        costs: backbone, head, parameters, folded_parameters, milliseconds, folded_milliseconds.
        missing: declared pairs without figures.
        data: content of reports/data.json.
    """

    backbones: list[str]
    heads: list[str]
    best: dict[str, str]
    reference: dict[str, str]
    figures: pl.DataFrame
    history: pl.DataFrame
    costs: pl.DataFrame
    missing: list[tuple[str, str]]
    data: dict
