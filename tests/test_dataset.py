"""Sets and their vectors to batches: each split is its sets alone, with the vectors of their images."""

import numpy as np
import polars as pl
import pytest
import torch

from pipeline.catalogue.labelled_sets import SETS, read_sets
from pipeline.core import provenance
from pipeline.core.errors import StageError, StoreError
from pipeline.embeddings.store import Embeddings
from pipeline.embeddings.writer import open_for_writing
from pipeline.heads.classifier import build_head
from pipeline.heads.presets import PRESETS
from pipeline.project import Project
from pipeline.training import dataset, vectors
from pipeline.training.vectors import HeldVectors, StoredVectors
from tests.support.labelled import write_sets

VECTORS, NOTHING = np.array([[n + 1, -n, n * n / 8] for n in range(7)], np.float32), [0, 0, 0]  # images', padding's


@pytest.fixture
def load(tmp_path):
    """Reads a split of a few sets whose image 5 is unreadable and whose image 6 is still pending."""
    digests = np.stack([np.frombuffer(provenance.digest(bytes([n])), np.uint8) for n in range(7)])
    project = Project(tmp_path)
    with open_for_writing(project.store("net"), {"dim": 3}, digests, parameters=1) as writer:
        writer.write(np.arange(5), VECTORS[:5])
        writer.write_unreadable(np.array([5]))
    rows = [
        ("a", [4, 1], [0], "train"),
        ("b", [0, 5, 1, 2], [1, 2], "train"),
        ("c", [5], [0], "train"),
        ("d", [3, 0], [2], "validation"),
        ("e", [3, 6], [0], "test"),
    ]

    def read(split, rows=rows, digests=digests):
        frame, images_digest = pl.DataFrame(rows, schema=SETS, orient="row"), provenance.digest_images(digests)
        write_sets(project, frame=frame, labels=["x", "y", "z"], images_digest=images_digest)
        return dataset.load(read_sets(project.sets, project.labels), Embeddings(project.store("net")), split)

    return read


def test_a_split_is_its_own_sets_with_the_vectors_of_their_images(load):
    train, validation, v = load("train"), load("validation"), VECTORS.tolist()
    assert train.set_ids == ["a", "b"]  # c had one image, which cannot be read; b goes on without it
    whole = train.batch(slice(None))
    assert whole.x.tolist() == [[v[4], v[1], NOTHING], [v[0], v[1], v[2]]]
    assert whole.mask.tolist() == [[True, True, False], [True, True, True]]
    assert whole.y.tolist() == [[1, 0, 0], [0, 1, 1]] == train.truth().tolist()
    assert torch.equal(torch.cat([batch.x for batch in train.batches(1)]), whole.x)
    assert torch.equal(train.batch(torch.tensor([1, 0])).x, whole.x.flip(0))
    assert validation.set_ids == ["d"] and validation.vectors.take(torch.arange(3)).tolist() == [v[0], v[3], NOTHING]


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_vectors_are_measured_once_an_image_and_standardised_but_for_padding(load, monkeypatch, block):
    monkeypatch.setattr(vectors, "BLOCK", block)
    train, head, distinct = load("train"), build_head(PRESETS["average_fc"], dim=3, classes=3), VECTORS[[0, 1, 2, 4]]
    mean, std = train.moments
    np.testing.assert_allclose([mean.numpy(), std.numpy()], [distinct.mean(0), distinct.std(0)], rtol=1e-6)
    standard = train.standardised(mean, std).batch(slice(None))
    np.testing.assert_allclose(standard.x[1], (VECTORS[:3] - distinct.mean(0)) / distinct.std(0), rtol=1e-5)
    assert standard.x[0, 2].tolist() == NOTHING
    wanted = torch.sigmoid(head(standard.x, standard.mask)).detach().numpy()
    head.standardise(mean, std)
    monkeypatch.setattr(dataset, "SCORING_BATCH", 1)
    np.testing.assert_allclose(dataset.scores(head, train), wanted, rtol=1e-5)


def test_vectors_that_stay_in_their_store_are_the_same_as_held_ones(load, monkeypatch):
    held = load("train")
    monkeypatch.setattr(vectors, "MOST_HELD", 0)
    stored = load("train")
    assert isinstance(held.vectors, HeldVectors) and isinstance(stored.vectors, StoredVectors)
    assert all(map(torch.equal, held.moments, stored.moments))
    wider = torch.arange(6.0).reshape(3, 2)
    head = build_head(PRESETS["average_fc"], dim=2, classes=3)
    ways = [data.standardised(*data.moments).mapped(lambda x: x @ wider) for data in (held, stored)]
    first, second = (data.batch(slice(None)) for data in ways)
    assert torch.equal(first.x, second.x) and torch.equal(first.mask, second.mask) and not second.x[~second.mask].any()
    for data in ways:
        rows = data.rows[torch.tensor([1, 0])]
        table, places = data.vectors.table(rows)
        assert torch.equal(table[places], first.x.flip(0))
        assert len(data.vectors) == 4 and data.vectors.dim == 2
    assert torch.equal(*(torch.cat(list(data.vectors.blocks())) for data in ways))
    np.testing.assert_array_equal(*(dataset.scores(head, data) for data in ways))


def test_a_damaged_row_is_found_before_it_is_gathered(load, monkeypatch, tmp_path):
    load("train")
    damaged = Embeddings(Project(tmp_path).store("net"))
    with damaged.path.open("r+b") as file:
        file.seek(damaged.offsets["embedding"] + 4 * 3 * 2)
        file.write(b"\1")
    monkeypatch.setattr(vectors, "MOST_HELD", 0)
    with pytest.raises(StoreError, match="1 rows are damaged, the first is 4"):
        load("train")


def test_what_does_not_fit_the_sets_is_refused(load):
    with pytest.raises(StoreError, match="unfinished: run visagg embed net"):
        load("test")
    with pytest.raises(StoreError, match="other images than the sets: run visagg embed net"):
        load("train", digests=np.zeros((7, 16), np.uint8))
    with pytest.raises(StageError, match="no set of the test split has a readable image"):
        load("test", rows=[("e", [5], [0], "test"), ("a", [1], [0], "train")])
