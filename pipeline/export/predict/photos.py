"""Photos by the names that a user gives: files, folders with all that is below them, and zip files."""

import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from pipeline.core.errors import StageError, Unusable
from pipeline.core.regular_file import LARGEST_IMAGE, Irregular, open_regular, read_whole

MOST_MEMBERS = 1_000_000  # of a zip file
TOO_LARGE = f"a file of more than {LARGEST_IMAGE >> 20} MiB"


@dataclass(frozen=True)
class Photo:
    """A photo that nobody has read yet.

    Attributes:
        name: for people: where it lies, below what the user named.
        parts: the same in pieces, without what the user named: folders, and at last the file's name.
        read: gives its bytes, or raises Unusable.
    """

    name: str
    parts: tuple[str, ...]
    read: Callable[[], bytes]


def find_photos(paths: Sequence[Path]) -> Iterator[Photo]:
    """Every file that the paths stand for, in the order of the paths, and sorted below each.

    What a file holds is not looked at: one that is no photo says so when it is read. Hidden files and folders are left
    out; links below a folder are not followed.

    Raises:
        StageError: when a path stands for nothing, or a zip file is damaged.
    """
    for path in paths:
        if path.is_dir():
            yield from _in_folder(path, ())
        elif not path.exists():
            raise StageError(f"{path} is missing: name photos, folders or zip files that are there")
        elif path.suffix.lower() == ".zip":
            yield from _in_zip(path)
        else:
            yield Photo(str(path), (path.name,), partial(_read, path))


def _in_folder(top: Path, below: tuple[str, ...]) -> Iterator[Photo]:
    folder = top.joinpath(*below)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise StageError(f"{folder} cannot be read: {error.strerror}") from None
    for entry in entries:
        parts = (*below, entry.name)
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _in_folder(top, parts)
        else:
            yield Photo(str(entry), parts, partial(_read, entry))


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            data = read_whole(file, LARGEST_IMAGE + 1)
    except Irregular as error:
        raise Unusable(str(error)) from None
    except (OSError, ValueError) as error:
        raise Unusable(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > LARGEST_IMAGE:
        raise Unusable(TOO_LARGE)
    return data


def _in_zip(path: Path) -> Iterator[Photo]:
    """The members of a zip file, which is never unpacked: their names are only shown."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise StageError(f"{path} is no zip file that can be read: {str(error) or type(error).__name__}") from None
    if len(members) > MOST_MEMBERS:
        raise StageError(f"{path} has more than {MOST_MEMBERS:,} members")
    for member in members:
        parts = tuple(part for part in PurePosixPath(member.filename).parts if part not in ("/", "..", "."))
        hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
        if parts and not hidden and not member.is_dir() and not stat.S_ISLNK(member.external_attr >> 16):
            yield Photo(f"{path}/{'/'.join(parts)}", parts, partial(_read_member, path, member))


def _read_member(path: Path, member: zipfile.ZipInfo) -> bytes:
    """A member's bytes; each is opened by itself, so that threads share nothing."""
    if member.file_size > LARGEST_IMAGE:
        raise Unusable(TOO_LARGE)
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive, archive.open(member) as opened:
            data = opened.read(LARGEST_IMAGE + 1)
    except Exception as error:  # zlib, lzma and zipfile raise of many kinds on what is damaged or encrypted
        raise Unusable(f"cannot be unpacked: {str(error).partition(chr(10))[0] or type(error).__name__}") from None
    if len(data) > LARGEST_IMAGE:
        raise Unusable(TOO_LARGE)
    return data
