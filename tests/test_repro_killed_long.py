"""`dvc repro` killed at moments spread over its stages, and run again; by hand:

    pytest -n 0 -m long tests/test_repro_killed_long.py -s

VISAGG_KILLS (default 50) says how many kills. The counts that it prints belong in reports/evidence.md.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.program import start_dvc
from tests.support.settings import change_settings
from tests.support.shop import delete, leftovers
from tests.support.world import contents

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("VISAGG_KILLS", "50"))
WAYS = [(how, number) for number in (signal.SIGKILL, signal.SIGTERM) for how in ("dvc alone", "its group")]
SMALL = {
    "demo.items": 60,
    "demo.users": 100,
    "sets.least_items": 5,
    "compare.backbones": ["lite0"],
    "compare.heads": ["average"],
    "ablation.heads": ["average"],
    "train.seeds": [0],
    "train.learning_rates": [1e-2],
    "train.cycles": [1],
    "evaluate.resamples": 100,
    "embed.engine": "torch",
    "swap": {},
}
JSON = "labels.json", "description.json"
HELD = "is being written by"  # an orphan of a killed dvc goes on until it is done
SECONDS = 120  # for an orphan to end


def start(project: Path) -> subprocess.Popen:
    """dvc repro, in a group of processes of its own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PATH": path},
        start_new_session=True,
    )


def members(group: int) -> list[int]:
    """Processes of a group that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def results(project: Path) -> dict[str, bytes]:
    """What must be the same after each: all outputs but what the machine measured, and pages that show it."""
    found = {
        f"{top}/{path}": data for top in ("data", "cache", "reports") for path, data in contents(project / top).items()
    }
    return {path: data for path, data in found.items() if not _measured(path)}


def _measured(path: str) -> bool:
    return path.startswith(("cache/cost/", "reports/times/")) or path == "reports/index.html" or path.endswith(".lock")


def clear(project: Path) -> None:
    """Makes a project as if nothing had run; also for DVC."""
    for name in (
        "cache",
        "data/catalogue",
        "data/sets.parquet",
        "data/image_labels.parquet",
        "data/labels.json",
        "data/description.json",
        "reports",
    ):
        delete(project / name)
    for name in ("dvc.lock", ".dvc/cache", ".dvc/tmp"):
        delete(project / name)


def mended(project: Path, counts: Counter, group: int) -> None:
    """Runs it again until it is done: once more where an orphan held an output, or DVC had cut its own dvc.lock.

    DVC writes dvc.lock in place: killed at that moment it cannot read it any more, says so in a line, and goes on once
    the file is gone.
    """
    for last in (False, True):
        again = start(project)
        said = again.communicate()[0]
        if again.returncode == 0:
            return
        if not last and "dvc.lock' validation failed" in said:
            counts["reruns that needed dvc.lock removed, which DVC had cut"] += 1
            delete(project / "dvc.lock")
            continue
        assert not last and HELD in said and "Traceback" not in said, said[-3000:]
        counts["reruns that were told who holds an output"] += 1
        end = time.monotonic() + SECONDS
        while members(group) and time.monotonic() < end:
            time.sleep(0.1)


def test_a_killed_repro_is_mended_by_a_plain_one(copied_project):
    start_dvc(copied_project)
    change_settings(copied_project / "pipeline/params.yaml", SMALL)
    clear(copied_project)
    began = time.monotonic()
    first = start(copied_project)
    said = first.communicate()[0]
    assert first.returncode == 0, said[-3000:]
    whole, seconds = results(copied_project), time.monotonic() - began
    print(f"\nundisturbed: {seconds:.0f} s, {len(whole)} files")
    generator, counts = random.Random(0), Counter()
    for number in range(KILLS):
        how, name = WAYS[number % len(WAYS)]
        clear(copied_project)
        running = start(copied_project)
        time.sleep(seconds * (number + generator.random()) / KILLS * 0.95)
        if how == "dvc alone":
            running.send_signal(name)
        else:
            os.killpg(running.pid, name)
        stages = [line.split("'")[1] for line in _said(running, name) if line.startswith("Running stage")]
        orphans = members(running.pid)
        counts[f"{how}, {signal.Signals(name).name}, {'an orphan' if orphans else 'no orphan'}"] += 1
        place = stages[-1].split("@")[0] if stages else "dvc itself"
        counts[f"in {place}"] += 1
        print(f"{number + 1}: {how}, {signal.Signals(name).name}, in {place}, orphans: {orphans}", flush=True)
        mended(copied_project, counts, running.pid)
        now = results(copied_project)
        wrong = sorted(path for path in whole.keys() | now.keys() if now.get(path) != whole.get(path))
        assert not wrong, (number, how, name, stages[-1:], wrong)
        assert not leftovers(copied_project), (number, how, name)
        for pid in members(running.pid):
            os.kill(pid, signal.SIGKILL)
    for what, count in sorted(counts.items()):
        print(f"{what}: {count}")


def _said(running: subprocess.Popen, name: int) -> list[str]:
    """What dvc said before it ended; an orphan has the pipe still, so the end of it is not waited for."""
    running.wait()
    os.set_blocking(running.stdout.fileno(), False)
    try:
        return (os.read(running.stdout.fileno(), 1 << 20) or b"").decode(errors="replace").splitlines()
    except BlockingIOError:
        return []
