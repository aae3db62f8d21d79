"""What ingest would say of a source, while nothing is written: `visagg check`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from pipeline.catalogue.images import DigestRows
from pipeline.core.errors import SourceError
from pipeline.core.text import printable, shortened
from pipeline.ingest.marker import simulated_of
from pipeline.ingest.readers import open_source
from pipeline.ingest.reading import Reading
from pipeline.ingest.stage import origin_of
from pipeline.ingest.tally import Tally
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.ingest.raw import Reject
    from pipeline.settings.settings import Settings

EXAMPLES = 3  # of each reason
LONGEST = 60  # characters of each part of an example, where it is shown to a person


class Seen:
    """Distinct images by their digests alone: the bank of a reading that keeps no image."""

    def __init__(self) -> None:
        self._rows = DigestRows()

    def row(self, digest: bytes) -> int | None:
        """The row of an image that was seen before, by its digest; else None."""
        return self._rows.row(digest)

    def append(self, data: bytes, digest: bytes) -> int:
        """Notes an image and returns its row."""
        return self._rows.add(digest)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._rows)


@dataclass(frozen=True)
class Finding:
    """What a source holds, and what ingest would do with it.

    Attributes:
        source: the format.
        path: where the source lies.
        simulated: what of it does not exist; empty where all is real.
        fault: the line with which ingest would stop; None where it would succeed.
        counts: of what could be used, as far as the source can be read.
        rejects: by reason, the most frequent first: stage, reason, count, examples.
    """

    source: str
    path: str
    simulated: str = ""
    fault: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    rejects: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> str:
        """All of it as JSON, with `succeeds` first."""
        return json.dumps({"succeeds": self.fault is None, **asdict(self)}, indent=2, ensure_ascii=False)

    def as_text(self) -> str:
        """All of it for a person."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        simulated = f", SIMULATED: {self.simulated}" if self.simulated else ""
        yield f"{self.path} ({self.source}{simulated})"
        for name, count in self.counts.items():
            yield f"{count:>12,} {name}"
        for reject in self.rejects:
            yield f"{reject['count']:>12,} {reject['stage']}: {printable(reject['reason'])}"
            for example in reject["examples"]:
                shown = {key: shortened(printable(str(value)), LONGEST) for key, value in example.items()}
                yield f"{'':>15}{', '.join(f'{key} {value}' for key, value in shown.items())}"
        yield "ingest would stop" if self.fault else "ingest would succeed"


def check(project: Project, settings: "Settings") -> Finding:
    """Reads the source that the settings name as ingest does: every image is decoded, and nothing is written.

    Where ingest would stop at too many faults, it goes on, so that all of them are said. What a large source needs on
    the disk meanwhile lies in a temporary folder of the system's, and goes with it.
    """
    source, origin = settings.source, origin_of(settings)
    with TemporaryDirectory(prefix="visagg") as scratch:
        try:
            simulated = simulated_of(source)
            opened = open_source(settings, project, scratch=Path(scratch))
            reading = Reading(opened, origin, Path(scratch), name="check", threads=os.cpu_count() or 1)
        except SourceError as error:
            return Finding(source.name, origin, fault=str(error))
        counts: dict[str, int] = {}
        fault = _read(reading, counts, source.most_rejects)
        return Finding(source.name, origin, simulated, fault, counts, list(_by_reason(reading.rejects)))


def _read(reading: Reading, counts: dict[str, int], most_rejects: float) -> str | None:
    """Reads all of a source, counts what can be used, and returns the line with which ingest would stop, or None."""
    faults: list[str] = []
    try:
        bank = Seen()
        items = reading.items(bank)
        counts |= {
            "items": len(items.images),
            "items with an image": items.images.pictured,
            "distinct images": len(bank),
        }
        with _noted(faults):
            reading.require_items(items, most_rejects)
        purchases = reading.purchases(items)
        users = purchases.table.sorted().select(pl.col("user_id").n_unique()).collect().item()
        counts |= {"purchases": len(purchases.table), "users": users}
        with _noted(faults):
            reading.require_purchases(purchases, most_rejects)
    except SourceError as error:  # of the source itself: it cannot be read on
        faults.append(str(error))
    return faults[0] if faults else None


@contextmanager
def _noted(faults: list[str]) -> Iterator[None]:
    try:
        yield
    except SourceError as error:
        faults.append(str(error))


def _by_reason(rejects: Tally) -> Iterator[dict[str, Any]]:
    """Each reason with its count and some examples, the most frequent first."""
    examples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rejects.rows:
        shown = examples.setdefault((row.stage, row.reason), [])
        if len(shown) < EXAMPLES:
            shown.append(_example(row))
    for (stage, reason), count in sorted(rejects.counts.items(), key=lambda entry: (-entry[1], entry[0])):
        given = [example for example in examples.get((stage, reason), []) if example]
        yield {"stage": stage, "reason": reason, "count": count, "examples": given}


def _example(row: "Reject") -> dict[str, Any]:
    """Where the source has it, as far as that is known."""
    known = {"file": row.file, "line": row.line, "id": row.item_id, "field": row.field, "value": row.value}
    return {name: value for name, value in known.items() if value}
