"""A small shop in which every stage can be disturbed.

Stages run in processes forked from a server that has everything loaded, so that one takes a fraction of a second; the
backbones have two layers.
"""

import math
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pipeline.cli.main import main
from pipeline.embed.backbones.backbone import Backbone
from pipeline.embed.engines import choose
from tests.support import extraction
from tests.support.backbones import tiny
from tests.support.settings import write_settings
from tests.support.stages import SMALL, STAGES, Stage
from tests.support.world import contents

LOADED = (  # what the stages import when they run
    "pipeline.ingest.stage",
    "pipeline.ingest.readers",
    "pipeline.ingest.demo.shop",
    "pipeline.sets.stage",
    "pipeline.heads.declare",
    "pipeline.embed.stage",
    "pipeline.embed.finetune.run",
    "pipeline.embed.finetune.stage",
    "pipeline.training.stage",
    "pipeline.evaluation.evaluate",
    "pipeline.evaluation.popularity",
    "pipeline.evaluation.ablation",
    "pipeline.evaluation.cost",
    "pipeline.swap.stage",
    "pipeline.swap.merging",
    "pipeline.report.gallery",
    "pipeline.report.stage",
)
NOISE = re.compile(r"^\s|Warning|Error|Exception|panicked|HDF5-DIAG")  # libraries talk so
LIMIT = 60  # seconds after which a stage hangs


def _open(model: str, *_: object) -> Backbone:
    """In the place of `open_backbone`: two layers, other weights for each model."""
    with extraction.DRAWING:
        return tiny(seed=int(model.endswith("1")))


def _run(folder: Path, words: tuple[str, ...], said: Path, start: Connection) -> None:
    """Runs the program; what it says on standard error goes to a file."""
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    sys.argv = ["visagg", *words]
    start.send("ready")
    start.recv()
    with ExitStack() as stack:
        for module in extraction.OPENERS:
            stack.enter_context(patch(f"pipeline.embed.{module}.open_backbone", _open))
        stack.enter_context(patch("pipeline.swap.stage.LEAST_KEPT", -math.inf))  # two layers know next to nothing
        main()


@dataclass(frozen=True)
class Running:
    """A command that has a process, and begins when it is let go.

    Attributes:
        process: its own.
        said: the file of its standard error.
        start: by which it is let go.
    """

    process: BaseProcess
    said: Path
    start: Connection

    @classmethod
    def of(cls, folder: Path, *words: str, params: str = "params.yaml", name: str = "said") -> "Running":
        """A process for a command in a project's folder."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([extraction.__name__, choose.__name__, __name__, *LOADED])
        inner, outer = context.Pipe()
        said = folder.with_name(f"{folder.name}.{name}")
        process = context.Process(target=_run, args=(folder, ("--params", params, *words), said, inner))
        process.start()
        inner.close()
        outer.recv()
        return cls(process, said, outer)

    def go(self) -> "Running":
        """Lets it begin."""
        self.start.send(None)
        return self

    def end(self) -> "Ended":
        """Waits for it."""
        self.process.join(LIMIT)
        hung = self.process.is_alive()
        if hung:
            self.process.kill()
            self.process.join()
        self.start.close()
        said = self.said.read_text(errors="replace") if self.said.exists() else ""
        status = self.process.exitcode
        return Ended(999 if hung else status if status is not None else 998, said)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative: the signal; 999: it hung), and its standard error."""

    status: int
    said: str

    @property
    def fault(self) -> str:
        """What is wrong with how it ended: a traceback, or not one line; empty where nothing is."""
        if "Traceback" in self.said:
            lines = self.said.strip().splitlines()
            places = [line.strip() for line in lines if line.startswith('  File "')]
            return f"traceback: {lines[-1][:150]} at {' < '.join(_short(place) for place in places[:-16:-1])}"
        if self.status == 999:
            return "it hangs"
        lines = [line for line in self.said.splitlines() if line.startswith("visagg: ")]
        others = [line for line in self.said.splitlines() if line.strip() and line not in lines]
        if noise := [line for line in others if NOISE.search(line)]:  # the other lines are of progress
            return f"it says {noise[0][:150]!r}"
        if self.status > 0 and len(lines) != 1:
            return f"status {self.status} and {len(lines)} lines"
        return "" if self.status > 0 or not lines else f"status {self.status}, and yet {lines[0][:150]!r}"


def _short(place: str) -> str:
    """Where a line of a traceback points: file, line and function."""
    path, line, function = re.fullmatch(r'File "(.*)", line (\d+), in (.*)', place).groups()
    return f"{Path(path).name}:{line} {function}"


def run(folder: Path, *words: str, params: str = "params.yaml") -> Ended:
    """Runs a command undisturbed."""
    return Running.of(folder, *words, params=params).go().end()


def unit(folder: Path, path: str) -> dict[str, bytes] | None:
    """What an output holds, by path in it; None where there is none."""
    place = folder / path
    if place.is_dir():
        return contents(place)
    return {"": place.read_bytes()} if place.exists() else None


def outputs(folder: Path, stage: Stage) -> dict[str, dict[str, bytes] | None]:
    """What a stage's outputs hold, by their paths."""
    return {path: _alike(unit(folder, path), stage) for path in stage.units}


def _alike(content: dict[str, bytes] | None, stage: Stage) -> dict[str, bytes] | None:
    """The same with the digits gone where they are a measurement."""
    if content is None or not stage.measures:
        return content
    unsealed = {path: re.sub(rb'"seal": "[0-9a-f]+"', b"", data) for path, data in content.items()}
    return {path: data.translate(None, b"0123456789.e-+") for path, data in unsealed.items()}


def leftovers(folder: Path) -> list[str]:
    """Files and folders that someone wrote aside and left."""
    hidden = (path for place in ("data", "cache", "reports") for path in (folder / place).rglob(".*"))
    left = [path for path in hidden if not path.name.endswith(".lock") and path.name != ".gitignore"]  # DVC's
    left += (folder / "cache/finetuning").glob("*")
    return sorted(str(path.relative_to(folder)) for path in left)


def copy(source: Path, to: Path) -> Path:
    """A copy of a project's folder."""
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(source, to, symlinks=True))


def delete(path: Path) -> None:
    """Removes a file or a folder if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass
class Shop:
    """A folder of project folders: before each stage, with and without older outputs.

    Attributes:
        root: the folder.
        only: the stages that are needed; each needs those before it that it reads.
        new: what each stage writes when nothing happens.
        old: the same with other settings.
    """

    root: Path
    only: tuple[str, ...] = tuple(STAGES)
    new: dict[str, dict[str, dict[str, bytes] | None]] = field(default_factory=dict)
    old: dict[str, dict[str, dict[str, bytes] | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        current = self.root / "current"
        current.mkdir(parents=True)
        write_settings(current / "params.yaml", SMALL)
        for stage in STAGES.values():
            write_settings(current / f"{stage.name}.yaml", {**SMALL, **stage.other})
        for stage in (STAGES[name] for name in self.only):
            self._add(current, stage)
        self.whole = current

    def _add(self, current: Path, stage: Stage) -> None:
        absent = copy(current, self.root / f"{stage.name}.absent")
        for path in stage.units:
            delete(absent / path)
        other = copy(current if stage.before else absent, self.root / "other")
        for words in (*stage.before, stage.words):
            self._must(run(other, *words, params=f"{stage.name}.yaml"), words)
        present = copy(absent, self.root / f"{stage.name}.present")
        for path in stage.units:
            (present / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(other / path, present / path)
        self.old[stage.name] = outputs(present, stage)
        copy(absent, current)
        more = stage.more if set(self.only) == set(STAGES) else ()  # what only later stages need
        for words in (stage.words, *more):
            self._must(run(current, *words), words)
        self.new[stage.name] = outputs(current, stage)
        different = self.new[stage.name] != self.old[stage.name]
        assert different and None not in self.new[stage.name].values(), stage.name

    @staticmethod
    def _must(ended: Ended, words: tuple[str, ...]) -> None:
        assert ended.status == 0 and not ended.fault, (words, ended)

    def start(self, stage: Stage, state: str, name: str = "try") -> Path:
        """A fresh copy of the project before a stage; state: absent or present, as its older outputs are."""
        return copy(self.root / f"{stage.name}.{state}", self.root / name)

    @cached_property
    def _read(self) -> dict:
        return {}

    def reading(self, stage: Stage, reader: Stage, state: str) -> Any:
        """What a reader makes of a stage's outputs when they are all old, or all new: its own outputs, or None."""
        key = (stage.name, reader.name, state)
        if key not in self._read:
            folder = copy(self.root / f"{reader.name}.absent", self.root / "reading")
            source = self.root / f"{stage.name}.present" if state == "old" else self.whole
            self._read[key] = self.read(folder, source, stage, reader)[0]
        return self._read[key]

    def read(self, folder: Path, source: Path, stage: Stage, reader: Stage) -> tuple[Any, Ended]:
        """Runs a reader, in a folder before it, on outputs that lie in another folder."""
        for path in stage.units:
            delete(folder / path)
            if (source / path).is_dir():
                copy(source / path, folder / path)
            elif (source / path).exists():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / path, folder / path)
        ended = run(folder, *reader.words)
        return outputs(folder, reader) if ended.status == 0 else None, ended


def wait_for(condition, seconds: float = 10.0) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
