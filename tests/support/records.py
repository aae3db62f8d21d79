"""Records that somebody else wrote: sealed, and yet not what a stage would hand over."""

import json
from pathlib import Path
from typing import Any

from pipeline.core.handover import SEAL, file_digest, write_record


def rewrite(path: Path, **changes: Any) -> None:
    """Changes some fields of a record, and seals it anew."""
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[SEAL]
    write_record(path, {**content, **changes})


def rewrite_files(path: Path, *names: str) -> None:
    """Makes a record speak for files of its folder as they are now."""
    files = json.loads(path.read_text(encoding="utf-8"))["files"]
    rewrite(path, files={**files, **{name: file_digest(path.parent / name) for name in names}})


def unsealed(path: Path) -> dict:
    """What a record says."""
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[SEAL]
    return content
