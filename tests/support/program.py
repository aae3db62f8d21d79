"""The program as a user runs it: the command, and DVC."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pipeline.cli.main import main
from tests.support.settings import ROOT

COMMAND = [sys.executable, "-m", "pipeline.cli"]


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs a command of the checkout's program in a folder."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def call(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """As `run`, in this process: for what needs no clean start and no signal."""
    out, err = StringIO(), StringIO()
    heeded = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with chdir(folder), redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["visagg", *words]):
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        finally:
            for number, handler in heeded.items():
                signal.signal(number, handler)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def failed(result: subprocess.CompletedProcess, *words: str) -> str:
    """The one line that a failed command left."""
    assert result.returncode not in (0, None), result.stdout
    lines = [line for line in result.stderr.strip().splitlines() if line.startswith("visagg: ")]
    assert len(lines) == 1 and result.stderr.strip().endswith(lines[0]), result.stderr  # progress may stand before it
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0]
    return lines[0]


def start_dvc(project: Path) -> None:
    """Makes a project folder one of git and DVC."""
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=project, check=True)
    shutil.copytree(ROOT / ".dvc/plots", project / ".dvc/plots", dirs_exist_ok=True)
    subprocess.run([sys.executable, "-m", "dvc", "config", "core.analytics", "false"], cwd=project, check=True)


def repro(project: Path, *targets: str, fails: bool = False) -> list[str]:
    """Runs dvc repro, and returns the stages that it ran, but for `source`, which looks at the raw data each time."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *targets],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
    assert (result.returncode != 0) == fails, result.stdout[-3000:] + result.stderr[-3000:]
    ran = [line.split("'")[1] for line in result.stdout.splitlines() if line.startswith("Running stage")]
    return [stage for stage in ran if stage != "source"]


def dvc(project: Path, *words: str) -> str:
    """What a command of DVC's says."""
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def evaluate(folder: Path, code: str) -> Any:
    """What code prints as JSON that runs in a folder, with the package that is there."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
