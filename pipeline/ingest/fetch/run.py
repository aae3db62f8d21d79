"""A fetch that runs: for each host some workers, who share its addresses and those that wait to be tried again."""

import asyncio
import heapq
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from pipeline.core.progress import Progress
from pipeline.ingest.fetch.client import Client
from pipeline.ingest.fetch.faults import Fault
from pipeline.ingest.fetch.guard import Network
from pipeline.ingest.fetch.pace import Pace
from pipeline.ingest.fetch.store import PhotoStore

if TYPE_CHECKING:
    from pipeline.settings.fetching import FetchSettings

SYNC_SECONDS = 5.0  # of work that a power cut can cost
REASONS_SHOWN = 3


class Job(NamedTuple):
    """An address to ask for.

    Attributes:
        item_id: whose photo it is.
        address: where it is.
        tried: requests that were made.
    """

    item_id: str
    address: str
    tried: int = 0


class Lane:
    """The jobs of a host: those to be tried again once their time has come, else the next one."""

    def __init__(self, host: str, jobs: Iterator[Job]):
        self.host, self._jobs = host, jobs
        self._later: list[tuple[float, int, Job]] = []
        self._count = 0

    def again(self, job: Job, due: float) -> None:
        """Has a job tried again."""
        self._count += 1
        heapq.heappush(self._later, (due, self._count, job))

    def take(self, now: float) -> Job | float | None:
        """A job; else the seconds until there is one; None where nothing is left."""
        if self._later and self._later[0][0] <= now:
            return heapq.heappop(self._later)[2]
        if job := next(self._jobs, None):
            return job
        return self._later[0][0] - now if self._later else None


class Run:
    """Asks for addresses until each is answered or given up.

    Args:
        store: what is fetched goes there.
        settings: bounds and pace.
        network: what is connected through.
        pace: gives turns; None: as the settings say.
    """

    def __init__(self, store: PhotoStore, settings: "FetchSettings", *, network: Network, pace: Pace | None = None):
        self._store, self._settings, self._network = store, settings, network
        self._pace = pace or Pace(settings.rate, settings.longest_wait)
        self._faults: Counter[str] = Counter()

    def fetch(self, jobs: pl.DataFrame) -> None:
        """Asks for all jobs: item_id, address, host."""
        with Progress("fetch", len(jobs), "addresses") as self._progress:
            asyncio.run(self._all(jobs))

    async def _all(self, jobs: pl.DataFrame) -> None:
        async with Client(self._settings, self._pace, self._network) as client:
            parts = jobs.partition_by("host", as_dict=True, maintain_order=True)
            lanes = [Lane(str(host), _jobs(part)) for (host,), part in parts.items()]
            workers = [self._work(lane, client) for lane in lanes for _ in range(self._settings.connections)]
            syncing = asyncio.create_task(self._sync())
            tasks = [asyncio.create_task(worker) for worker in workers]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in (*tasks, syncing):
                    task.cancel()
                await asyncio.gather(*tasks, syncing, return_exceptions=True)

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            await asyncio.to_thread(self._store.sync)

    async def _work(self, lane: Lane, client: Client) -> None:
        while (job := lane.take(self._pace.now())) is not None:
            if isinstance(job, float):
                await self._pace.pause(job)
            else:
                await self._ask(lane, job, client)

    async def _ask(self, lane: Lane, job: Job, client: Client) -> None:
        """One request: its photo kept, its fault noted, or the job put back."""
        tried = job.tried + 1
        try:
            photo = await client.get(job.address)
        except Fault as fault:
            wait = self._pace.wait(tried, fault.wait)
            if fault.slows:
                self._pace.slow(lane.host, wait)
            else:
                self._pace.ease(lane.host)
            if fault.passes and tried < self._settings.tries:
                lane.again(job._replace(tried=tried), self._pace.now() + wait)
                return
            status = "failed" if fault.passes else "gone"
            self._store.note(job.item_id, job.address, status, reason=fault.reason, tries=tried)  # type: ignore[arg-type]
            self._faults[fault.reason] += 1
        else:
            self._pace.ease(lane.host)
            self._store.keep(job.item_id, job.address, photo, tries=tried)
        self._progress.note = self._failures()
        self._progress.add()

    def _failures(self) -> str:
        """The share of each fault among what is answered."""
        done = self._progress.done + 1
        worst = self._faults.most_common(REASONS_SHOWN)
        shares = ", ".join(f"{count / done:.1%} {reason}" for reason, count in worst)
        return f"without a photo: {shares}" if shares else ""


def _jobs(jobs: pl.DataFrame) -> Iterator[Job]:
    for item_id, address in jobs.select("item_id", "address").iter_rows():
        yield Job(item_id, address)
