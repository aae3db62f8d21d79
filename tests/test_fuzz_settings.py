"""Settings from anybody: whatever a file holds, it is settings, or refused in one short line."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.core.errors import SettingsError
from pipeline.core.text import printable
from pipeline.settings.settings import Settings, load
from tests.support.settings import SHIPPED, changed

TEXT = SHIPPED.read_bytes()
CONTENT = YAML(typ="safe").load(SHIPPED)
QUIET = {"database": None, "derandomize": True, "deadline": None, "suppress_health_check": list(HealthCheck)}
PIECES = [
    b"{",
    b"[",
    b"&a ",
    b"*a",
    b"<<: ",
    b"\0",
    b"\xff",
    b"!!python/object:os.system ",
    b"1e308",
    b"- " * 60,
    b": ",
]
PIECES += [b"9" * 5000, b"0x" + b"f" * 2000, b"'", b"\n", b"? ", b"!!set ", b"2001-99-01", b"%YAML 1.1\n---\n", b"~"]
HOSTILE = [2**63, 2**64, 10**9, -1, 0, 10**400, -(2**70), 1e308, 1e-320, float("nan"), float("inf"), True, None]
HOSTILE += ["", "\0", "a\nb", "\ud800", "x" * 100_000, "package:", "package:../x", "hub\x1b[2J", [], {}, [[]], [{}]]
HOSTILE += [{1: 2}, {"a": {"b": []}}, list(range(100_000)), [0.1] * 1000, b"\xff", {"pool": "mean", "hidden": 2**64}]
HOSTILE += [{"x": {"pool": "nextvlad", "groups": 2**40}}, {"x": {"pool": "multi_query", "queries": 8000}}]


def keys(section, prefix=""):
    for name, value in section.items():
        yield prefix + name
        if isinstance(value, dict) and value:
            yield from keys(value, f"{prefix}{name}.")


KEYS = sorted(keys(CONTENT))
VALUES = st.sampled_from(HOSTILE) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
EDITS = st.lists(
    st.tuples(st.integers(0, len(TEXT)), st.integers(0, 30), st.sampled_from(PIECES) | st.binary(max_size=6)),
    min_size=1,
    max_size=4,
)


def judged(path):
    """Settings, or one short line."""
    try:
        assert isinstance(load(path), Settings)
    except SettingsError as error:
        line = str(error).removeprefix(str(path))
        assert len(line) < 500 and printable(line) == line


def try_text(path, edits):
    text = TEXT
    for at, length, piece in edits:
        text = text[:at] + piece + text[at + length :]
    path.write_bytes(text)
    judged(path)


def try_value(monkeypatch, path, key, value):
    monkeypatch.setattr("pipeline.settings.settings.read_yaml", lambda _: changed({key: value}))
    judged(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "params.yaml"


def fuzz_text(path, cases):
    settings(max_examples=cases, **QUIET)(given(edits=EDITS)(lambda edits: try_text(path, edits)))()


def fuzz_values(monkeypatch, path, cases):
    def case(key, value):
        try_value(monkeypatch, path, key, value)

    settings(max_examples=cases, **QUIET)(given(key=st.sampled_from(KEYS), value=VALUES)(case))()


def test_any_text_is_settings_or_refused_in_a_line(path):
    fuzz_text(path, 15)


def test_any_value_is_settings_or_refused_in_a_line(monkeypatch, path):
    fuzz_values(monkeypatch, path, 150)


@pytest.mark.long
def test_every_key_takes_hostile_values(monkeypatch, path):
    for key in KEYS:
        for value in HOSTILE:
            try_value(monkeypatch, path, key, value)


@pytest.mark.long
def test_much_text_and_many_values(monkeypatch, path):
    fuzz_text(path, 400)
    fuzz_values(monkeypatch, path, 1500)
