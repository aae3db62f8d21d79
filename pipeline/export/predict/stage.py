"""What visagg predict does: finds the model, reads the photos, says or writes what the model sees in them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import joblib

from pipeline.export.predict import interests
from pipeline.export.predict.each_folder import predict_each
from pipeline.export.predict.exported import CONFIG, open_exported
from pipeline.export.predict.model import Model
from pipeline.export.predict.page import write_page
from pipeline.export.predict.photos import find_photos
from pipeline.export.predict.trained import TrainedModel, best_by_validation, parse_name
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        photos: files, folders and zip files.
        model: BACKBONE/HEAD, or an exported folder; None: the best on validation.
        as_json: whether the answer is JSON rather than text.
        html: a page that is written too.
        table: where a table of sets goes, a folder each; None: all photos are one person's.
    """

    photos: tuple[Path, ...]
    model: str | None = None
    as_json: bool = False
    html: Path | None = None
    table: Path | None = None


def predict(project: Project, wanted: Wanted, settings: "Callable[[], Settings]") -> str:
    """Answers; returns what is printed.

    Args:
        project: whose trained heads.
        wanted: what is asked for.
        settings: gives the settings; not called for an exported folder, which needs no project.

    Raises:
        PipelineError: when the model is not there or does not fit, or no photo can be read.
    """
    model, threads = _open(project, wanted.model, settings), joblib.cpu_count()
    if wanted.table:
        count, beside = predict_each(wanted.photos, model, threads, table=wanted.table)
        left = f"\nLeft out, for they lie in no folder: {interests.named(beside)}" if beside else ""
        return f"{model.name}: {count} sets, {wanted.table}{left}"
    found = interests.predict(list(find_photos(wanted.photos)), model, threads)
    if wanted.html:
        write_page(wanted.html, found)
    return json.dumps(found.content, indent=2, ensure_ascii=False) if wanted.as_json else interests.text(found)


def _open(project: Project, name: str | None, settings: "Callable[[], Settings]") -> Model:
    if name and (Path(name) / CONFIG).is_file():
        return open_exported(Path(name))
    known = settings()
    backbone, head = parse_name(name) if name else best_by_validation(project, known)
    return TrainedModel(project, backbone, head, settings=known).model()
