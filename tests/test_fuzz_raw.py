"""Whatever bytes come as a raw file: items, purchases and rejects, or SourceError of one line, within a gigabyte."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import SourceError, Unusable
from pipeline.ingest.dvbpr.source import DVBPR
from tests.support.fuzzing import EXAMPLES, Worker
from tests.test_dvbpr import HEADER, WRITERS, array_op, op


def _valid():
    with tempfile.TemporaryDirectory() as folder:
        return [writer(Path(folder) / "a.npy").read_bytes() for writer in WRITERS.values()]


VALID = _valid()
SMALL = st.one_of(st.integers(-(2**40), 2**40), st.text(max_size=4), st.binary(max_size=4), st.none(), st.floats())
OPCODES = st.one_of(
    st.sampled_from(
        [b"(", b")", b"]", b"}", b"e", b"a", b"s", b"u", b"t", b"0", b"1", b"2", b"N", b"\x94", b"R", b"b"]
    ),
    st.sampled_from(
        [b"\x85", b"\x86", b"\x87", b"cnumpy.core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n", b"."]
    ),
    st.builds(lambda code, place: code + bytes([place]), st.sampled_from([b"h", b"q", b"K"]), st.integers(0, 9)),
    SMALL.map(op),
    st.binary(min_size=1, max_size=3),
)


@st.composite
def programs(draw):
    """A pickle made of instructions: wild, or an array of six tables that name the same things again and again."""
    wild = b"".join(draw(st.lists(OPCODES, max_size=40)))
    if draw(st.booleans()):
        return HEADER + b"\x80\x02" + wild + b"."
    count = draw(st.integers(1, 20_000))
    names = b"](](" + op("x" * draw(st.integers(1, 250))) * draw(st.integers(1, 300)) + b"eeq\x01"
    record = b"}q\x02(" + op("categories") + names + op("asin") + op("a") + b"u"
    shared = b"](" + record + b"h\x02" * count + b"eq\x03"
    parts = [b"](h\x03" + b"h\x03" * draw(st.integers(0, 3000)) + b"e", b"h\x03", b"]", op({}), op(1), op(1)]
    order = draw(st.permutations(range(4)))
    first = shared + b"0"
    return HEADER + b"\x80\x02" + first + array_op(6, b"](" + b"".join(parts[i] for i in [*order, 4, 5]) + b"e") + b"."


@st.composite
def mutants(draw):
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        change = draw(st.sampled_from(["flip", "cut", "splice", "opcode"]))
        if change == "flip" and data:
            data[place] = draw(st.integers(0, 255))
        elif change == "cut":
            del data[place : place + draw(st.integers(1, 300))]
        elif change == "splice":
            other = draw(st.sampled_from(VALID))
            start = draw(st.integers(0, len(other) - 1))
            data[place:place] = other[start : start + draw(st.integers(1, 600))]
        else:
            data[place:place] = draw(OPCODES)
    return bytes(data)


def run(data):
    path = Path(tempfile.gettempdir()) / f"visagg-fuzz-{os.getpid()}.npy"
    path.write_bytes(data)
    try:
        source = DVBPR(path)
        kept = []
        for item in source.items():
            kept.append(item)
            if image := getattr(item, "image", None):
                with suppress(Unusable):
                    image()
        kept.extend(source.purchases())
    except SourceError as fault:
        if not str(fault) or "\n" in str(fault):
            raise ValueError("no message of one line") from fault
    finally:
        path.unlink()


def fuzz(examples):
    worker = Worker(run)
    try:
        options = {"deadline": None, "database": None, "derandomize": True, "phases": [Phase.generate]}
        options["suppress_health_check"] = list(HealthCheck)
        settings(max_examples=examples, **options)(given(programs() | mutants())(worker.check))()
        print(f"{worker.cases} cases, {worker.most_memory >> 10} MiB above the start")
    finally:
        worker.close()


def test_any_bytes_are_a_source_or_one_line():
    fuzz(EXAMPLES)


@pytest.mark.long
def test_very_many_bytes_are_a_source_or_one_line():
    fuzz(max(EXAMPLES, 1000))
