"""Which runtime executes a backbone here, and in which precision."""

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.core.vectors import cosines
from pipeline.embed.engines.engine import Engine, Normalised, Runtime
from pipeline.embed.engines.openvino_runtime import OpenVinoRuntime
from pipeline.embed.engines.torch_runtime import TorchRuntime

if TYPE_CHECKING:
    from pipeline.embed.backbones.backbone import Backbone

LEAST_COSINE = 0.999  # to float32, below which bfloat16 is not used

RUNTIMES: dict[str, Runtime] = {"openvino": OpenVinoRuntime(), "torch": TorchRuntime()}


def open_engine(
    name: str,
    backbone: "Backbone",
    *,
    batch_size: int = 0,
    threads: int = 1,
    precision: str = "float32",
    sample: Callable[[], np.ndarray] | None = None,
) -> Engine:
    """Makes a backbone ready to run. torch itself runs on one thread from then on.

    Args:
        name: one of RUNTIMES, or "auto": torch where there is CUDA, else OpenVINO where it is installed, else torch.
        backbone: the model.
        batch_size: images a batch; 0: what suits the device.
        threads: cores to use; on a CPU, as many batches run side by side.
        precision: "float32", or "auto": bfloat16 where the processor has it and `sample` comes out the same.
        sample: gives real images to compare bfloat16 with float32 on, uint8 [m, size, size, 3]; needed for "auto",
            called where there is bfloat16.

    Returns:
        The engine; its `cosine` says what the comparison showed.
    """
    if name == "auto":
        cuda = torch.cuda.is_available()
        name = "openvino" if not cuda and importlib.util.find_spec("openvino") else "torch"
    torch.set_num_threads(1)
    size = backbone.preprocessing.size
    model = Normalised(backbone.model, backbone.preprocessing).eval()
    make = RUNTIMES[name].make
    cosine = None
    if precision == "auto" and RUNTIMES[name].bfloat16() and sample is not None and len(pixels := sample()):
        engine = make(model, size, batch_size=batch_size, threads=threads, precision="bfloat16")
        engine.cosine = cosine = _smallest_cosine(engine, model, pixels)
        if cosine >= LEAST_COSINE:
            return engine
    engine = make(model, size, batch_size=batch_size, threads=threads, precision="float32")
    engine.cosine = cosine
    return engine


def _smallest_cosine(engine: Engine, model: Normalised, pixels: np.ndarray) -> float:
    """Of an engine's vectors to those of the model as it is, on the CPU in float32."""
    with torch.inference_mode():
        exact = model(torch.from_numpy(pixels)).numpy()
    parts = [engine(pixels[start : start + engine.batch_size]) for start in range(0, len(pixels), engine.batch_size)]
    return float(np.nan_to_num(cosines(np.concatenate(parts), exact), nan=-1.0).min())
