"""How fast heads train: sets a second, against a plain torch loop that reads each set's rows from HDF5."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import joblib
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pipeline import batches, machine, tuning
from pipeline.batches import SetData
from pipeline.embeddings import Embeddings
from pipeline.heads import HeadSpec, build_head

if TYPE_CHECKING:
    from pipeline.params import TrainSettings


class RowsFromFile(Dataset):
    """Sets of rows of a store, read from the file each time: what one writes first."""

    def __init__(self, store: Path, rows: list[np.ndarray], y: Tensor):
        self._store, self._rows, self._y, self._file = store, rows, y, None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if self._file is None:  # in the worker: a handle does not survive a fork
            self._file = h5py.File(self._store, "r", locking=False)
        rows = np.sort(self._rows[index])  # h5py asks for ascending rows
        return torch.from_numpy(self._file["embedding"][rows].astype(np.float32)), self._y[index]


def _collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    x = nn.utils.rnn.pad_sequence([vectors for vectors, _ in samples], batch_first=True)
    lengths = torch.tensor([len(vectors) for vectors, _ in samples])
    return x, torch.arange(x.shape[1]) < lengths[:, None], torch.stack([y for _, y in samples])


@dataclass(frozen=True)
class Sets:
    """What is trained on.

    Attributes:
        store: the embedding store.
        rows: each training set's rows in it.
        train: the training sets in memory.
        validation: the validation sets in memory.
    """

    store: Path
    rows: list[np.ndarray]
    train: SetData
    validation: SetData


def measure_training(
    specs: dict[str, HeadSpec],
    store_path: Path,
    sets_path: Path,
    labels_path: Path,
    settings: "TrainSettings",
    rounds: int,
) -> dict:
    """Trains each head both ways, in turn, some rounds.

    The reference makes an epoch of one run, with a DataLoader of as many workers as cores. Ours makes an epoch of every
    run that tuning makes, validation after it included.

    Returns:
        The machine, and for each head the sets a second of both, the ratio (of medians), and its range over the rounds.
    """
    sets = _load(store_path, sets_path, labels_path)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in specs}
    for _ in range(rounds):
        for name, spec in specs.items():
            rates[name].append((_plain(spec, sets, settings), _ours(spec, sets, settings)))
    return {
        "machine": {"processor": machine.processor(), "cores": joblib.cpu_count(), "torch": torch.__version__},
        "sets": len(sets.train),
        "heads": [{"name": name, **_summary(pairs)} for name, pairs in rates.items()],
    }


def _load(store_path: Path, sets_path: Path, labels_path: Path) -> Sets:
    store = Embeddings(store_path)
    train, validation = (batches.load(sets_path, labels_path, store, split) for split in ("train", "validation"))
    rows = [train.images[own[mask]].numpy() for own, mask in zip(train.rows, train.mask)]
    return Sets(store_path, rows, train, validation)


def _plain(spec: HeadSpec, sets: Sets, settings: "TrainSettings") -> float:
    """Sets a second of an epoch of a plain loop."""
    torch.set_num_threads(joblib.cpu_count())
    head = build_head(spec, sets.train.vectors.shape[1], sets.train.y.shape[1])
    if spec.standardised:
        head.standardise(*sets.train.moments())
    loader = DataLoader(
        RowsFromFile(sets.store, sets.rows, sets.train.y),
        settings.batch_size,
        shuffle=True,
        num_workers=joblib.cpu_count(),
        collate_fn=_collate,
    )
    optimiser = torch.optim.AdamW(head.parameters(), settings.learning_rates[0], weight_decay=settings.weight_decay)
    loss_of = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(settings.positive_weight))

    def epoch() -> int:
        for x, mask, y in loader:
            loss_of(head(x, mask), y).backward()
            optimiser.step()
            optimiser.zero_grad()
        return len(sets.train)

    return _rate(epoch)


def _ours(spec: HeadSpec, sets: Sets, settings: "TrainSettings") -> float:
    """Sets a second, over all runs, of an epoch as tuning makes it."""
    once = settings.model_copy(update={"max_epochs": 1})
    return _rate(lambda: len(sets.train) * tuning.tune(spec, sets.train, sets.validation, once).runs)


def _rate(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - start)


def _summary(pairs: list[tuple[float, float]]) -> dict:
    plain, ours = (statistics.median(rate) for rate in zip(*pairs))
    ratios = [own / other for other, own in pairs]
    return {
        "plain": round(plain, 1),
        "visagg": round(ours, 1),
        "ratio": round(ours / plain, 2),
        "ratio_low": round(min(ratios), 2),
        "ratio_high": round(max(ratios), 2),
    }


def table(result: dict) -> str:
    """The result for people."""
    width = max(len(row["name"]) for row in result["heads"])
    lines = [f"{'head':{width}}  plain, sets/s  visagg, sets/s  ratio"]
    lines += [
        f"{row['name']:{width}}  {row['plain']:13,.0f}  {row['visagg']:14,.0f}  "
        f"{row['ratio']:.1f} [{row['ratio_low']:.1f}, {row['ratio_high']:.1f}]"
        for row in result["heads"]
    ]
    return "\n".join(lines)
