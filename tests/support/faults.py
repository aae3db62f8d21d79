"""Stages killed, or failed, at any call that writes; and what must hold afterwards.

strace takes hold of a stage's process before it begins. It counts calls for each thread by itself; so a point is the
N-th call of a name in a thread, as an undisturbed run has it.
"""

import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support.shop import Ended, Running, Shop, copy, leftovers, outputs, run, wait_for
from tests.support.stages import READ_BY_REPORT, STAGES, Stage

# Calls that change what is on the disk, or make sure of it.
CALLS = (
    *("openat", "write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "fallocate"),
    *("rename", "renameat2", "unlink", "unlinkat", "mkdir", "rmdir", "linkat", "symlink", "flock"),
)
KILLS = ("SIGKILL", "SIGTERM", "SIGINT")
ERRORS = ("EIO", "ENOSPC")
OPENED_TO_WRITE = re.compile(r"O_WRONLY|O_RDWR")
RELATIVE = re.compile(r'"(data|cache|reports)[/"]')
LINE = re.compile(r"^(\d+) +([a-z0-9_]+)\((.*)$")


@dataclass(frozen=True)
class Point:
    """A call that a stage makes.

    Attributes:
        call: its name.
        path: of the file or folder, as the call has it; empty where it has another name in each run.
        number: how many such calls its thread has made with it: on that path, or on all.
        text: its arguments, for people.
    """

    call: str
    path: str
    number: int
    text: str


def traced(folder: Path, words: tuple[str, ...], point: Point | None = None, what: str = "") -> tuple[Ended, str]:
    """Runs a command under strace, disturbed at a point; returns how it ended, and what strace saw."""
    running, log = Running.of(folder, *words), folder.with_name(f"{folder.name}.strace")
    command = ["strace", "-f", "-y", "-qq", "-s", "0", "-o", str(log), "-p", str(running.process.pid)]
    command += ["-e", f"trace={point.call if point else ','.join(CALLS)}"]
    if point:
        command += [
            "-e",
            f"inject={point.call}:{what}:when={point.number}",
            *(("-P", point.path) if point.path else ()),
        ]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    status = Path(f"/proc/{running.process.pid}/status")
    attached = wait_for(lambda: "TracerPid:\t0\n" not in status.read_text() or tracer.poll() is not None)
    assert attached and tracer.poll() is None, "strace does not attach"
    ended = running.go().end()
    tracer.communicate(timeout=20)
    return ended, log.read_text(errors="replace") if log.exists() else ""


def points(shop: Shop, stage: Stage) -> list[Point]:
    """Every call of an undisturbed run that touches the project's folder, once a name, path and number.

    A second run tells which paths are the same in each.
    """
    first, second = (_points(shop.start(stage, "present"), stage) for _ in range(2))
    stable = [point for key, point in first[0].items() if key in second[0]]
    again = {(point.call, point.text) for point in stable}
    return stable + [point for point in first[1].values() if (point.call, point.text) not in again]


def _points(folder: Path, stage: Stage) -> tuple[dict[tuple, Point], dict[tuple, Point]]:
    """Points by their paths; and by their numbers alone, where no other thread's call of that number is of no file."""
    ended, log = traced(folder, stage.words)
    assert ended.status == 0, ended
    counts: Counter[tuple[str, ...]] = Counter()
    pathed: dict[tuple, Point] = {}
    bare: dict[tuple, Point] = {}
    foreign = set()
    for line in log.splitlines():
        if not (match := LINE.match(line)) or "resumed>" in line:
            continue
        thread, call, text = match.groups()
        names = paths(text)
        counts.update({(thread, call), *((thread, call, name) for name in names)})
        number = counts[thread, call]
        if not _touches(folder, call, text):
            foreign.add((call, number))
            continue
        key = (call, names[0], counts[thread, call, names[0]])
        pathed.setdefault(key, Point(*key, text[:200]))
        bare.setdefault((call, number), Point(call, "", number, text[:200]))
    return pathed, {key: point for key, point in bare.items() if key not in foreign}


def paths(text: str) -> list[str]:
    """Files and folders in a call's arguments: those of its handles, then those it names.

    >>> paths('AT_FDCWD</shop>, "data/sets.parquet", O_RDWR) = 3</shop/data/sets.parquet>')
    ['data/sets.parquet']
    >>> paths('3</shop/cache>, "a", 0) = 0')
    ['/shop/cache', 'a']
    """
    arguments = text.partition(") ")[0]
    return re.findall(r"\b\d+<(/[^>]*)>", arguments) + re.findall(r'"([^"]+)"', arguments)


def _touches(folder: Path, call: str, text: str) -> bool:
    if not paths(text) or (call == "openat" and not OPENED_TO_WRITE.search(text)):
        return False
    return f"{folder}/" in text or RELATIVE.search(text) is not None


@dataclass(frozen=True)
class Result:
    """What a try showed: `refused` counts readers that refused what lay in between; `problems`, what must not be."""

    happened: bool
    refused: int
    problems: tuple[str, ...]


def attempt(shop: Shop, stage: Stage, *, state: str, point: Point, way: str) -> Result:
    """Disturbs a stage once, looks at what lies there, and runs it again."""
    folder = shop.start(stage, state)
    what = f"signal={way}" if way in KILLS else f"error={way}"
    ended, log = traced(folder, stage.words, point, what)
    if way in KILLS:  # several threads can have an N-th call
        happened = f"+++ killed by {way}" in log or log.count(f"--- {way}") == 1
    else:
        injected = [_touches(folder, point.call, line) for line in log.splitlines() if "(INJECTED)" in line]
        happened = bool(injected) and all(injected)
    problems = [ended.fault] if ended.fault else []
    if ended.status == 0 and outputs(folder, stage) != shop.new[stage.name]:
        problems.append("wrong: status 0 and other outputs")
    refused, more = between(shop, stage, folder, state)
    problems += more + rerun(shop, stage, folder)
    return Result(happened, refused, tuple(problems))


def between(shop: Shop, stage: Stage, folder: Path, state: str) -> tuple[int, list[str]]:
    """What a disturbed stage left: whether something is lost, or read although it is neither old nor new."""
    now, new = outputs(folder, stage), shop.new[stage.name]
    old = shop.old[stage.name] if state == "present" else dict.fromkeys(stage.units)
    problems = [f"lost: {path} is gone" for path in stage.units if now[path] is None and old[path] is not None]
    odd = [path for path in stage.units if now[path] not in (None, old[path], new[path])]
    if not stage.in_place:
        problems += [f"lost: {path} is half there" for path in odd if old[path] is not None]
    if now in (old, new) or stage.measures:
        return 0, problems
    refused, accepted = 0, []
    names = (*stage.readers, "report") if stage.name in READ_BY_REPORT else stage.readers
    readers = [STAGES[name] for name in names if name in shop.only]
    for reader in readers:
        place = copy(shop.root / f"{reader.name}.absent", shop.root / "reading")
        read, ended = shop.read(place, folder, stage, reader)
        if ended.fault:
            problems.append(f"{reader.name} reads it: {ended.fault}")
        elif read is None:
            refused += 1
        elif read not in (shop.reading(stage, reader, "old"), shop.reading(stage, reader, "new")):
            accepted.append(reader.name)
    # What is missing beside what is there is told as missing; old beside new would be told as one.
    mixed = any(now[path] == old[path] is not None for path in now) and any(now[path] == new[path] for path in now)
    if odd or mixed:
        kind = f"accepted: half of {odd}" if odd else "mixed: old beside new"
        problems += [f"{kind}, by {name}" for name in accepted]
    return refused, problems


def rerun(shop: Shop, stage: Stage, folder: Path) -> list[str]:
    """Runs a stage once more; what is wrong then."""
    ended = run(folder, *stage.words)
    problems = [f"rerun: {ended.fault}"] if ended.fault else []
    if ended.status:
        problems.append(f"rerun: status {ended.status}: {ended.said.strip()[-200:]}")
    else:
        wrong = [path for path, now in outputs(folder, stage).items() if now != shop.new[stage.name][path]]
        problems += [f"rerun: wrong {path}" for path in wrong]
    return problems + [f"left: {path}" for path in leftovers(folder)]


def at_once(shop: Shop, stage: Stage, *, state: str, delay: float, other: bool = False) -> Result:
    """Runs a stage twice at once, the second a little later; with other settings, or the same."""
    folder = shop.start(stage, state)
    first = Running.of(folder, *stage.words, name="first")
    second = Running.of(folder, *stage.words, name="second", params=f"{stage.name}.yaml" if other else "params.yaml")
    first.go()
    time.sleep(delay)
    second.go()
    ends, problems = [first.end(), second.end()], []
    for ended in ends:
        if ended.fault or ended.status < 0:
            problems.append(ended.fault or f"status {ended.status}")
        if ended.status > 0 and "is being written by" not in ended.said:
            problems.append(f"refused without a holder: {ended.said.strip()[-150:]}")
    if all(ended.status for ended in ends):
        problems.append("neither finished")
    now, new, old = outputs(folder, stage), shop.new[stage.name], shop.old[stage.name]
    if now != new and not (other and now == old):
        problems.append("wrong: outputs are neither's")
    refused = sum(ended.status > 0 for ended in ends)
    return Result(True, refused, tuple(problems + rerun(shop, stage, folder)))


def strace() -> bool:
    """Whether strace is there and may trace."""
    try:
        return subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
