"""This program as a contender: what `visagg embed` runs, a block at a time."""

import time
from contextlib import ExitStack

import numpy as np

from pipeline.bench.job import RANDOM, Job
from pipeline.catalogue.images import Images
from pipeline.core.progress import Notes
from pipeline.embed.backbones.backbone import open_backbone, open_random
from pipeline.embed.lane import Lane
from pipeline.embed.stream import RunOptions, fill, open_lane
from pipeline.embed.target import Target, open_stores
from pipeline.embeddings.store import Embeddings


class StageOne:
    """Stage one on a bank of photos, with a store for it.

    Attributes:
        engine: what runs, for people.
    """

    def __init__(self, job: Job):
        backbone = open_random(job.model) if job.weights == RANDOM else open_backbone(job.model, job.weights)
        target = Target(job.contender, backbone, job.folder / "store.h5")
        self._images, self._rows, self._path = Images(job.photos.bank), job.photos.rows, target.path
        self._options = RunOptions(job.settings, Notes())
        self._open = ExitStack()  # until the process ends
        (self._store,) = self._open.enter_context(open_stores(self._images, [target]))
        lane = open_lane(self._images, target, self._store, options=self._options)
        self._crop, self._engine, self.engine = lane.crop, lane.engine, str(lane.engine)

    def embed(self, photos: np.ndarray) -> tuple[float, np.ndarray]:
        """Embeds photos, int64 [m], whatever the store holds of them.

        Returns:
            The seconds until all were in the store, and the vectors, float32 [m, d].
        """
        rows = self._rows[photos]
        self._store.reopen(rows)
        start = time.perf_counter()
        lane = Lane(self._crop, self._engine, self._store)
        fill(self._images, [lane], self._options, rows=np.unique(rows))
        seconds = time.perf_counter() - start
        return seconds, Embeddings(self._path).read(rows).astype(np.float32)
