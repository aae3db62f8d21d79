"""What people write first: timm's transform on Pillow images, torch's DataLoader, eager torch or ONNX Runtime."""

import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pipeline.bench.job import RANDOM, Job
from pipeline.embed.backbones.backbone import Backbone, open_backbone, open_random
from pipeline.embed.backbones.models import import_timm


class PhotoDataset(Dataset):
    """Photos by their number, as the model takes them: float32 [3, size, size]."""

    def __init__(self, paths: Sequence[Path], transform: Callable[[Image.Image], Tensor]):
        self._paths, self._transform = paths, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, photo: int) -> Tensor:
        return self._transform(Image.open(self._paths[photo]).convert("RGB"))


class BlockSampler(Sampler[int]):
    """The photos of the next epoch.

    Attributes:
        photos: their numbers; set before each epoch, so that the same workers of a loader serve all epochs.
    """

    photos: Sequence[int] = ()

    def __iter__(self) -> Iterator[int]:
        return iter(self.photos)

    def __len__(self) -> int:
        return len(self.photos)


class Feed:
    """Batches of photos, made by as many workers as there are cores, which stay between blocks.

    Args:
        paths: of the photos.
        config: what timm says of the model's data.
        batch_size: photos a batch.
    """

    def __init__(self, paths: Sequence[Path], config: dict, batch_size: int):
        transform = import_timm().data.create_transform(**config, is_training=False)
        self._sampler = BlockSampler()
        self._loader = DataLoader(
            PhotoDataset(paths, transform),
            batch_size=batch_size,
            sampler=self._sampler,
            num_workers=joblib.cpu_count(),
            persistent_workers=True,
        )

    def run(self, photos: np.ndarray, model: Callable[[Tensor], np.ndarray]) -> tuple[float, np.ndarray]:
        """Embeds photos, int64 [m], by a model that takes batches, float32 [b, 3, size, size].

        Returns:
            The seconds that it took, and the vectors, float32 [m, d].
        """
        self._sampler.photos = photos.tolist()
        start = time.perf_counter()
        vectors = np.concatenate([model(batch) for batch in self._loader])
        return time.perf_counter() - start, vectors


class Reference:
    """timm's model as it is: eager, float32, as many threads as torch takes; on the GPU where there is CUDA.

    Attributes:
        engine: what runs, for people.
    """

    def __init__(self, job: Job):
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = open_with(job.model, job.weights).model.to(self._device)
        self._feed = Feed(job.photos.paths, _data_config(self._model), job.batch_size)
        self.engine = f"torch {torch.__version__} eager {self._device} float32"

    def embed(self, photos: np.ndarray) -> tuple[float, np.ndarray]:
        """As `Feed.run`."""
        with torch.inference_mode():
            return self._feed.run(photos, lambda batch: self._model(batch.to(self._device)).cpu().numpy())


class OnnxRuntime:
    """The same model, exported, by ONNX Runtime on the CPU, as it sets itself up. Its export is part of its start.

    Attributes:
        engine: what runs, for people.
    """

    def __init__(self, job: Job):
        import onnxruntime

        path = job.folder / "model.onnx"
        # In another process, so that what the exporter leaves behind is not counted as what inference takes.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as exporter:
            config = exporter.submit(export, job.model, job.weights, path).result()
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._feed = Feed(job.photos.paths, config, job.batch_size)
        self.engine = f"onnxruntime {onnxruntime.__version__} cpu float32"

    def embed(self, photos: np.ndarray) -> tuple[float, np.ndarray]:
        """As `Feed.run`."""
        return self._feed.run(photos, lambda batch: self._session.run(None, {"pixels": batch.numpy()})[0])


def export(model: str, weights: str, path: Path) -> dict:
    """Writes a model as ONNX: "pixels", float32 [b, 3, size, size] of any b, to float32 [b, d].

    Returns:
        What timm says of the model's data.
    """
    backbone = open_with(model, weights)
    size = backbone.preprocessing.size
    shapes = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's libraries use what they call deprecated
        torch.onnx.export(
            backbone.model,
            (torch.zeros(2, 3, size, size),),  # of one image, the exporter would take the batch for constant
            path,
            input_names=["pixels"],
            dynamic_shapes=shapes,
            verbose=False,
        )
    return _data_config(backbone.model)


def open_with(model: str, weights: str) -> Backbone:
    """A backbone with weights as a Job says; errors as of `open_backbone`."""
    return open_random(model) if weights == RANDOM else open_backbone(model, weights)


def _data_config(model: torch.nn.Module) -> dict:
    return import_timm().data.resolve_model_data_config(model)
