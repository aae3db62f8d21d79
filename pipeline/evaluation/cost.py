"""The stage: what heads cost on this machine: parameters, and milliseconds a decision."""

import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.catalogue.labelled_sets import read_labels
from pipeline.core import handover
from pipeline.core.lock import hold
from pipeline.core.machine import processor
from pipeline.embeddings.store import Embeddings
from pipeline.export.folding import fold
from pipeline.heads.classifier import build_head
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

ROUNDS = 60  # of all heads, interleaved, so that the machine's moods fall on every head alike
WARM_UP = 10


def measure_heads(project: Project, backbone: str, settings: "Settings") -> str:
    """Writes what a decision costs, of each compared head as it is trained and folded: parameters, milliseconds.

    Times are of one thread and one set of as many images as a set has at most.

    Returns:
        The cheapest and the dearest head, and where the costs are, for people.

    Raises:
        StoreError, StageError: when the store or the labels are missing or damaged.
    """
    with hold(project.cost(backbone)):
        store = Embeddings(project.store(backbone))
        classes, images = len(read_labels(project.labels)), settings.sets.max_images
        heads = {name: build_head(spec, store.dim, classes).eval() for name, spec in settings.compared().items()}
        folded = {name: fold(head) for name, head in heads.items()}
        timed = {**heads, **{f"{name} folded": head for name, head in folded.items()}}
        times = _milliseconds(timed, torch.randn(1, images, store.dim))
        content = {
            "dim": store.dim,
            "classes": classes,
            "images": images,
            "backbone_parameters": store.parameters,
            "machine": {"processor": processor(), "threads": 1, "torch": torch.__version__},
            "heads": {
                name: {
                    "parameters": heads[name].parameter_count(),
                    "milliseconds": times[name],
                    "folded_parameters": folded[name].parameter_count(),
                    "folded_milliseconds": times[f"{name} folded"],
                }
                for name in heads
            },
        }
        handover.write_record(project.cost(backbone), content)
    ordered = sorted(heads, key=lambda name: times[name])
    costs = " to ".join(f"{times[name]:.2f} ms ({name})" for name in dict.fromkeys((ordered[0], ordered[-1])))
    return f"cost {backbone}: a decision takes {costs}, on this machine: {project.cost(backbone)}"


def _milliseconds(heads: Mapping[str, nn.Module], x: Tensor) -> dict[str, float]:
    """Median time of one decision of each head, by name; x float32 [1, s, d]."""
    torch.set_num_threads(1)
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    times: dict[str, list[float]] = {name: [] for name in heads}
    with torch.inference_mode():
        for _ in range(WARM_UP + ROUNDS):
            for name, head in heads.items():
                start = time.perf_counter()
                head(x, mask)
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: round(statistics.median(rounds[WARM_UP:]), 4) for name, rounds in times.items()}
