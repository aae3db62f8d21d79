"""Whatever bytes come as an image: pixels, or a refusal of one line, in seconds and within a gigabyte."""

import io
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.errors import Unusable
from pipeline.images import FORMATS, decode
from tests.support.fuzzing import EXAMPLES, Worker


def _valid(kind):
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(1).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    options = {"exif": exif, "progressive": True} if kind == "JPEG" else {}
    picture.save(stream, kind, **options)
    return stream.getvalue()


VALID = [_valid(kind) for kind in FORMATS]
NUMBERS = st.sampled_from([0, 1, 255, 256, 65535, 7000, 65536, 2**31 - 1, 2**32 - 1])


@st.composite
def images(draw):
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        place = draw(st.integers(0, min(len(data), draw(st.sampled_from([40, 200, 4000]))) - 1))
        change = draw(st.sampled_from(["flip", "cut", "splice", "number", "repeat"]))
        if change == "flip":
            data[place] = draw(st.integers(0, 255))
        elif change == "cut":
            del data[place : place + draw(st.integers(1, 400))]
        elif change == "splice":
            other = draw(st.sampled_from(VALID))
            data[place:place] = other[: draw(st.integers(1, len(other)))]
        elif change == "number":
            form = draw(st.sampled_from([">H", "<H", ">I", "<I"]))
            size = struct.calcsize(form)
            data[place : place + size] = struct.pack(form, draw(NUMBERS) % (1 << 8 * size))
        else:
            part = bytes(data[place : place + draw(st.integers(1, 100))])
            data[place:place] = part * draw(st.integers(1, 300))
    return bytes(data)


def run(data):
    try:
        pixels = decode(data)
    except Unusable as fault:
        if fault.reason and "\n" not in fault.reason:
            return
        raise ValueError("no reason of one line") from fault
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


def fuzz(examples):
    worker = Worker(run)
    try:
        options = {"deadline": None, "database": None, "derandomize": True, "phases": [Phase.generate]}
        settings(max_examples=examples, suppress_health_check=list(HealthCheck), **options)(
            given(images())(worker.check)
        )()
        print(f"{worker.cases} cases, {worker.most_memory >> 10} MiB above the start")
    finally:
        worker.close()


def test_any_bytes_are_pixels_or_a_refusal():
    fuzz(EXAMPLES)


@pytest.mark.long
def test_very_many_bytes_are_pixels_or_a_refusal():
    fuzz(max(EXAMPLES, 1000))
