"""What metric values are on the disk: a row a metric, segment and seed. Apart, so that readers need no metric."""

import polars as pl

SCHEMA: dict[str, pl.DataType] = {
    "metric": pl.String(),
    "k": pl.Int64(),
    "by": pl.String(),
    "segment": pl.String(),
    "n": pl.Int64(),
    "seed": pl.Int64(),
    "value": pl.Float64(),
    "samples": pl.List(pl.Float32),
}
