"""Our own contender: what `visagg embed` runs, a block at a time."""

import time
from contextlib import ExitStack

import joblib
import numpy as np

from pipeline.backbones import open_backbone, open_random
from pipeline.bench.child import RANDOM, Job
from pipeline.catalogue import Images
from pipeline.embeddings import Embeddings
from pipeline.extract.lane import Lane
from pipeline.extract.stream import Target, fill, open_lane, open_stores
from pipeline.progress import Notes


class StageOne:
    """Stage one on a bank of photos, with a store of its own.

    Attributes:
        engine: what runs, for people.
    """

    def __init__(self, job: Job):
        backbone = open_random(job.model) if job.weights == RANDOM else open_backbone(job.model, job.weights)
        self._images, self._rows = Images(job.bank), job.rows
        self._threads = job.settings.threads or joblib.cpu_count()
        target = Target(job.contender, backbone, job.folder / "store.h5")
        self._path, self._held = target.path, ExitStack()
        (self._store,) = self._held.enter_context(open_stores(self._images, [target], rebuild=False))
        lane = open_lane(self._images, target, self._store, job.settings, self._threads, Notes())
        self._crop, self._engine = lane.crop, lane.engine
        self.engine = str(lane.engine)

    def embed(self, photos: np.ndarray) -> tuple[float, np.ndarray]:
        """Embeds photos, int64 [m], whatever the store holds of them.

        Returns:
            The seconds until all were in the store, and the vectors, float32 [m, d].
        """
        rows = self._rows[photos]
        self._store.reopen(rows)
        start = time.perf_counter()
        lane = Lane(self._crop, self._engine, self._store)
        fill(self._images, [lane], self._threads, Notes(), np.unique(rows))
        seconds = time.perf_counter() - start
        return seconds, Embeddings(self._path).read(rows).astype(np.float32)
