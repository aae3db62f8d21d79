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
        rows: of items whose address is refused, or was answered for another item: for the ledger, as SCHEMA.
        jobs: item_id, address, host: what is asked for, each address once.
        is_last: whether no item waits for the answer of another one's job, to be planned then.
    """

    rows: pl.DataFrame
    jobs: pl.DataFrame
    is_last: bool


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
    latest = ledger.latest(pl.col("address").alias("last"), "status", "reason")
    left = items.join(latest, on="item_id", how="left", maintain_order="left")
    del latest
    is_same = pl.col("last").eq_missing(pl.col("address"))
    is_noted = (pl.col("status") == "refused") & (pl.col("reason") == pl.col("refusal"))
    is_answered = (pl.col("refusal") == "") & pl.col("status").is_in(answers)
    left = left.filter(~(is_same & (is_noted | is_answered)).fill_null(False)).select(*WANTED)
    refused = left.filter(pl.col("refusal") != "").select(
        "item_id",
        "address",
        pl.lit("refused").alias("status"),
        pl.col("refusal").alias("reason"),
        *(pl.lit("" if kind == pl.String else 0).cast(kind).alias(name) for name, kind in [*SCHEMA.items()][4:]),
    )
    left = left.filter(pl.col("refusal") == "").drop("refusal")
    answered = ledger.rows.filter(pl.col("status").is_in(answers)).join(left, on="address", how="semi")
    answered = answered.unique("address", keep="last").drop("item_id")
    known = left.join(answered, on="address", maintain_order="left").select(*SCHEMA)
    left = left.join(answered, on="address", how="anti", maintain_order="left")
    jobs = left.unique("address", keep="first", maintain_order=True)
    hosts = pl.Series("host", map(host_of, jobs["address"]), pl.Categorical)
    return Plan(pl.concat([refused, known]), jobs.with_columns(hosts), is_last=len(jobs) == len(left))
