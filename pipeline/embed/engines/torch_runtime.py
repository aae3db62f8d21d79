"""torch: on CUDA or Apple's GPU where there is one, else on the CPU, with batch normalisation folded away."""

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from pipeline.embed.engines.engine import CPU_BATCH, Engine, Normalised, Run, quiet_tracer

ACCELERATOR_BATCH = 256
ACCELERATOR_STREAMS = 2  # one batch travels while another is computed


def _torch_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class TorchRuntime:
    """torch: on CUDA or Apple's GPU where there is one, else on the CPU, with batch normalisation folded away."""

    def bfloat16(self) -> bool:
        """Whether bfloat16 is faster here than float32."""
        device = _torch_device()
        if device == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())

    def make(self, model: Normalised, size: int, *, batch_size: int, threads: int, precision: str) -> Engine:
        """Makes an engine; arguments as of `Runtime.make`."""
        device = _torch_device()
        if device == "cpu":
            batch_size = batch_size or CPU_BATCH
            run = _on_cpu(model, (batch_size, size, size, 3), precision)
            return Engine(run, "torch cpu", batch_size, threads, precision)
        batch_size = batch_size or ACCELERATOR_BATCH
        run = _on_accelerator(model, device, precision)
        return Engine(run, f"torch {device}", batch_size, ACCELERATOR_STREAMS, precision)


def _on_cpu(model: Normalised, shape: tuple[int, ...], precision: str) -> Run:
    """A model for batches of pixels of one shape, traced."""
    model = _channels_last(model, "cpu")
    example = torch.zeros(shape, dtype=torch.uint8)
    reduced = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)
    with torch.no_grad(), reduced, quiet_tracer():
        traced = torch.jit.freeze(torch.jit.trace(model, example, check_trace=False))

    def run(pixels: np.ndarray) -> np.ndarray:
        # Not left to the executor's profiling, after which the third batch would be computed otherwise than the first.
        with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # undeclared
            return traced(torch.from_numpy(pixels)).float().numpy()

    return run


def _on_accelerator(model: Normalised, device: str, precision: str) -> Run:
    """A model on a GPU, for batches of any size; each thread that calls it has a stream, where there is CUDA."""
    model = _channels_last(model, device)
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


def _channels_last(model: Normalised, device: str) -> Normalised:
    """A copy of a model on a device, in the memory layout in which convolutions take two thirds of the time there."""
    return copy.deepcopy(model).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # has it
