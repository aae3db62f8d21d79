"""The file beside simulated data that says so: no number made from them is shown without that word."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pipeline.catalogue.tables import Simulated
from pipeline.core.errors import SourceError
from pipeline.core.regular_file import open_regular, read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.settings.sections import SourceSettings

NAME = "simulated.json"
LARGEST = 1 << 16  # bytes


def mark(folder: Path, simulated: Simulated, files: "Iterable[str]") -> None:
    """Writes the file into a folder that is being filled.

    Args:
        folder: of the data.
        simulated: what of them does not exist.
        files: the names of the data's files: another file beside them is not simulated.
    """
    content = {"simulated": simulated, "files": sorted(files), "made by": "visagg simulate"}
    (folder / NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def simulated_of(source: "SourceSettings") -> Simulated:
    """What of a source does not exist: said by the file beside the data, and known of the demo.

    Raises:
        SourceError: when the file is there and cannot be understood.
    """
    if source.name == "demo":
        return "images and users"
    path = Path(source.path)
    folder = path if path.is_dir() else path.parent
    marker = folder / NAME
    if not os.path.lexists(marker):
        return ""
    try:
        with open_regular(marker) as file:
            content = json.loads(read_whole(file, LARGEST))
        simulated, files = content["simulated"], content["files"]
        if simulated not in get_args(Simulated) or not isinstance(files, list):
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        advice = "delete it if the data are real, else run visagg simulate again"
        raise SourceError(f"{marker}: not what visagg simulate writes: {advice}") from None
    return "" if path != folder and path.name not in files else simulated
