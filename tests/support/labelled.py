"""Labelled sets on the disk, of a frame that a test makes up."""

import polars as pl

from pipeline.catalogue import labelled_sets
from pipeline.catalogue.labelled_sets import IMAGE_LABELS, SetFiles
from pipeline.project import Project


def write_sets(
    project: Project,
    *,
    frame: pl.DataFrame,
    labels: list[str],
    images_digest: str,
    image_labels: pl.DataFrame | None = None,
) -> None:
    """Writes them as `visagg sets` leaves them; what images show by themselves may be left empty."""
    labelled_sets.write_sets(
        SetFiles(project.sets, project.image_labels, project.labels),
        frame=frame,
        image_labels=pl.DataFrame(schema=IMAGE_LABELS) if image_labels is None else image_labels,
        labels=labels,
        images_digest=images_digest,
    )
