"""A prediction as one page that needs no network: interests as bars, and the photos that speak for each."""

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.core.errors import Unusable
from pipeline.core.files import write_aside
from pipeline.core.text import printable
from pipeline.export.predict.interests import LEAST_WEIGHT, Prediction
from pipeline.images import thumbnail

TEMPLATE = Path(__file__).parent / "template"
SIDE = 224  # longest, of a picture on the page, in pixels: sharp on a phone at half of it
MOST_SPEAKERS = 12  # pictures shown for an interest
MOST_PICTURES = 400  # on a page, each with some 8 kB


@dataclass(frozen=True)
class Speaker:
    """A photo that speaks for an interest: its name, its place among the pictures, and its weight."""

    file: str
    picture: int
    weight: float


def write_page(path: Path, prediction: Prediction) -> None:
    """Writes the page; the same prediction gives the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = [photo.photo.name for photo in prediction.photos.readable]
    place = {name: index for index, name in enumerate(names)}
    interests = [
        {
            **interest,
            "label": printable(interest["label"]),
            "threshold": float(prediction.model.thresholds[prediction.model.labels.index(interest["label"])]),
            "speakers": [
                Speaker(printable(photo["file"]), place[photo["file"]], photo["weight"])
                for photo in interest["photos"][:MOST_SPEAKERS]
                if photo["weight"] >= LEAST_WEIGHT and place[photo["file"]] < MOST_PICTURES
            ],
        }
        for interest in prediction.content["interests"]
    ]
    text = environment.get_template("interests.html").render(
        model=prediction.model.name,
        simulated=prediction.model.simulated,
        predicted=[interest["label"] for interest in interests if interest["predicted"]],
        interests=interests,
        count=len(names) + prediction.photos.copies,
        pictures=[_picture(prediction, index) for index in range(min(len(names), MOST_PICTURES))],
        names=[printable(name) for name in names],
        unreadable=[
            {"file": printable(fault["file"]), "reason": printable(fault["reason"])}
            for fault in prediction.content["unreadable"]
        ],
    )
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _picture(prediction: Prediction, index: int) -> str:
    """A photo made small, as base64 of a JPEG; "" where it is gone since it was read."""
    try:
        return base64.b64encode(thumbnail(prediction.photos.readable[index].photo.read(), SIDE)).decode()
    except Unusable:
        return ""
