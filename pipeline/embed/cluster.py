"""The workers of a dask cluster, watched while they work: what is lost costs one line, and soon.

Tasks go through dask's own futures: joblib is never told of a task that no worker can load, or that kills each one.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import SettingsError, StageError

if TYPE_CHECKING:
    from distributed import Client, Future

SECONDS_TO_CONNECT = 10.0
SECONDS_WITHOUT_WORKERS = 60.0  # one that was killed may come back within them
SECONDS_A_LOOK = 1.0
GOES_ON = "what is finished is kept, and the same command goes on from there"


@dataclass(frozen=True)
class Cluster:
    """Workers of a cluster.

    Attributes:
        client: the connection to its scheduler.
        address: the scheduler's.
        slots: how many tasks run at a time.
    """

    client: "Client"
    address: str
    slots: int

    def results(self, do: Callable, tasks: Sequence[Any], seconds: float) -> Iterator[tuple[int, Any]]:
        """Has workers do something to each task.

        Args:
            do: takes a task; workers import it by its name.
            tasks: what travels to the workers.
            seconds: how long it may be until the next task is done.

        Yields:
            The number of a task, from 0, and its result, as they are done.

        Raises:
            StageError: when the scheduler or all workers are lost, a task kills worker after worker, or takes longer.
        """
        from distributed import KilledWorker

        waiting = {self.client.submit(do, task, pure=False): number for number, task in enumerate(tasks)}
        try:
            while waiting:
                future, result = self._next(waiting, seconds)
                yield waiting.pop(future), result
        except CancelledError:
            raise StageError(f"the dask scheduler at {self.address} was lost: start it again; {GOES_ON}") from None
        except KilledWorker as error:
            raise StageError(
                f"workers of {self.address} were killed over and over (at last {error.last_worker.address}), perhaps "
                f"for want of memory; {GOES_ON}"
            ) from None
        except ImportError as error:
            raise StageError(
                f"a worker of {self.address} lacks a module ({error}): install the same version of visagg there"
            ) from None

    def _next(self, waiting: Collection["Future"], seconds: float) -> tuple["Future", Any]:
        """A task that is done, and its result; raises what it raised."""
        began = seen = time.monotonic()
        while True:
            for future in _done(waiting):
                if future.status == "error":
                    return future, future.result()
                with contextlib.suppress(TimeoutError):  # its worker is gone with the result: another does it again
                    return future, future.result(timeout=SECONDS_TO_CONNECT)
            now = time.monotonic()
            seen = now if self._has_workers() else seen
            if now - seen > SECONDS_WITHOUT_WORKERS:
                raise StageError(
                    f"the dask scheduler at {self.address} is lost, or has had no workers for {now - seen:.0f} s: look "
                    f"why they ended (killed for want of memory, say) and start them again; {GOES_ON}"
                )
            if now - began > seconds:
                raise too_long(seconds)

    def _has_workers(self) -> bool:
        try:
            return bool(self.client.scheduler_info(n_workers=-1)["workers"])
        except OSError:  # it is lost, or too busy to answer
            return False


def too_long(seconds: float) -> StageError:
    """What is said of a worker that is given up."""
    return StageError(f"a part took longer than {seconds:.0f} s: look at the workers; {GOES_ON}")


def _done(waiting: Collection["Future"]) -> list["Future"]:
    """Tasks that are done, after a while at most."""
    from distributed import wait

    try:
        return list(wait(list(waiting), timeout=SECONDS_A_LOOK, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


@contextlib.contextmanager
def open_cluster(address: str) -> Iterator[Cluster]:
    """Connects to the scheduler at an address.

    Raises:
        SettingsError: when dask is not installed.
        StageError: when no scheduler answers, or it has no workers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise SettingsError("dask is not installed: pip install 'visagg[dask]'") from None
    for name in ("distributed", "distributed.client", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # pages, when a scheduler is lost: one line says it
    try:
        client = Client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, TimeoutError, ValueError) as error:
        raise StageError(f"no dask scheduler answers at {address} ({type(error).__name__})") from None
    with client:
        slots = sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
        if not slots:
            raise StageError(f"the dask scheduler at {address} has no workers: start dask worker {address}")
        yield Cluster(client, address, slots)
