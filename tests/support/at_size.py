"""Stage two at the real catalogue's size, or a part or a multiple of it: made-up vectors, sets and labels.

To measure, by hand:
    python -m tests.support.at_size FOLDER --share 0.25 make
    python -m tests.support.at_size FOLDER train noisy_or_dropout
A stage runs in this process, and says its wall and CPU seconds, and the most memory beyond what its imports take.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.catalogue import labelled_sets
from pipeline.catalogue.labelled_sets import IMAGE_LABELS
from pipeline.core import provenance
from pipeline.embeddings.writer import open_for_writing
from pipeline.project import Project
from pipeline.settings.settings import Settings
from tests.support.labelled import write_sets
from tests.support.settings import make_settings

IMAGES, DIM, LABELS, BLOCK = 234_892, 1280, 78, 4096
USERS = {"train": 37_014, "validation": 12_216, "test": 12_473}
PARTS = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}  # of the images
MOST_SHOWN = 8
CHANGES = {
    "backbones": {name: {"model": "made up", "weights": "none"} for name in ("old", "new")},
    "compare.backbones": ["old", "new"],
    "ablation.backbone": "old",
    "swap": {"old": ["new"]},
}


def make(project: Project, share: float) -> None:
    """Two stores of the same images, the second one's vectors a noisy map of the first one's, and sets."""
    rng, count = np.random.default_rng(0), round(IMAGES * share)
    digests = rng.integers(0, 256, (count, 16), np.uint8)
    kind, centres = rng.integers(0, LABELS, count), rng.normal(size=(LABELS, DIM)).astype(np.float32)
    turn = rng.permutation(DIM)
    old, new = (
        open_for_writing(project.store(name), {"dim": DIM, "weights": name}, digests, parameters=1)
        for name in ("old", "new")
    )
    with old as first, new as second:
        for start in range(0, count, BLOCK):
            rows = np.arange(start, min(start + BLOCK, count))
            vectors = 0.3 * centres[kind[rows]] + rng.standard_normal((len(rows), DIM), np.float32)
            first.write(rows, vectors)
            second.write(rows, vectors[:, turn] + 0.3 * rng.standard_normal((len(rows), DIM), np.float32))
    rows = []
    for split, users in USERS.items():
        low, high = (round(part * count) for part in PARTS[split])
        for _ in range(max(1, round(users * share))):
            shown = np.unique(rng.integers(low, high, rng.integers(2, MOST_SHOWN + 1)))
            rows.append((f"u{len(rows):08d}", shown.tolist(), np.unique(kind[shown]).tolist(), split))
    write_sets(
        project,
        frame=pl.DataFrame(rows, schema=labelled_sets.SETS, orient="row"),
        labels=[f"kind {number}" for number in range(LABELS)],
        images_digest=provenance.digest_images(digests),
        image_labels=pl.DataFrame({"image": np.arange(count), "labels": kind[:, None]}, IMAGE_LABELS),
    )


def stage(name: str, project: Project, words: list[str], settings: Settings) -> Callable[[], object]:
    """A stage, its modules imported, ready to be run."""
    from pipeline.evaluation import ablation, conditions, evaluate, references
    from pipeline.swap import stage as swapping
    from pipeline.training import stage as training

    return {
        "train": lambda: [training.train(project, "old", head, settings) for head in words],
        "evaluate": lambda: evaluate.evaluate(project, "old", words, settings),
        "references": lambda: references.evaluate_references(project, "old", settings),
        "ablate": lambda: ablation.ablate(project, settings),
        "conditions": lambda: conditions.compare_under_conditions(project, settings),
        "swap": lambda: swapping.swap(project, [("old", "new")], settings),
    }[name]


def _most() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Makes a project, or runs a stage of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", nargs="+")
    parser.add_argument("--share", type=float, default=1 / 16, help="of the real catalogue's size")
    parser.add_argument("--heads", nargs="*", default=["average", "squeeze_fc", "noisy_or_dropout"], help="compared")
    given = parser.parse_args()
    project = Project(given.folder)
    if given.what == ["make"]:
        make(project, given.share)
        return
    settings = make_settings({**CHANGES, "compare.heads": given.heads})
    run = stage(given.what[0], project, given.what[1:], settings)
    before, start, cpu = _most(), time.monotonic(), time.process_time()
    run()
    print(
        *given.what, f"| {time.monotonic() - start:.1f} s, {time.process_time() - cpu:.1f} CPU s,",
        f"{_most() - before:.0f} MiB beyond {before:.0f}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
