"""Contenders of the bench that load nothing: for tests of the processes that contenders live in."""

import time

import numpy as np

from pipeline.bench.job import RANDOM, Job, PhotoSample
from pipeline.core.errors import WeightsError
from tests.support.settings import embed_settings


def job_of(contender: type, sample: PhotoSample, folder, **changes: object) -> Job:
    """A job for one of these."""
    values = {"model": "a model", "weights": "hub", "settings": embed_settings(), **changes}
    return Job(contender.__name__, f"{__name__}:{contender.__name__}", photos=sample, folder=folder, **values)


class Numbers:
    """Each photo's vector is its number, and what its file says."""

    engine = "counts"

    def __init__(self, job: Job):
        self._job = job

    def embed(self, photos: np.ndarray) -> tuple[float, np.ndarray]:
        texts = [float(self._job.photos.paths[photo].read_text()) for photo in photos]
        return 1.5, np.stack([photos, texts], 1).astype(np.float32)


class Hubless(Numbers):
    """Has no weights but random ones; says which it has."""

    def __init__(self, job: Job):
        super().__init__(job)
        if job.weights != RANDOM:
            raise WeightsError("the model hub did not give a model")
        self.engine = f"{job.contender} with {job.weights} weights"


class Busy(Numbers):
    """Is never ready; leaves a file once it has begun."""

    def __init__(self, job: Job):
        (job.folder / "begun").touch()
        time.sleep(600)
