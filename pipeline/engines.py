"""The runtimes that execute a backbone: uint8 pixels in, vectors out.

On a CPU several batches run side by side, each on one thread of its own ("streams"): nothing waits for the slowest
thread inside an operator, and threads that decode images meanwhile take nothing but their share of the cores.

Every batch has one size, the last one filled up: kernels are chosen by shape, so a vector does not depend on how many
images happened to share its batch, and an interrupted run ends in the same bytes as any other.
"""

import copy
import functools
import importlib.util
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import openvino

    from pipeline.backbones import Backbone, Preprocessing

CPU_BATCH = 16  # beyond it nothing is gained, and activations leave the processor's cache
ACCELERATOR_BATCH = 256
ACCELERATOR_STREAMS = 2  # one batch travels while another is computed
LEAST_COSINE = 0.999  # to float32, below which bfloat16 is not used

Run = Callable[[np.ndarray], np.ndarray]


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


@dataclass
class Engine:
    """A backbone, ready to run. Safe to call from as many threads as it has streams.

    Attributes:
        run: a whole batch of pixels, uint8 [b, size, size, 3], to vectors, float32 [b, d].
        name: the runtime and the device, for people.
        batch_size: images a batch.
        streams: batches that run side by side.
        precision: "float32" or "bfloat16".
        cosine: the smallest one between bfloat16 and float32 that was seen on real images, where it was looked at.
    """

    run: Run
    name: str
    batch_size: int
    streams: int
    precision: str = "float32"
    cosine: float | None = None

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Embeds images.

        Args:
            pixels: uint8 [m, size, size, 3], m at most the batch size.

        Returns:
            float32 [m, d].
        """
        if len(pixels) == self.batch_size:
            return self.run(pixels)
        full = np.zeros((self.batch_size, *pixels.shape[1:]), np.uint8)
        full[: len(pixels)] = pixels
        return self.run(full)[: len(pixels)]

    def __str__(self) -> str:
        if self.cosine is None:
            return f"{self.name} {self.precision}"
        kept = "" if self.precision == "bfloat16" else ", which is too far"
        return f"{self.name} {self.precision} (bfloat16 to float32: smallest cosine {self.cosine:.5f}{kept})"


def _torch_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class TorchEngines:
    """torch: on CUDA or Apple's GPU where there is one, else on the CPU, with batch normalisation folded away."""

    def bfloat16(self) -> bool:
        """Whether bfloat16 is faster here than float32."""
        device = _torch_device()
        if device == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())

    def make(self, model: Normalised, size: int, batch_size: int, threads: int, precision: str) -> Engine:
        """Makes an engine; arguments as in `open_engine`, of a model for square images of `size` pixels."""
        device = _torch_device()
        if device == "cpu":
            batch_size = batch_size or CPU_BATCH
            return Engine(_on_cpu(model, size, batch_size, precision), "torch cpu", batch_size, threads, precision)
        batch_size = batch_size or ACCELERATOR_BATCH
        run = _on_accelerator(model, device, precision)
        return Engine(run, f"torch {device}", batch_size, ACCELERATOR_STREAMS, precision)


def _on_cpu(model: Normalised, size: int, batch_size: int, precision: str) -> Run:
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)  # half as fast again as the default layout
    example = torch.zeros((batch_size, size, size, 3), dtype=torch.uint8)
    reduced = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)
    with torch.no_grad(), reduced, _quiet_tracer():
        traced = torch.jit.freeze(torch.jit.trace(model, example, check_trace=False))

    def run(pixels: np.ndarray) -> np.ndarray:
        # Not left to the executor's profiling, after which the third batch would be computed otherwise than the first.
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            return traced(torch.from_numpy(pixels)).float().numpy()

    return run


def _on_accelerator(model: Normalised, device: str, precision: str) -> Run:
    model = copy.deepcopy(model).to(device, memory_format=torch.channels_last)
    local = threading.local()

    @contextmanager
    def stream_of_this_thread() -> Iterator[None]:
        if device != "cuda":
            yield
            return
        if not hasattr(local, "stream"):
            local.stream = torch.cuda.Stream()
        with torch.cuda.stream(local.stream):
            yield

    def run(pixels: np.ndarray) -> np.ndarray:
        here = torch.from_numpy(pixels)
        with stream_of_this_thread(), torch.inference_mode():
            there = (here.pin_memory() if device == "cuda" else here).to(device, non_blocking=True)
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                vectors = model(there)
            return vectors.float().cpu().numpy()

    return run


class OpenVinoEngines:
    """OpenVINO on the CPU: two to four times as fast as torch, and in float32 equal to it but for rounding."""

    def bfloat16(self) -> bool:
        """Whether the processor computes in bfloat16."""
        return "BF16" in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def make(self, model: Normalised, size: int, batch_size: int, threads: int, precision: str) -> Engine:
        """Makes an engine; arguments as in `open_engine`, of a model for square images of `size` pixels."""
        batch_size = batch_size or CPU_BATCH
        settings = {
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "ENABLE_CPU_PINNING": False,  # streams share the cores with the threads that decode
        }
        compiled = _openvino_core().compile_model(_graph(model, (batch_size, size, size, 3)), "CPU", settings)
        local = threading.local()

        def run(pixels: np.ndarray) -> np.ndarray:
            if not hasattr(local, "request"):
                local.request = compiled.create_infer_request()
            local.request.infer([pixels], share_inputs=True)
            return local.request.get_output_tensor().data.copy()

        return Engine(run, "openvino cpu", batch_size, threads, precision)


@functools.cache
def _openvino_core() -> "openvino.Core":
    """OpenVINO itself, which stays until the process ends.

    Its CPU plugin gives the thread that loads it a stack for signals, and unmaps that stack when it goes. Were it to go
    in another thread, with the last engine, the next signal that Python handles would end the process: torch's data
    loaders, for one, have the end of a child handled.
    """
    import openvino

    return openvino.Core()


def _graph(model: Normalised, shape: tuple[int, ...]) -> object:
    """OpenVINO's graph, handed over by the frontend itself: openvino.convert_model would report its use to a server."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros(shape, dtype=torch.uint8)[:2]
    with torch.inference_mode(), _quiet_tracer():
        traced = torch.jit.trace(model, example, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced, example_input=(example,))  # named: it must outlive the conversion
        frontend = FrontEndManager().load_by_framework("pytorch")
        graph = frontend.convert(frontend.load(decoder))
    graph.reshape(list(shape))
    return graph


@contextmanager
def _quiet_tracer() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of shapes taken as constants; they are constant here
        yield


ENGINES = {"openvino": OpenVinoEngines(), "torch": TorchEngines()}


def open_engine(
    name: str,
    backbone: "Backbone",
    batch_size: int = 0,
    threads: int = 1,
    precision: str = "float32",
    sample: Callable[[], np.ndarray] | None = None,
) -> Engine:
    """Makes a backbone ready to run. torch itself runs on one thread from then on.

    Args:
        name: one of ENGINES, or "auto": torch where there is CUDA, else OpenVINO where it is installed, else torch.
        backbone: the model.
        batch_size: images a batch; 0: what suits the device.
        threads: cores to use; on a CPU, as many batches run side by side.
        precision: "float32", or "auto": bfloat16 where the processor has it and `sample` comes out the same.
        sample: gives real images to compare bfloat16 with float32 on, uint8 [m, size, size, 3]; needed for "auto",
            called where there is bfloat16.
    """
    if name == "auto":
        cuda = torch.cuda.is_available()
        name = "openvino" if not cuda and importlib.util.find_spec("openvino") else "torch"
    torch.set_num_threads(1)
    size = backbone.preprocessing.size
    model = Normalised(backbone.model, backbone.preprocessing).eval()
    make = ENGINES[name].make
    cosine = None
    if precision == "auto" and ENGINES[name].bfloat16() and sample is not None and len(pixels := sample()):
        engine = make(model, size, batch_size, threads, "bfloat16")
        engine.cosine = cosine = _smallest_cosine(engine, model, pixels)
        if cosine >= LEAST_COSINE:
            return engine
    engine = make(model, size, batch_size, threads, "float32")
    engine.cosine = cosine
    return engine


def _smallest_cosine(engine: Engine, model: Normalised, pixels: np.ndarray) -> float:
    """Of an engine's vectors to those of the model as it is, on the CPU in float32."""
    with torch.inference_mode():
        exact = model(torch.from_numpy(pixels)).double()
    parts = [engine(pixels[start : start + engine.batch_size]) for start in range(0, len(pixels), engine.batch_size)]
    fast = torch.from_numpy(np.concatenate(parts)).double()
    cosines = nn.functional.cosine_similarity(fast, exact)
    return float(torch.nan_to_num(cosines, nan=-1.0).min())
