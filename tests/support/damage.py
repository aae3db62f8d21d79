"""Damaged HDF5 files, made by seed, and a process that tries to read them: it may crash, and the test must see it.

A process says "case N" before it tries a file and "fine N" or "fault N ..." after it. It may take a limited time and a
gibibyte beyond what it holds when it starts; a file that makes it go beyond is a fault of whoever reads it.
"""

import faulthandler
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipeline.core.errors import PipelineError
from tests.support.settings import ROOT

SECONDS = 20
MEMORY = 1 << 30
INTERESTING = np.array([0, 1, 2, 4, 8, 16, 0x7F, 0x80, 0xFE, 0xFF], np.uint8)


def mutated(whole: bytes, structure: np.ndarray, rows: np.ndarray, *, seed: int) -> bytes:
    """A file cut short, or with some bytes of its structure changed, or of what lies in it.

    Args:
        whole: the file's content.
        structure: positions of bytes that say what is where, integer [m].
        rows: positions of bytes of rows, integer [m].
        seed: of what is done.
    """
    generator = np.random.default_rng(seed)
    kind = generator.integers(8)
    if kind == 0:
        return whole[: generator.integers(len(whole))]
    content = np.frombuffer(whole, np.uint8).copy()
    positions = structure if kind > 2 else rows
    chosen = generator.choice(positions, min(len(positions), 1 << generator.integers(4)), replace=False)
    if kind < 4:
        content[chosen] ^= np.uint8(1) << generator.integers(0, 8, len(chosen), np.uint8)
    elif kind < 6:
        content[chosen] = generator.choice(INTERESTING, len(chosen))
    else:  # a number of eight bytes, huge or odd
        start = int(generator.choice(positions)) & ~7
        number = generator.choice(np.array([0, 1, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1], np.uint64))
        content[start : start + 8] = np.frombuffer(number.tobytes(), np.uint8)[: len(content) - start]
    return content.tobytes()


def attempt_all(folder: Path, cases: range, content: Callable[[int], bytes], attempt: Callable[[Path], None]) -> None:
    """Tries the files of some seeds in this process, which may not survive it; says how each ended."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    path = folder / "case.h5"
    for case in cases:
        print("case", case, flush=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content(case))
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            attempt(path)
            said = "fine"
        except PipelineError as error:
            said = f"refused {error}" if "\n" not in str(error) else f"fault {error!r}"
        except BaseException as error:
            said = f"fault {type(error).__name__} {error}".replace("\n", " ")
        faulthandler.cancel_dump_traceback_later()
        print(said.partition(" ")[0], case, said.partition(" ")[2], flush=True)


def outcomes(module: str, folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """How each seed's file ended: (seed, "fine", "refused ..." or "fault ..."); a process that dies is begun again.

    Args:
        module: what has the functions `content(folder, seed)` and `attempt(path)`.
        folder: where files may be made.
        cases: the seeds.
    """
    first = cases.start
    while first < cases.stop:
        code = (
            f"from functools import partial; from pathlib import Path; import {module} as m; "
            "from tests.support.damage import attempt_all; "
            f"f = Path({str(folder)!r}); attempt_all(f, range({first}, {cases.stop}), partial(m.content, f), m.attempt)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
        yield from ((int(number), " ".join([word, *rest])) for word, number, *rest in lines if word != "case")
        if done.returncode == 0:
            return
        assert lines, done.stderr
        first = int(lines[-1][1])
        yield first, f"fault the process ended with {done.returncode}: {done.stderr.strip()[:600]}"
        first += 1
