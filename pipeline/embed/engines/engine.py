"""What an engine is, and what every runtime needs to make an engine.

On a CPU several batches run side by side, each on a single thread ("streams"): nothing waits for the slowest thread
inside an operator, and threads that decode images meanwhile take nothing but their share of the cores.

Every batch has one size, the last one filled up: kernels are chosen by shape, so a vector does not depend on how many
images happened to share its batch, and an interrupted run ends in the same bytes as any other.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pipeline.embed.backbones.models import Preprocessing

CPU_BATCH = 16  # beyond it nothing is gained, and activations leave the processor's cache

Run = Callable[[np.ndarray], np.ndarray]


class Normalised(nn.Module):
    """A backbone that takes pixels as they are decoded: uint8 [b, size, size, 3] to float32 [b, d]."""

    scale: Tensor
    shift: Tensor

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
        cosine: the smallest between bfloat16's vectors and float32's of some real images; None: not measured.
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
        verdict = "" if self.precision == "bfloat16" else ", which is too far"
        return f"{self.name} {self.precision} (bfloat16 to float32: smallest cosine {self.cosine:.5f}{verdict})"


class Runtime(Protocol):
    """A library that runs backbones. A new engine is a class with these methods, and an entry in `choose.RUNTIMES`."""

    def bfloat16(self) -> bool:
        """Whether bfloat16 is faster here than float32."""
        ...

    def make(self, model: Normalised, size: int, *, batch_size: int, threads: int, precision: str) -> Engine:
        """Makes an engine.

        Args:
            model: the backbone, from pixels to vectors.
            size: side of the images, in pixels.
            batch_size: images a batch; 0: what suits the device.
            threads: cores to use.
            precision: "float32" or "bfloat16".
        """
        ...


@contextmanager
def quiet_tracer() -> Iterator[None]:
    """Traces a model without the tracer's warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of shapes taken as constants; they are constant here
        yield
