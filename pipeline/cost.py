"""What heads cost: parameters, megabytes, milliseconds a decision."""

import statistics
import time
from pathlib import Path

import torch

from pipeline import catalogue, files
from pipeline.embeddings import Embeddings
from pipeline.heads import HeadSpec, build_head
from pipeline.machine import processor

ROUNDS = 60  # of all heads, interleaved, so that the machine's moods fall on every head alike
WARM_UP = 10


def measure_heads(specs: dict[str, HeadSpec], store_path: Path, labels_path: Path, images: int, path: Path) -> None:
    """Writes what a decision costs, of each head as it is trained and folded: parameters, milliseconds on one thread.

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
    folded = {f"{alias} folded": head.fold() for alias, head in heads.items()}
    times = _milliseconds({**heads, **folded}, torch.randn(1, images, store.width))
    content = {
        "dim": store.width,
        "classes": labels,
        "images": images,
        "backbone_parameters": store.parameters,
        "machine": {"processor": processor(), "threads": 1, "torch": torch.__version__},
        "heads": {
            alias: {
                "parameters": heads[alias].parameter_count(),
                "milliseconds": times[alias],
                "folded_parameters": folded[f"{alias} folded"].parameter_count(),
                "folded_milliseconds": times[f"{alias} folded"],
            }
            for alias in heads
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
