"""A dask cluster whose machines have a network each, where namespaces may be made; else a process and a folder each.

The machines hang on a bridge in a namespace of its own, so that the network of the machine below is left as it is. All
see the same files. Backbones have two layers, and as many numbers as a real one gives.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.embed.parts import parts_of
from pipeline.embeddings.store import DONE, Embeddings
from tests.support.settings import ROOT

DIM = 1024
PORT = 8786
SECONDS_TO_START = 900.0
PROGRAM = f"""
from pipeline.cli.main import main
from tests.support.extraction import with_tiny_backbones
with with_tiny_backbones({DIM}):
    main()
"""
VISAGG = [sys.executable, "-c", PROGRAM]
SCHEDULER = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--no-show"]
WORKER = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-dashboard", "--no-nanny", "--nthreads", "1"]


@dataclass
class Running:
    """A process of a machine, and what it took.

    Attributes:
        process: the process.
        said: the file of its standard error.
        seconds: wall seconds from its start to the last look at it.
        cpu: CPU seconds.
        peak: MiB of memory at most.
    """

    process: subprocess.Popen
    said: Path
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    cpu: float = 0.0
    peak: int = 0

    def look(self) -> bool:
        """Whether it still runs; what it took so far is noted."""
        with suppress(OSError, StopIteration, IndexError):  # it ended just now
            folder = Path(f"/proc/{self.process.pid}")
            ticks = (folder / "stat").read_text().rpartition(")")[2].split()
            self.cpu = max(self.cpu, (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"))
            lines = (folder / "status").read_text().splitlines()
            self.peak = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
        if self.process.poll() is None:
            self.seconds = time.monotonic() - self.started
        return self.process.returncode is None

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s, {self.cpu:.1f} CPU s, {self.peak} MiB"

    def kill(self) -> None:
        """Kills it at once, if it runs."""
        self.look()
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Machine:
    """Where processes run.

    Attributes:
        folder: its working folder.
        address: of its network.
        prefix: of a command that is to run there.
    """

    folder: Path
    address: str
    prefix: tuple[str, ...]

    def start(self, command: list[str], folder: Path | None = None) -> Running:
        """Starts a command in the machine's folder, or in another one."""
        said = self.folder / f"said-{time.monotonic_ns()}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with said.open("w") as file:
            words = {"cwd": folder or self.folder, "stderr": file, "stdout": subprocess.DEVNULL, "env": environment}
            return Running(subprocess.Popen([*self.prefix, *command], **words), said)


@contextmanager
def machines(folder: Path, count: int) -> Iterator[list[Machine]]:
    """Some machines; their folders lie in a folder."""
    folders = [folder / f"machine{number}" for number in range(count)]
    for path in folders:
        path.mkdir()
    tag, made = f"visagg{os.getpid()}", []
    try:
        yield _networked(folders, tag, made)
    except _NoNamespaces:
        yield [Machine(path, "127.0.0.1", ()) for path in folders]
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


class _NoNamespaces(Exception):
    pass


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise _NoNamespaces from error


def _networked(folders: list[Path], tag: str, made: list[str]) -> list[Machine]:
    """Machines with a network namespace each, whose names go to `made`."""
    _add(switch := f"{tag}-switch", made)
    _ip("-n", switch, "link", "add", "bridge0", "type", "bridge")
    _ip("-n", switch, "link", "set", "bridge0", "up")
    found = []
    for number, folder in enumerate(folders, start=1):
        _add(name := f"{tag}-{number}", made)
        _ip("link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", f"port{number}", "netns", switch)
        _ip("-n", switch, "link", "set", f"port{number}", "master", "bridge0", "up")
        _ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", name, "link", "set", device, "up")
        found.append(Machine(folder, f"10.77.0.{number}", ("ip", "netns", "exec", name)))
    return found


def _add(name: str, made: list[str]) -> None:
    _ip("netns", "add", name)
    made.append(name)


@dataclass(frozen=True)
class Cluster:
    """A scheduler and its workers, as they run.

    Attributes:
        address: the scheduler's.
        scheduler: the scheduler.
        workers: the workers.
    """

    address: str
    scheduler: Running
    workers: list[Running]

    def look(self) -> None:
        """Notes what they took so far."""
        for running in (self.scheduler, *self.workers):
            running.look()

    def __str__(self) -> str:
        return "\n".join([f"  scheduler: {self.scheduler}", *(f"  worker: {worker}" for worker in self.workers)])


@contextmanager
def cluster(scheduler: Machine, others: list[Machine]) -> Iterator[Cluster]:
    """A scheduler on one machine, and a worker of one thread on each of others; they are killed at the end."""
    port = PORT if scheduler.prefix else _free_port()
    address = f"tcp://{scheduler.address}:{port}"
    running = [scheduler.start([*SCHEDULER, "--host", scheduler.address, "--port", str(port)])]
    words = ["--memory-limit", "0", "--preload", "tests.support.workers", "--local-directory", "."]
    try:
        running += [other.start([*WORKER, address, "--host", other.address, *words]) for other in others]
        _wait(running)
        yield Cluster(address, running[0], running[1:])
    finally:
        for process in running:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(running: list[Running]) -> None:
    """Waits until each worker has said that it is registered."""
    end = time.monotonic() + SECONDS_TO_START
    for process in running[1:]:
        while "Registered to" not in (said := process.said.read_text()):
            assert process.look() and time.monotonic() < end, said
            time.sleep(0.1)


def rows_done(store: Path) -> int:
    """Rows that a store and its parts call done, each counted once."""
    done: set[bytes] = set()
    for path in (store, *parts_of(store)):
        with suppress(Exception):  # it is not there, or goes just now
            part = Embeddings(path)
            done |= {digest.tobytes() for digest in part.digests[part.status == DONE]}
    return len(done)
