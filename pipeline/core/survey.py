"""What lies in a folder of raw data, for DVC: a digest of every file's name, size and time, and none is opened.

DVC would read each byte of a folder that a stage depends on, and wait for ever at a pipe. This looks at names alone: so
it takes seconds where the data take hours, and notices what is new, gone, or written again.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from pipeline.core import handover, provenance
from pipeline.core.progress import Console, Progress
from pipeline.core.text import shown

KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
DANGLING, CLOSED = "a link to nothing", "a folder that cannot be listed"


@dataclass
class Survey:
    """What was seen of a folder.

    Attributes:
        left_out: how many entries are no files and no folders, by what they are.
        examples: one of each.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Path] = field(default_factory=dict)

    def files(self, path: Path) -> Iterator[tuple[Path, os.stat_result]]:
        """Yields a file, or every file below a folder, links followed, in the order of names; with what it is."""
        waiting, seen = [path], set()
        while waiting:
            path = waiting.pop()
            try:
                what = path.stat()
            except (OSError, ValueError):
                self._leave_out(path, DANGLING)
                continue
            if stat.S_ISREG(what.st_mode):
                yield path, what
            elif not stat.S_ISDIR(what.st_mode):
                self._leave_out(path, KINDS.get(stat.S_IFMT(what.st_mode), "no file"))
            elif (what.st_dev, what.st_ino) not in seen:  # else a link leads back
                seen.add((what.st_dev, what.st_ino))
                waiting += self._entries(path)

    def _entries(self, folder: Path) -> list[Path]:
        """What is in a folder, the last name first."""
        try:
            return sorted(folder.iterdir(), reverse=True)
        except OSError:
            self._leave_out(folder, CLOSED)
            return []

    def _leave_out(self, path: Path, kind: str) -> None:
        self.left_out[kind] += 1
        self.examples.setdefault(kind, path)

    def lines(self) -> list[str]:
        """What was left out, a line a kind."""
        lines = []
        for kind, count in sorted(self.left_out.items()):
            more = f", and so {'is' if count == 2 else 'are'} {count - 1} more" if count > 1 else ""
            lines.append(f"source: {shown(str(self.examples[kind]))} is {kind}{more}: left out")
        return lines


def write_survey(source: Path | None, *, to: Path) -> str:
    """Writes what the raw data are, so that DVC sees them change, as a record.

    Args:
        source: a file or folder; None where nothing is read.
        to: the record.

    Returns:
        How much there is, for people. What is no file is told on standard error: nothing waits for it.
    """
    if source is None:
        handover.write_record(to, {"path": None})
        return f"source: it is drawn, and nothing is read: {to}"
    survey, count, size = Survey(), 0, 0
    digest = blake2b(digest_size=provenance.DIGEST_BYTES)
    with Progress("source", None, "files") as progress:
        for path, what in survey.files(source):
            name = os.fsencode(path.relative_to(source))
            digest.update(b"%d %d %d %b\0" % (len(name), what.st_size, what.st_mtime_ns, name))
            count, size = count + 1, size + what.st_size
            progress.add()
    for line in survey.lines():
        Console().say(line)
    handover.write_record(to, {"path": str(source), "files": count, "bytes": size, "digest": digest.hexdigest()})
    return f"source: {count:,} files, {size:,} bytes in {source}: {to}"
