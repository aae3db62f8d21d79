"""Engines and workers that fail: what is finished is kept, and one line says what happened."""

import numpy as np
import pytest

from pipeline.core.errors import StageError, StoreError
from pipeline.core.progress import Notes
from pipeline.embed.engines import choose
from pipeline.embed.engines.engine import Engine
from pipeline.embed.parts import merge_parts
from pipeline.embed.stream import RunOptions, embed
from pipeline.embed.target import Target
from pipeline.embed.verify import Check, verify_sample
from pipeline.embeddings.store import DONE, PENDING, Embeddings
from tests.support.backbones import tiny
from tests.support.images import bank, jpeg
from tests.support.settings import embed_settings


@pytest.fixture
def images(tmp_path):
    return bank(tmp_path / "images.h5", [jpeg(seed, 16, 16) for seed in range(10)])


def options() -> RunOptions:
    return RunOptions(embed_settings(), Notes())


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e9])
def test_an_engine_that_gives_no_number_for_an_image_costs_that_image_alone(images, tmp_path, monkeypatch, wrong):
    target = Target("tiny", tiny(), tmp_path / "tiny.h5")
    embed(images, [whole := Target("tiny", tiny(), tmp_path / "whole.h5")], options())
    vectors = Embeddings(whole.path).read(np.arange(10))
    seen = iter(range(0, 10, 4))

    def run(pixels):
        batch = vectors[(start := next(seen)) : start + len(pixels)].astype(np.float32)
        if start == 4:
            batch[1, 3] = wrong
        return batch

    monkeypatch.setattr(choose, "open_engine", lambda *_, **__: Engine(run, "fake", batch_size=4, streams=1))
    with pytest.raises(StageError, match=r"fake.* gave no finite vector for 1 images \(rows 5\).*precision") as refused:
        embed(images, [target], options())
    assert "\n" not in str(refused.value)
    status = Embeddings(target.path).status
    assert status[5] == PENDING and (np.delete(status, 5) == DONE).all()
    monkeypatch.undo()
    embed(images, [target], options())
    assert target.path.read_bytes() == whole.path.read_bytes()


def test_an_engine_at_fault_makes_no_good_row_faulty(images, tmp_path, monkeypatch):
    target = Target("tiny", tiny(), tmp_path / "tiny.h5")
    embed(images, [target], options())
    nothing = Engine(lambda pixels: np.full((len(pixels), 16), np.nan, np.float32), "fake", batch_size=1, streams=1)
    monkeypatch.setattr(choose, "open_engine", lambda *_, **__: nothing)
    with pytest.raises(StageError, match=r"fake.* gives no finite vector for row"):
        verify_sample(Embeddings(target.path), images, target.backbone, check=Check(sample=3))


def test_a_damaged_part_is_to_be_embedded_again(images, tmp_path):
    target, part = Target("tiny", tiny(), tmp_path / "tiny.h5"), tmp_path / "part.h5"
    embed(images, [Target("tiny", tiny(), part)], options())
    part.write_bytes(part.read_bytes()[:700])
    with pytest.raises(StoreError, match=r"a part is not merged, embed it again: .*part.h5 is damaged") as refused:
        merge_parts(images, target, [part], console=Notes())
    assert "--rebuild" not in str(refused.value)
