"""Adapters on the disk: what is saved is what is loaded, and misuse is refused in a line."""

import numpy as np
import pytest

from pipeline.core.errors import StageError, StoreError
from pipeline.swap import adapters
from pipeline.swap.adapters import Adapter

NEW, OLD = {"weights": "new", "preprocessing": {"size": 240}}, {"weights": "old", "preprocessing": {"size": 224}}
SETS = "abc"


@pytest.fixture
def adapter():
    generator = np.random.default_rng(0)
    matrix, offset = generator.normal(size=(12, 9)).astype(np.float32), generator.normal(size=9).astype(np.float32)
    return Adapter("reduced_rank", matrix, offset, {"strength": 0.5, "rank": 4}, 300, NEW, OLD, SETS)


def test_saved_and_loaded_an_adapter_is_the_same(adapter, tmp_path):
    path = tmp_path / "old/new.safetensors"
    adapters.save(path, adapter)
    first = path.read_bytes()
    loaded = adapters.load(path, NEW, OLD, sets_digest=SETS)
    for name in adapters.DESCRIPTION:
        assert getattr(loaded, name) == getattr(adapter, name)
    x = np.random.default_rng(1).normal(size=(5, 12)).astype(np.float16)
    np.testing.assert_array_equal(loaded.apply(x), adapter.apply(x))
    np.testing.assert_allclose(loaded.apply(x), x.astype(float) @ adapter.matrix + adapter.offset, rtol=1e-4, atol=1e-5)
    assert loaded.parameters() == 12 * 9 + 9
    adapters.save(path, adapter)
    assert path.read_bytes() == first


def test_an_adapter_refuses_other_vectors_with_the_fields_that_differ(adapter, tmp_path):
    path = tmp_path / "old/new.safetensors"
    adapters.save(path, adapter)
    with pytest.raises(StoreError, match=r"other new vectors .weights: x, not new.: run visagg swap again"):
        adapters.load(path, {**NEW, "weights": "x"}, OLD, sets_digest=SETS)
    with pytest.raises(StoreError, match=r"other old vectors .preprocessing.size: 300, not 224."):
        adapters.load(path, NEW, {**OLD, "preprocessing": {"size": 300}}, sets_digest=SETS)
    with pytest.raises(StageError, match="other sets"):
        adapters.load(path, NEW, OLD, sets_digest="def")
    with pytest.raises(StoreError, match="other new vectors"):
        adapters.load(path, OLD, NEW, sets_digest=SETS)


def test_a_missing_or_damaged_adapter_is_told_in_a_line(adapter, tmp_path):
    path = tmp_path / "lite0/lite1.safetensors"
    with pytest.raises(StageError, match="run visagg swap lite0 lite1"):
        adapters.load(path, NEW, OLD, sets_digest=SETS)
    adapters.save(path, adapter)
    whole = path.read_bytes()
    for content in (whole[:200], b"", whole.replace(b'"adapter"', b'"adopter"')):
        path.write_bytes(content)
        with pytest.raises(StageError, match=r"is damaged .*: run visagg swap again") as refused:
            adapters.load(path, NEW, OLD, sets_digest=SETS)
        assert "\n" not in str(refused.value)
