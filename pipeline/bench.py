"""Measurements of time and size."""

import platform
import statistics
import time
from pathlib import Path

import torch

from pipeline import catalogue, files
from pipeline.embeddings import Embeddings
from pipeline.heads import HeadSpec, build_head

ROUNDS = 60  # of all heads, interleaved, so that the machine's moods fall on every head alike
WARM_UP = 10


def measure_heads(specs: dict[str, HeadSpec], store_path: Path, labels_path: Path, images: int, path: Path) -> None:
    """Writes what a decision costs: parameters, megabytes as float32, milliseconds for one set on one thread.

    Args:
        specs: heads by alias.
        store_path: the store whose vectors they read; gives d.
        labels_path: the labels; gives c.
        images: images in the set.
        path: the JSON file to write.
    """
    store = Embeddings(store_path)
    labels = len(catalogue.read_labels(labels_path)[0])
    heads = {alias: build_head(spec, store.width, labels).eval() for alias, spec in specs.items()}
    times = _milliseconds(heads, torch.randn(1, images, store.width))
    content = {
        "dim": store.width,
        "classes": labels,
        "images": images,
        "backbone_parameters": store.parameters,
        "machine": {"processor": _processor(), "threads": 1, "torch": torch.__version__},
        "heads": {
            alias: {"parameters": head.parameter_count(), "milliseconds": times[alias]} for alias, head in heads.items()
        },
    }
    files.write_json(path, content)


def _milliseconds(heads: dict[str, torch.nn.Module], x: torch.Tensor) -> dict[str, float]:
    """Median time of one decision of each head."""
    torch.set_num_threads(1)
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    taken: dict[str, list[float]] = {alias: [] for alias in heads}
    with torch.inference_mode():
        for _ in range(WARM_UP + ROUNDS):
            for alias, head in heads.items():
                start = time.perf_counter()
                head(x, mask)
                taken[alias].append(1000 * (time.perf_counter() - start))
    return {alias: round(statistics.median(values[WARM_UP:]), 4) for alias, values in taken.items()}


def _processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
