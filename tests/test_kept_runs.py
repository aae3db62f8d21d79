"""Training that is stopped goes on from the runs that are finished, and ends in the bytes of one that was not."""

import os
import signal
import subprocess
import time

import pytest

from pipeline.evaluation.ablation import ablate
from pipeline.evaluation.references import evaluate_references
from pipeline.training import tuning
from tests.support.program import COMMAND
from tests.support.settings import ROOT, write_settings
from tests.support.world import FAST, World, contents

GRID = {"train.learning_rates": [3e-3, 1e-2], "train.cycles": [2, 4], "train.patience": 8}
LONG = {"train.learning_rates": [1e-3, 1e-2], "train.cycles": [2, 100_00], "train.patience": 10_000}
STAGES = {
    "train": (lambda world: world.train("old", "noisy_or"), "cache/heads/old/noisy_or", 4),
    "ablate": (lambda world: ablate(world.project, world.settings), "cache", 20),
    "references": (lambda world: evaluate_references(world.project, "old", world.settings), "cache/references", 4),
}


def make_world(root, changes=None):
    world = World(root, {**GRID, **(changes or {})})
    world.write_catalogue()
    return world


class Fits:
    """In the place of `fit`: counts runs, and stops the program at one of them."""

    def __init__(self, monkeypatch, stop_at=0):
        self.count, self.stop_at, self._fit = 0, stop_at, tuning.fit
        monkeypatch.setattr(tuning, "fit", self)
        monkeypatch.setattr(tuning.joblib, "cpu_count", lambda: 1)  # so that those before it are finished

    def __call__(self, *args, **options):
        self.count += 1
        if self.count == self.stop_at:
            raise KeyboardInterrupt
        return self._fit(*args, **options)


def stopped(run, world, monkeypatch, at):
    """What a stage says that is stopped at its N-th run, and how many it kept."""
    with monkeypatch.context() as patch:
        Fits(patch, at)
        with pytest.raises(KeyboardInterrupt) as stop:
            run(world)
    return stop.value.args[0]


def kept(world):
    return sorted((world.project.root / "cache/unfinished").rglob("[!.]*/run.json"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_stopped_goes_on_from_its_finished_runs_and_ends_in_the_same_bytes(
    stage, tmp_path, monkeypatch
):
    run, out, at = STAGES[stage]
    whole, parts = make_world(tmp_path / "whole"), make_world(tmp_path / "parts")
    with monkeypatch.context() as patch:
        run(whole)
        fits = Fits(patch)
        run(make_world(tmp_path / "counted"))
    said = stopped(run, parts, monkeypatch, at)
    count = len(kept(parts))
    assert 1 <= count < at
    runs = "1 finished training run is" if count == 1 else f"{count} finished training runs are"
    assert said.startswith(f"{runs} kept in {parts.project.root}/cache/unfinished/{stage}")
    with monkeypatch.context() as patch:
        again = Fits(patch)
        run(parts)
    assert again.count == fits.count - count, "what is finished is not made again"
    assert contents(parts.project.root / out) == contents(whole.project.root / out)
    assert not (parts.project.root / "cache/unfinished").exists()


def rest_after(world, monkeypatch, settings):
    """How many runs are made with some settings."""
    with monkeypatch.context() as patch:
        fits = Fits(patch)
        world.train("old", "noisy_or", settings=settings)
    return fits.count


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"train.learning_rates": [3e-3, 1e-2, 3e-2]}, 3 + 2 + 1 - 2),
        ({"train.batch_size": 32}, 4),
        ({"train.positive_weight": 2.0}, 4),
        ({"train.weight_decay": 0.5}, 4),
        ({"train.patience": 1}, 4),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_run_is_found_again_only_where_it_would_become_the_same(tmp_path, monkeypatch, change, again):
    world = make_world(tmp_path)
    stopped(STAGES["train"][0], world, monkeypatch, 3)
    assert len(kept(world)) == 2 and rest_after(world, monkeypatch, world.changed(change)) == again


def test_a_run_on_other_vectors_or_of_other_code_is_made_again(tmp_path, monkeypatch):
    for name, changed in (("vectors", {"poison": True}), ("code", {})):
        world = make_world(tmp_path / name)
        stopped(STAGES["train"][0], world, monkeypatch, 3)
        other = World(tmp_path / f"{name} changed", GRID, constant=bool(changed))
        (world.project.root / "cache/unfinished").rename(other.project.root / "cache/unfinished")
        with monkeypatch.context() as patch:
            if name == "code":
                patch.setattr("pipeline.training.kept_runs._code", lambda: "other")
            assert rest_after(other, monkeypatch, other.settings) == 4


@pytest.mark.parametrize("name", ["run.json", "state.safetensors"])
def test_a_damaged_run_is_made_again(tmp_path, monkeypatch, name):
    world = make_world(tmp_path)
    stopped(STAGES["train"][0], world, monkeypatch, 3)
    path = kept(world)[0].with_name(name)
    path.write_bytes(path.read_bytes()[:-9] + b"\0" * 9)
    assert rest_after(world, monkeypatch, world.settings) == 3


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_to_its_group_ends_training_in_one_line_that_says_what_is_kept(tmp_path, number, status):
    World(tmp_path, LONG)
    write_settings(tmp_path / "params.yaml", {**FAST, **LONG})
    process = subprocess.Popen(
        [*COMMAND, "--params", "params.yaml", "train", "old", "noisy_or"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    while (
        process.poll() is None
        and len(list((tmp_path / "cache").glob("unfinished/train/old/noisy_or/[!.]*/run.json"))) < 2
    ):
        time.sleep(0.02)
    os.killpg(process.pid, number)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == status and said == "" and "Traceback" not in errors and "terminate" not in errors
    assert errors.strip().splitlines()[-1] == (
        "visagg: stopped; 2 finished training runs are kept in cache/unfinished/train/old/noisy_or, "
        "and it goes on from there: run the same command again"
    )
