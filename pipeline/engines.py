"""The runtimes that execute a backbone: uint8 pixels in, vectors out.

Every batch has one size, the last one filled up: kernels are chosen by shape, so a vector does not depend on how many
images happened to share its batch, and an interrupted run ends in the same bytes as any other.
"""

import importlib.util
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pipeline.backbones import Backbone, Preprocessing


class Normalised(nn.Module):
    """A backbone that takes pixels as they are decoded: uint8 [b, size, size, 3] to float32 [b, d]."""

    def __init__(self, model: nn.Module, preprocessing: "Preprocessing"):
        super().__init__()
        self.model = model
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift)


class Engine:
    """A backbone, ready to run.

    Attributes:
        batch_size: images a batch.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], batch_size: int):
        self._run, self.batch_size = run, batch_size

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Embeds images.

        Args:
            pixels: uint8 [m, size, size, 3], m at most the batch size.

        Returns:
            float32 [m, d].
        """
        full = np.zeros((self.batch_size, *pixels.shape[1:]), np.uint8)
        full[: len(pixels)] = pixels
        return self._run(full)[: len(pixels)]


def _torch(model: Normalised, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """torch on the CPU, float32, channels last: half as fast again as the default layout."""
    model = model.to(memory_format=torch.channels_last)

    def run(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(pixels)).numpy()

    return run


def _openvino(model: Normalised, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """OpenVINO on the CPU, float32: some four times as fast as torch, and equal to it but for rounding.

    The graph is handed over by the frontend itself; openvino.convert_model would report its use over the network.
    """
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros(shape, dtype=torch.uint8)[:2]
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of shapes taken as constants; they are constant here
        traced = torch.jit.trace(model, example, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced, example_input=(example,))  # named: it must outlive the conversion
        frontend = FrontEndManager().load_by_framework("pytorch")
        graph = frontend.convert(frontend.load(decoder))
    graph.reshape(list(shape))
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    return lambda pixels: compiled(pixels)[0]


ENGINES = {"openvino": _openvino, "torch": _torch}


def open_engine(name: str, backbone: "Backbone", batch_size: int) -> Engine:
    """Makes a backbone ready to run.

    Args:
        name: one of ENGINES, or "auto": OpenVINO where it is installed, else torch.
        backbone: the model.
        batch_size: images a batch.
    """
    if name == "auto":
        name = "openvino" if importlib.util.find_spec("openvino") else "torch"
    size = backbone.preprocessing.size
    model = Normalised(backbone.model, backbone.preprocessing).eval()
    return Engine(ENGINES[name](model, (batch_size, size, size, 3)), batch_size)
