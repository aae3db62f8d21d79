"""What is left to ask for: addresses of items against the ledger."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice

import polars as pl

from pipeline.ingest.fetch.addresses import host_of, refusal
from pipeline.ingest.fetch.ledger import SCHEMA, Ledger

BLOCK = 100_000  # addresses that are gathered before they go into columns
WANTED = {"item_id": pl.String, "address": pl.String, "refusal": pl.String}


@dataclass(frozen=True)
class Plan:
    """What a fetch does.

    Attributes:
        rows: of items whose address is refused, or was answered before for another item: for the ledger, as SCHEMA.
        jobs: address, host, items: what is asked for, an address once.
    """

    rows: pl.DataFrame
    jobs: pl.DataFrame


def wanted(addresses: Iterable[tuple[str, str]], hosts: Collection[str]) -> pl.DataFrame:
    """Items with their addresses, and why an address is not asked, in the order given.

    >>> wanted([("B01", "")], [])["refusal"].to_list()
    ['no address']
    """
    entries, blocks, allowed = iter(addresses), [pl.DataFrame(schema=WANTED)], frozenset(hosts)
    while block := list(islice(entries, BLOCK)):
        rows = [(item, address, refusal(address, allowed)) for item, address in block]
        blocks.append(pl.DataFrame(rows, WANTED, orient="row"))
    return pl.concat(blocks)


def plan(items: pl.DataFrame, ledger: Ledger, *, retry: bool) -> Plan:
    """What is left to do.

    Args:
        items: as `wanted` gives them.
        ledger: what is known.
        retry: whether to ask again where a fault may have passed.
    """
    answers = ("fetched", "gone") if retry else ("fetched", "gone", "failed")
    answered = ledger.rows.filter(pl.col("status").is_in(answers)).unique("address", keep="last").drop("item_id")
    asked = items.filter(pl.col("refusal") == "").drop("refusal")
    refused = items.filter(pl.col("refusal") != "").select(
        "item_id",
        "address",
        pl.lit("refused").alias("status"),
        pl.col("refusal").alias("reason"),
        *(pl.lit("" if kind == pl.String else 0).cast(kind).alias(name) for name, kind in [*SCHEMA.items()][4:]),
    )
    known = asked.join(answered, on="address", maintain_order="left").select(*SCHEMA)
    rows = pl.concat([refused, known])
    rows = rows.join(ledger.latest(), on=[*SCHEMA], how="anti", maintain_order="left")
    jobs = asked.join(answered, on="address", how="anti", maintain_order="left")
    jobs = jobs.group_by("address", maintain_order=True).agg(pl.col("item_id").alias("items"))
    hosts = pl.Series("host", [host_of(address) for address in jobs["address"]], pl.String)
    return Plan(rows, jobs.with_columns(hosts))
