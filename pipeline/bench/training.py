"""How fast heads train: sets a second, against a plain torch loop that reads each set's rows from HDF5.

Beside that, the share of what the machine's matrix products would allow.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import joblib
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from pipeline.catalogue.labelled_sets import read_sets
from pipeline.core.files import write_json
from pipeline.core.machine import processor
from pipeline.embeddings.store import Embeddings
from pipeline.heads.classifier import build_head
from pipeline.heads.spec import HeadSpec
from pipeline.project import Project
from pipeline.training import dataset
from pipeline.training.fit import Data
from pipeline.training.tuning import tune

if TYPE_CHECKING:
    from pipeline.settings.sections import TrainSettings
    from pipeline.settings.settings import Settings

PRODUCT = (410, 1280, 256)  # the matrix product of a step: 82 sets of 5 photos, a hidden layer of 256
PRODUCTS = 100  # in a measurement, by each thread


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        backbone: the alias whose vectors heads train on.
        heads: by name.
        rounds: turns that both ways take.
    """

    backbone: str
    heads: Sequence[str]
    rounds: int = 3


@dataclass(frozen=True)
class Sets:
    """What is trained on.

    Attributes:
        store: the embedding store.
        rows: each training set's rows in it, int64 [s].
        data: the training and the validation sets in memory.
    """

    store: Path
    rows: list[np.ndarray]
    data: Data


class RowsFromFile(Dataset):
    """Sets of rows of a store, read from the file each time: what one writes first.

    Args:
        store: the embedding store.
        rows: each set's rows in it.
        y: each set's labels, float32 [n, c].
    """

    def __init__(self, store: Path, rows: list[np.ndarray], y: Tensor):
        self._store, self._rows, self._y = store, rows, y
        self._file: h5py.File | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """A set's vectors, float32 [s, d], and its labels, float32 [c]."""
        if self._file is None:  # in the worker: a handle does not survive a fork
            self._file = h5py.File(self._store, "r", locking=False)
        rows = np.sort(self._rows[index])  # h5py asks for ascending rows
        return torch.from_numpy(self._file["embedding"][rows].astype(np.float32)), self._y[index]


def bench_training(
    project: Project, comparison: Comparison, settings: "Settings", *, json_path: Path | None = None
) -> str:
    """Measures how fast heads train on a backbone's vectors; writes the values, and gives a table."""
    specs = {head: settings.head(head) for head in comparison.heads}
    sets = load_sets(project, comparison.backbone)
    measured = measure_training(specs, sets, settings.train, rounds=comparison.rounds)
    if json_path:
        write_json(json_path, measured)
    return table(measured)


def measure_training(specs: dict[str, HeadSpec], sets: Sets, settings: "TrainSettings", *, rounds: int) -> dict:
    """Trains each head both ways, in turn, some rounds.

    The reference makes an epoch of one run, with a DataLoader of as many workers as cores. This program makes an epoch
    of every run that tuning makes, validation after it included.

    Returns:
        The machine, and for each head the sets a second of both, the ratio (of medians), its range over the rounds, and
        the share of the machine's rate of matrix products that the second way's own products reach.
    """
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in specs}
    products = []
    for _ in range(rounds):
        products.append(_product_rate())
        for name, spec in specs.items():
            rates[name].append((_plain_rate(spec, sets, settings), _tuning_rate(spec, sets, settings)))
    most = statistics.median(products)
    machine = {"processor": processor(), "cores": joblib.cpu_count(), "torch": torch.__version__}
    heads = []
    for name, pairs in rates.items():
        summary = _summary(pairs)
        operations = operations_a_set(specs[name], sets, settings.batch_size)
        heads.append({"name": name, **summary, "share": round(summary["visagg"] * operations / most, 2)})
    return {
        "machine": {**machine, "products_gflops": round(most / 1e9, 1)},
        "sets": len(sets.data.train),
        "heads": heads,
    }


def operations_a_set(spec: HeadSpec, sets: Sets, batch_size: int) -> float:
    """Multiplications and additions of a step's matrix products, forwards and back, for each of its sets."""
    train = sets.data.train
    head, chosen = build_head(spec, train.vectors.dim, train.y.shape[1]), torch.arange(min(batch_size, len(train)))
    with FlopCounterMode(display=False) as counter:
        head.logits_of_rows(*train.vectors.table(train.rows[chosen]), train.mask[chosen]).sum().backward()
    return counter.get_total_flops() / len(chosen)


def _product_rate() -> float:
    """Multiplications and additions a second of a matrix product, on every core at a time."""
    torch.set_num_threads(1)
    rows, inner, columns = PRODUCT
    a, b = torch.ones(rows, inner), torch.ones(inner, columns)

    def multiply() -> int:
        for _ in range(PRODUCTS):
            a @ b
        return 2 * rows * inner * columns * PRODUCTS

    cores = joblib.cpu_count()
    tasks = [joblib.delayed(multiply)()] * cores
    return _rate(lambda: sum(joblib.Parallel(cores, backend="threading")(tasks)))


def load_sets(project: Project, backbone: str) -> Sets:
    """The sets with a backbone's vectors, both in memory and as rows of its store."""
    store = Embeddings(project.store(backbone))
    labelled = read_sets(project.sets, project.labels)
    data = Data(*(dataset.load(labelled, store, split) for split in ("train", "validation")))
    rows = [data.train.images[rows[mask]].numpy() for rows, mask in zip(data.train.rows, data.train.mask, strict=True)]
    return Sets(store.path, rows, data)


def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Sets of RowsFromFile to a batch: x float32 [b, s, d], mask bool [b, s], y float32 [b, c]."""
    x = nn.utils.rnn.pad_sequence([vectors for vectors, _ in samples], batch_first=True)
    lengths = torch.tensor([len(vectors) for vectors, _ in samples])
    return x, torch.arange(x.shape[1]) < lengths[:, None], torch.stack([y for _, y in samples])


def _plain_rate(spec: HeadSpec, sets: Sets, settings: "TrainSettings") -> float:
    """Sets a second of an epoch of a plain loop."""
    torch.set_num_threads(joblib.cpu_count())
    head = build_head(spec, sets.data.train.vectors.dim, sets.data.train.y.shape[1])
    if spec.standardised:
        head.standardise(*sets.data.train.moments)
    loader = DataLoader(
        RowsFromFile(sets.store, sets.rows, sets.data.train.y),
        settings.batch_size,
        shuffle=True,
        num_workers=joblib.cpu_count(),
        collate_fn=collate,
    )
    optimiser = torch.optim.AdamW(head.parameters(), settings.learning_rates[0], weight_decay=settings.weight_decay)
    loss_of = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(settings.positive_weight))

    def epoch() -> int:
        for x, mask, y in loader:
            loss_of(head(x, mask), y).backward()
            optimiser.step()
            optimiser.zero_grad()
        return len(sets.data.train)

    return _rate(epoch)


def _tuning_rate(spec: HeadSpec, sets: Sets, settings: "TrainSettings") -> float:
    """Sets a second, over all runs, of an epoch as tuning makes it."""
    single = settings.model_copy(update={"cycles": [1]})
    return _rate(lambda: len(sets.data.train) * len(tune(spec, sets.data, single).runs))


def _rate(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - start)


def _summary(pairs: list[tuple[float, float]]) -> dict:
    plain, tuning = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    ratios = [fast / slow for slow, fast in pairs]
    return {
        "plain": round(plain, 1),
        "visagg": round(tuning, 1),
        "ratio": round(tuning / plain, 2),
        "ratio_low": round(min(ratios), 2),
        "ratio_high": round(max(ratios), 2),
    }


def table(result: dict) -> str:
    """The result for people."""
    length = max(len(row["name"]) for row in result["heads"])
    lines = [f"{'head':{length}}  plain, sets/s  visagg, sets/s  of products' rate  ratio"]
    lines += [
        f"{row['name']:{length}}  {row['plain']:13,.0f}  {row['visagg']:14,.0f}  "
        f"{row['share']:17.0%}  {row['ratio']:.1f} [{row['ratio_low']:.1f}, {row['ratio_high']:.1f}]"
        for row in result["heads"]
    ]
    return "\n".join(lines)
