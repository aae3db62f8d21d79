"""What was measured, in short: for people, and for programs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from pipeline.metrics.measure import OVERALL


def overview(heads: Sequence[tuple[str, Mapping[str, float], Path]], *, as_json: bool = False) -> str:
    """What was measured and where it went, of each head: its name, main metric values and the results' folder.

    >>> heads = [("lite0 average", {metric.name: 0.5 for metric in OVERALL}, Path("R"))]
    >>> print(overview(heads))
    head           micro F1    macro F1    micro AP    macro AP    results
    -------------  ----------  ----------  ----------  ----------  ---------
    lite0 average  0.5000      0.5000      0.5000      0.5000      R
    >>> json.loads(overview(heads, as_json=True))[0]["micro_ap"]
    0.5
    """
    if as_json:
        rows = [{"head": name, **measured, "results": str(folder)} for name, measured, folder in heads]
        return json.dumps(rows, indent=2, ensure_ascii=False)
    lines = [
        [name, *(f"{measured[metric.name]:.4f}" for metric in OVERALL), str(folder)] for name, measured, folder in heads
    ]
    return tabulate(lines, ["head", *(metric.title for metric in OVERALL), "results"], disable_numparse=True)
