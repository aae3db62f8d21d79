"""One person's photos to interests: as JSON values, as text, as a page; and the photos of many to a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from pipeline.core.errors import StageError
from pipeline.core.progress import Progress
from pipeline.core.text import printable, shortened
from pipeline.export.predict.model import Answer, Model
from pipeline.export.predict.photos import Photo
from pipeline.export.predict.reading import ReadPhoto, read_photos

DIGITS = 6  # of probabilities and weights in files
SHOWN_PHOTOS, SHOWN_FAULTS, LEAST_SHOWN, LONGEST_NAME = 3, 20, 10, 24
LEAST_WEIGHT = 0.05  # below it a photo is not named as speaking for a label


@dataclass(frozen=True)
class PhotoSet:
    """The photos of one person after the backbone.

    Attributes:
        readable: distinct ones with a vector, in order.
        unreadable: those without.
        copies: how many are the same files as others; they count once.
    """

    readable: list[ReadPhoto]
    unreadable: list[ReadPhoto]
    copies: int

    @classmethod
    def of(cls, photos: Iterable[ReadPhoto]) -> "PhotoSet":
        """Sorts photos by what became of them."""
        distinct: dict[str, ReadPhoto] = {}
        unreadable, copies = [], 0
        for photo in photos:
            if photo.vector is None:
                unreadable.append(photo)
            elif photo.digest in distinct:
                copies += 1
            else:
                distinct[photo.digest] = photo
        return cls(list(distinct.values()), unreadable, copies)

    def answer(self, model: Model) -> Answer:
        """What a model says of the set, a batch of one."""
        vectors = np.stack([photo.vector for photo in self.readable if photo.vector is not None])[None]
        return model.answer(vectors, np.ones(vectors.shape[:2], bool))


@dataclass(frozen=True)
class Prediction:
    """What a model says of one person's photos.

    Attributes:
        model: which one.
        photos: what it saw.
        content: JSON values: interests (label, probability, predicted, and photos with their weights), the most
            probable first, and unreadable (file and reason).
    """

    model: Model
    photos: PhotoSet
    content: dict


def predict(photos: Sequence[Photo], model: Model, threads: int) -> Prediction:
    """The interests of the person whose photos these are.

    Raises:
        StageError: when there is no photo, or none of them can be read.
    """
    if not photos:
        raise StageError("no photos there: name some, or a folder or zip file that holds some")
    with Progress("predict", len(photos), "photos") as progress:
        read = []
        for photo in read_photos(photos, model, threads):
            read.append(photo)
            progress.add()
    seen = PhotoSet.of(read)
    if not seen.readable:
        first = seen.unreadable[0]
        raise StageError(f"none of {len(photos)} photos can be read: {first.photo.name}: {first.reason}")
    return Prediction(model, seen, _content(model, seen))


def _content(model: Model, seen: PhotoSet) -> dict:
    answer = seen.answer(model)
    probabilities, weights = answer.probabilities[0], answer.weights[0]
    names = [photo.photo.name for photo in seen.readable]
    interests = [
        {
            "label": model.labels[label],
            "probability": round(float(probabilities[label]), DIGITS),
            "predicted": bool(probabilities[label] >= model.thresholds[label]),
            "photos": [
                {"file": names[photo], "weight": round(float(weights[photo, label]), DIGITS)}
                for photo in np.argsort(-weights[:, label], kind="stable")
            ],
        }
        for label in np.argsort(-probabilities, kind="stable")
    ]
    unreadable = [{"file": photo.photo.name, "reason": photo.reason} for photo in seen.unreadable]
    return {"interests": interests, "unreadable": unreadable}


def text(prediction: Prediction) -> str:
    """A prediction for people: a table of interests, and what could not be read."""
    model, seen, content = prediction.model, prediction.photos, prediction.content
    interests = content["interests"]
    predicted = [printable(interest["label"]) for interest in interests if interest["predicted"]]
    shown = interests[: max(LEAST_SHOWN, len(predicted))]
    rows = [
        [
            f"{interest['probability']:.3f}",
            "*" * interest["predicted"],
            printable(interest["label"]),
            _speakers(interest),
        ]
        for interest in shown
    ]
    copies = f", {seen.copies} of them copies" if seen.copies else ""
    lines = [
        f"{model.name}: {len(seen.readable) + seen.copies} photos{copies}.",
        f"Interests: {', '.join(predicted)}." if predicted else "No interest is above its threshold.",
        "",
        tabulate(rows, ["probability", "", "interest", "photos that speak for it"], disable_numparse=True),
        "",
        f"* predicted: the probability is at least {_thresholds(model)}, which was chosen on validation.",
    ]
    if len(shown) < len(interests):
        lines.append(f"{len(interests) - len(shown)} less probable labels are left out; --json has them.")
    if model.simulated:
        lines.append("The model was trained on SIMULATED people, who do not exist.")
    if faults := content["unreadable"]:
        lines += ["", f"{len(faults)} could not be read:"]
        lines += [printable(f"  {fault['file']}: {fault['reason']}") for fault in faults[:SHOWN_FAULTS]]
        lines += [f"  and {len(faults) - SHOWN_FAULTS} more; --json has them"] if len(faults) > SHOWN_FAULTS else []
    return "\n".join(lines)


def _thresholds(model: Model) -> str:
    low, high = min(model.thresholds), max(model.thresholds)
    return f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}, by label"


def _speakers(interest: dict) -> str:
    """The photos with the highest weights, in a few words."""
    best = [photo for photo in interest["photos"] if photo["weight"] >= LEAST_WEIGHT][:SHOWN_PHOTOS]
    best = best or interest["photos"][:1]
    return ", ".join(f"{_short(photo['file'])} {photo['weight']:.0%}" for photo in best)


def named(files: Sequence[str]) -> str:
    """Some files by name, and how many more there are.

    >>> named(["a.jpg", "b.jpg"])
    'a.jpg, b.jpg'
    """
    more = [f"and {len(files) - SHOWN_FAULTS} more"] if len(files) > SHOWN_FAULTS else []
    return ", ".join([*map(printable, files[:SHOWN_FAULTS]), *more])


def _short(name: str) -> str:
    """A file's name without its folders, where a table has room for it."""
    return shortened(printable(name.rpartition("/")[2]), LONGEST_NAME)
