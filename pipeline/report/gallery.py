"""Some users of the test split as a person can judge them: their images, their interests, and every head's answer.

Good and bad cases alike: most users stand at evenly spread places of the order from the worst answered to the best,
the rest are those whose answers differ most between the heads. Nobody chooses by eye.
"""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline import images
from pipeline.catalogue.images import Images
from pipeline.catalogue.labelled_sets import read_sets
from pipeline.catalogue.tables import Catalogue
from pipeline.core import handover
from pipeline.core.errors import StageError, Unusable
from pipeline.core.lock import hold
from pipeline.evaluation import results
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

SPREAD, DISPUTED = 8, 4  # users by quality of their answers, and users whose answers differ
SIDE = 96  # pixels
SHOWN = 10  # best labels a head, with their scores
DIGITS = 3


def make_gallery(project: Project, settings: "Settings") -> str:
    """Writes the gallery as JSON.

    | key | content |
    |---|---|
    | labels | names, in index order |
    | pairs | [backbone, head] that have scores, in the order declared |
    | missing | [backbone, head] that have none |
    | images | row in images.h5: item_id, title, and jpeg (base64; "" with the reason under "unusable") |
    | users | set_id; why (how it was chosen); f1 (mean over the pairs); images (rows); true (label indices); answers |
    | answers | one a pair: f1; weights (one an image of the set, null for one left out); predicted; best; best_scores |

    The first seed of each pair is shown. Returns how many users there are, and where, for people.

    Raises:
        StageError: when no pair has scores, an input is missing, or scores and sets do not belong together.
    """
    pairs = [(backbone, head) for backbone in settings.compare.backbones for head in settings.compare.heads]
    with hold(project.gallery):
        sets, catalogue = read_sets(project.sets, project.labels), Catalogue.open(project.catalogue)
        folders = {pair: project.results(*pair) for pair in pairs}
        answered = {pair: folder for pair, folder in folders.items() if results.read(folder) is not None}
        if not answered:
            raise StageError("no compared backbone and head has results: run visagg evaluate, or dvc repro")
        if (bank := catalogue.images()).digest() != sets.images_digest:
            raise StageError(f"{project.sets} was made of other images than {project.catalogue} holds: run visagg sets")
        users = _users(list(answered.values()), sets.split("test"), sets.digest)
        rows = sorted({row for user in users for row in user["images"]})
        content = {
            "sets_digest": sets.digest,
            "labels": sets.labels,
            "pairs": [list(pair) for pair in answered],
            "missing": [list(pair) for pair in pairs if pair not in answered],
            "images": _images(bank, catalogue, rows),
            "users": users,
        }
        handover.write_record(project.gallery, content)
    return f"gallery: {len(users)} test users with the answers of {len(answered)} heads: {project.gallery}"


def _users(folders: list[Path], sets: pl.DataFrame, sets_digest: str) -> list[dict]:
    """The chosen ones of some sets, with every pair's answer; the results of one pair are in memory at a time."""
    truth = sets.filter(pl.col("labels").list.len() > 0).select("set_id", true="labels", shown="images").sort("set_id")
    f1 = np.stack([_answers(folder, truth, sets_digest)["f1"].to_numpy() for folder in folders])
    chosen = dict(choose(truth["set_id"].to_list(), f1))
    asked = truth.filter(pl.col("set_id").is_in(list(chosen)))
    frames = [_answers(folder, asked, sets_digest) for folder in folders]
    by_user = [{row["set_id"]: row for row in frame.iter_rows(named=True)} for frame in frames]
    return [_user(set_id, why, [rows[set_id] for rows in by_user]) for set_id, why in chosen.items()]


def choose(set_ids: list[str], f1: np.ndarray) -> list[tuple[str, str]]:
    """Users to show, by how well they are answered.

    Args:
        set_ids: of the users, sorted: they break ties.
        f1: float [pairs, n]; NaN where a pair has no scores of a user, who is then not shown.

    Returns:
        (set_id, why), from the worst answered to the best, then from the most disputed: at most SPREAD + DISPUTED.
    """
    known = np.flatnonzero(~np.isnan(f1).any(0))
    mean, spread = f1[:, known].mean(0).round(9), f1[:, known].std(0).round(9)  # equal values stay equal
    order = known[np.argsort(mean, kind="stable")]
    ranks = np.unique(np.linspace(0, len(order) - 1, min(SPREAD, len(order))).round().astype(int))
    chosen = {int(order[rank]): _standing(rank, len(order)) for rank in ranks}
    disputed = known[np.argsort(-spread, kind="stable")]
    for user in [int(user) for user in disputed if user not in chosen][:DISPUTED]:
        chosen[user] = "heads disagree"
    return [(set_ids[user], why) for user, why in chosen.items()]


def _standing(rank: int, count: int) -> str:
    if rank in (0, count - 1):
        return "worst answered" if rank == 0 else "best answered"
    return f"better answered than {rank / count:.0%} of users".replace("%", " %")


def _answers(folder: Path, truth: pl.DataFrame, sets_digest: str) -> pl.DataFrame:
    """One head's answers to some sets, by the seed that comes first, beside what is true of them; with `f1`."""
    saved = results.read(folder)
    if saved is None:
        raise StageError(f"{folder} is gone: run visagg evaluate, or dvc repro")
    saved.require(sets_digest)
    frame = saved.sets().filter(pl.col("seed") == pl.col("seed").first())
    joined = truth.join(frame, on="set_id", how="left", maintain_order="left")
    return joined.with_columns(f1=_f1(joined))


def _f1(frame: pl.DataFrame) -> pl.Series:
    """F1 of each set's predicted labels against its true ones: what a reader of the page can count."""
    hits = pl.col("predicted").list.set_intersection("true").list.len()
    return frame.select(2 * hits / (pl.col("predicted").list.len() + pl.col("true").list.len())).to_series()


def _user(set_id: str, why: str, rows: list[dict]) -> dict:
    """One user; `rows` are the heads' answers."""
    shown, true = rows[0]["shown"], rows[0]["true"]
    mean = round(float(np.mean([row["f1"] for row in rows])), DIGITS)
    answers = [_answer(row) for row in rows]
    return {"set_id": set_id, "why": why, "f1": mean, "images": shown, "true": true, "answers": answers}


def _answer(row: dict) -> dict:
    weights = dict(zip(row["images"], _rounded(row["importance"]), strict=True))
    return {
        "f1": round(row["f1"], DIGITS),
        "weights": [weights.get(image) for image in row["shown"]],
        "predicted": row["predicted"],
        "best": row["best"][:SHOWN],
        "best_scores": _rounded(row["best_scores"][:SHOWN]),
    }


def _rounded(values: list[float]) -> list[float]:
    return [round(value, DIGITS) for value in values]


def _images(bank: Images, catalogue: Catalogue, rows: list[int]) -> dict[str, dict]:
    """Small images by their row; an image that several items share goes by the first of them."""
    items = catalogue.table("items").read("item_id", "image", "title", where=pl.col("image").is_in(rows))
    first = items.unique("image", keep="first", maintain_order=True)
    item_of = {item["image"]: item for item in first.iter_rows(named=True)}
    shown = {}
    for row in rows:
        item = item_of.get(row, {"item_id": "", "title": None})
        shown[str(row)] = {"item_id": item["item_id"], "title": item["title"] or "", **_jpeg(bank.read(row))}
    return shown


def _jpeg(data: bytes) -> dict[str, str]:
    try:
        return {"jpeg": base64.b64encode(images.thumbnail(data, SIDE)).decode("ascii")}
    except Unusable as error:
        return {"jpeg": "", "unusable": str(error)}
