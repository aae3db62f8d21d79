"""Stage one, with a real backbone on real photos, against many kills; and with very many images. Run by hand:

    pytest -n 0 -m long tests/test_reliability_long.py -s

takes some twenty minutes. It needs the photos (VISAGG_PHOTOS); the counts that it prints belong in reports/evidence.md.
A kill at every write call, of this stage and of all others, is test_faults_long.py's.
"""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from pipeline.catalogue.images import write_images
from pipeline.core import provenance
from pipeline.embeddings.store import DONE, Embeddings
from pipeline.project import Project
from tests.support.extraction import Extraction, kill_until_finished, uninterrupted
from tests.support.images import jpeg
from tests.support.settings import ROOT

pytestmark = pytest.mark.long

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def write_catalogue(path, photos, limit=None) -> None:
    """The distinct photos of a folder."""
    with write_images(path) as writer:
        for file in sorted(photos.glob("*/*.jpg"))[:limit]:
            data = file.read_bytes()
            if writer.row(digest := provenance.digest(data)) is None:
                writer.append(data, digest)


def test_random_kills_on_real_photos(project, photos):
    write_catalogue(Project(project).images, photos)
    extraction = Extraction(project, batch=16, real=True)
    whole, kills, repeated = uninterrupted(extraction), 0, 0
    while kills < 40:
        kills += kill_until_finished(extraction, whole, wait=2.0, kills=40 - kills)
        assert extraction.store.read_bytes() == whole.path.read_bytes()
        repeated += extraction.repeated(whole)
        extraction.store.unlink()
        extraction.notes.unlink()
    print(f"\nrandom kills: {kills}; images {len(whole)}; embedded again {repeated}; lost rows 0; wrong rows 0")
    assert repeated <= extraction.in_flight * kills


MANY = """
from pathlib import Path
from pipeline.catalogue.images import Images
from pipeline.embed.stream import RunOptions, embed
from pipeline.embed.target import Target
from pipeline.project import Project
from tests.support.backbones import tiny
from tests.support.settings import embed_settings
project = Project()
target = Target("tiny", tiny(dim=1024), project.store("tiny"))
embed(Images(project.images), [target], RunOptions(embed_settings(batch_size=64)))
lines = Path("/proc/self/status").read_text().splitlines()  # getrusage counts what the parent had at the fork, too
print(next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")))
"""


def test_two_hundred_thousand_images_stay_in_bounded_memory(project):
    """Small images, another comment in each; a backbone of next to nothing, since memory is the question."""
    plain = jpeg(0, 40, 40)
    with write_images(Project(project).images) as writer:
        for number in range(200_000):
            data = plain[:2] + b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big") + plain[2:]
            writer.append(data, provenance.digest(data))
    words = {"cwd": project, "env": ENVIRONMENT, "capture_output": True, "text": True}
    first = subprocess.run([sys.executable, "-c", MANY], **words)
    assert first.returncode == 0, first.stderr[-2000:]
    start = time.monotonic()
    again = subprocess.run([sys.executable, "-c", MANY], **words)
    seconds = time.monotonic() - start
    print(f"\n200,000 images: {first.stdout.strip()} MB; again, finished: {seconds:.1f} s, {again.stdout.strip()} MB")
    assert int(first.stdout) < 2000
    store = Embeddings(Project(project).store("tiny"))
    store.read(np.arange(len(store)))
    assert len(store.damaged()) == 0 and (store.status == DONE).all()
