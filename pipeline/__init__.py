"""visagg: a person's interests from a set of product photos, by aggregation heads on cached embeddings.

Public, beside the command `visagg`, are the names in `__all__`; everything else may change. To import this package
imports nothing: each name brings what it needs when it is used.

| name | what it is |
|---|---|
| open_store | the vectors that `visagg embed` made |
| build_head, load_head | a set classifier: untrained, or as `visagg train` left it |
| predict | what `visagg predict` says of photos |
| micro_ap, micro_f1, at_k | metrics of scores, float [n, c], against what is true, bool [n, c] |
| estimate | a value with its interval, from resamples of sets |
| PipelineError | what all of them raise for a fault that its user can mend |

In a project, where `dvc repro` has run (a test runs this):

    import numpy as np, pipeline, torch

    vectors = torch.from_numpy(pipeline.open_store("cache/embeddings/lite0.h5").read(np.arange(3))).float()
    trained = pipeline.load_head("cache/heads/lite0/noisy_or_dropout")
    mask = torch.ones(1, 3, dtype=torch.bool)
    scores = torch.sigmoid(trained.heads[0](vectors[None], mask))  # of one set of three images: [1, c]
    seen = pipeline.predict(["photos"])  # what visagg predict --json says

Anywhere:

>>> import numpy as np
>>> from pipeline import micro_ap
>>> scores, truth = np.array([[0.9, 0.2, 0.6]]), np.array([[True, False, False]])
>>> micro_ap(scores, truth, np.ones((1, 1)))
array([1.])
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.core.errors import PipelineError
    from pipeline.embeddings.store import Embeddings
    from pipeline.heads.classifier import SetClassifier
    from pipeline.metrics.at_k import at_k
    from pipeline.metrics.bootstrap import estimate
    from pipeline.metrics.selection import micro_ap, micro_f1
    from pipeline.training.checkpoint import TrainedHead

__all__ = [
    "PipelineError",
    "at_k",
    "build_head",
    "estimate",
    "load_head",
    "micro_ap",
    "micro_f1",
    "open_store",
    "predict",
]
_ELSEWHERE = {
    "PipelineError": "pipeline.core.errors",
    "at_k": "pipeline.metrics.at_k",
    "estimate": "pipeline.metrics.bootstrap",
    "micro_ap": "pipeline.metrics.selection",
    "micro_f1": "pipeline.metrics.selection",
}


def __getattr__(name: str) -> Any:
    """A public name of another module (PEP 562)."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE[name]), name)


def open_store(path: str | Path) -> "Embeddings":
    """Opens an embedding store for reading: cache/embeddings/BACKBONE.h5.

    Returns:
        The store: `read(rows)` gives float16 [m, d], `dim` is d, `len` the number of rows, which are the images'.

    Raises:
        PipelineError: when it is missing or damaged.
    """
    from pipeline.embeddings.store import Embeddings

    return Embeddings(Path(path))


def build_head(head: "str | Mapping[str, Any]", dim: int, classes: int) -> "SetClassifier":
    """An untrained head: vectors float32 [b, s, d] and a mask bool [b, s] to logits float32 [b, c].

    Args:
        head: a name that `visagg heads` lists, or a head's parts, as under `heads` in params.yaml.
        dim: d, numbers a vector.
        classes: c, how many labels.

    Raises:
        PipelineError: when there is no such head; with the nearest name.

    >>> import torch
    >>> head = build_head({"pool": "attention", "hidden": 16}, dim=8, classes=3)
    >>> head(torch.zeros(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)).shape
    torch.Size([2, 3])
    """
    from pipeline.heads.classifier import build_head
    from pipeline.heads.presets import preset
    from pipeline.heads.registry import parse

    return build_head(preset(head) if isinstance(head, str) else parse(dict(head)), dim, classes)


def load_head(folder: str | Path) -> "TrainedHead":
    """A trained head: cache/heads/BACKBONE/HEAD.

    Returns:
        What was trained: `heads`, a set classifier a seed, ready to answer; `thresholds`, one a seed, of their
        probabilities; `checkpoint.labels`, the labels' names.

    Raises:
        PipelineError: when it is missing or damaged.
    """
    from pipeline.training.checkpoint import load

    return load(Path(folder))


def predict(photos: "Iterable[str | Path]", *, model: str | None = None, project: str | Path = ".") -> dict[str, Any]:
    """What a trained model sees in the photos of one person.

    Args:
        photos: files, folders and zip files.
        model: BACKBONE/HEAD, or an exported folder; None: the one that did best on validation.
        project: the folder in which it was trained.

    Returns:
        The JSON values of `visagg predict --json`: under `interests` the labels with their probabilities.

    Raises:
        PipelineError: when there is no such model, or no photo can be read.
    """
    import json

    from pipeline.export.predict.stage import Wanted, predict
    from pipeline.project import Project
    from pipeline.settings.settings import load

    chosen = Project(Path(project))
    wanted = Wanted(tuple(map(Path, photos)), model=model, as_json=True)
    return json.loads(predict(chosen, wanted, lambda: load(chosen.settings)))
