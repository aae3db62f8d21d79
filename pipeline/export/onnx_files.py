"""A backbone and a head as ONNX: from pixels to a vector, and from vectors to probabilities.

torch's exporter takes seconds for a head and ten for a backbone. Both files stand for any number of photos and sets.

Large weights are stored as whole numbers of 16 bits, with a scale for each output channel, and become float32 when the
file is loaded: half the size at the same speed, by operators that every runtime has. float16, of the same size, has 11
bits where these have 15: on real photos it changed probabilities by up to 0.009, these by 0.0004 (EfficientNet-Lite0).
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.errors import SettingsError, StageError
from pipeline.embed.engines.engine import Normalised
from pipeline.heads.classifier import SetClassifier

if TYPE_CHECKING:
    from pipeline.embed.backbones.backbone import Backbone

OPSET = 18
SMALLEST_HALF = 5000  # numbers; shorter tensors stay as they are: they are 1 % of a backbone, and a third of the error
LEVELS = 32767
INSTALL = "onnx and onnxscript are not installed: pip install 'visagg[export]'"


class Vectors(nn.Module):
    """Pixels to vectors, rounded to 16 bits as a store keeps them."""

    def __init__(self, model: Normalised):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixels).half().float()


class Interests(nn.Module):
    """Vectors to probabilities, and to the weights of the photos: in all, and for each label."""

    def __init__(self, head: SetClassifier):
        super().__init__()
        self.head = head

    def forward(self, vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        probabilities = torch.sigmoid(self.head(vectors, mask))
        return probabilities, self.head.importance(vectors, mask), self.head.importance_by_label(vectors, mask)


def write_backbone(path: Path, backbone: "Backbone", *, half: bool) -> None:
    """Writes a backbone: "pixels" uint8 [n, size, size, 3] to "vectors" float32 [n, d].

    Args:
        path: the file.
        backbone: which one.
        half: whether weights are stored in 16 bits.

    Raises:
        StageError: when what exports is not installed.
    """
    preprocessing = backbone.preprocessing
    model = Vectors(Normalised(backbone.model, preprocessing)).eval()
    pixels = torch.zeros(2, preprocessing.size, preprocessing.size, 3, dtype=torch.uint8)
    shapes = ({0: torch.export.Dim("photos", min=1)},)
    _write(path, model, {"pixels": pixels}, outputs=["vectors"], shapes=shapes, half=half)


def write_head(path: Path, head: SetClassifier, *, half: bool) -> None:
    """Writes a head: "vectors" float32 [b, s, d] and "mask" bool [b, s] to what `Interests` gives.

    Its outputs are "probabilities" [b, c], "importance" [b, s] and "importance_by_label" [b, s, c], float32.

    Args:
        path: the file.
        head: in evaluation mode, folded where that makes it smaller.
        half: whether weights are stored in 16 bits.

    Raises:
        SettingsError: when a head of this kind cannot be exported; says why.
        StageError: when what exports is not installed.
    """
    if head.spec.pool == "pma":
        raise SettingsError("a head with the pool pma cannot be exported: torch's attention fixes the number of photos")
    inputs = {"vectors": torch.randn(2, 3, head.dim), "mask": torch.ones(2, 3, dtype=torch.bool)}
    sizes = {0: torch.export.Dim("sets", min=1), 1: torch.export.Dim("photos", min=1)}
    outputs = ["probabilities", "importance", "importance_by_label"]
    _write(path, Interests(head).eval(), inputs, outputs=outputs, shapes=(sizes, sizes), half=half)


def _write(
    path: Path, model: nn.Module, inputs: Mapping[str, Tensor], *, outputs: list[str], shapes: tuple, half: bool
) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError:
        raise StageError(INSTALL) from None
    with quiet():
        exported = torch.onnx.export(
            model,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=shapes,
            verbose=False,
        )
    assert exported is not None  # as dynamo=True has it
    graph = exported.model_proto
    del graph.metadata_props[:]
    for node in graph.graph.node:  # where in the source each came from: paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    if half:
        _store_in_half(graph)
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString(deterministic=True))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What the exporter says to its own authors is no news to a person."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _store_in_half(model: Any) -> None:
    """Stores large weights in 16 bits, with nodes behind each that make float32 of it; a runtime folds them at once."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, scales = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALLEST_HALF:
            continue
        name, (levels, scale) = tensor.name, quantise(values)
        tensor.CopyFrom(numpy_helper.from_array(levels, f"{name}.levels"))
        scales.append(numpy_helper.from_array(scale, f"{name}.scale"))
        nodes.append(helper.make_node("Cast", [f"{name}.levels"], [f"{name}.cast"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name]))
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(scales)


def quantise(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [c, ...] as int16 of the same shape, and the scale, float32 [c, 1, ...], that makes them of it again.

    >>> levels, scale = quantise(np.array([[0.5, -1.0], [0.0, 0.0]], np.float32))
    >>> levels.tolist(), (levels * scale).round(4).tolist()
    ([[16384, -32767], [0, 0]], [[0.5, -1.0], [0.0, 0.0]])
    """
    largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
    scale = np.where(largest > 0, largest / LEVELS, 1).astype(np.float32)
    return np.round(weights / scale).astype(np.int16), scale
