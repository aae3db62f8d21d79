"""The section amazon_reviews of params.yaml: which lists are read, and what of them is kept."""

from datetime import UTC, date, datetime, timedelta
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline.core.bounds import Distinct, Few, Place
from pipeline.core.errors import SettingsError
from pipeline.settings.sections import Section


def _inside(place: str) -> str:
    if PurePath(place).is_absolute() or ".." in PurePath(place).parts:
        raise PydanticCustomError("outside", "Input should be a name inside source.path")
    return place


def _spelt(value: object) -> object:
    """A day that YAML took for a date, as it was written."""
    return value.isoformat() if type(value) is date else value


def _is_day(text: str) -> str:
    try:
        if date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise PydanticCustomError("day", "Input should be a day such as 2014-07-23")


def _names(path: str) -> str:
    if not all(name.strip() for name in path.split(">")):
        raise PydanticCustomError("path", "Input should be names such as Women > Clothing")
    return path


Inside = Annotated[Place, AfterValidator(_inside)]
Day = Annotated[str, BeforeValidator(_spelt), Field(max_length=10), AfterValidator(_is_day)]
Path = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_names)]


class AmazonSettings(Section):
    """The Amazon reviews of 2014, 2018 or 2023: files inside source.path, so that DVC sees them change.

    Attributes:
        items: lists of items: names or patterns inside source.path.
        purchases: lists of reviews or ratings, likewise.
        photos: the folder, inside source.path, of photos named by item id, or of an earlier fetch; None: visagg fetch
            fetches them.
        labels: "categories", or "department": of the details of 2023, where the categories are empty.
        categories: only items with one of these paths, such as Women > Clothing, anywhere in theirs; none: all.
        category_depth: the names that are read of each path.
        least_category: 2018: a path ends before the first name that fewer items have: behind it stand features.
        verified_only: only reviews of verified purchases.
        least_rating: only reviews with as many stars; 0: all, also those without any.
        first_day, last_day: only reviews of these days and between, in UTC; None: no bound.
        most_items: only so many items, those most reviewed; 0: all.
        k_core: only users and items with as many reviews left among themselves; 0: all.
    """

    items: Distinct[Inside] = Field(default=["meta_*"])
    purchases: Distinct[Inside] = Field(default=["reviews_*"])
    photos: Inside | None = None
    labels: Literal["categories", "department"] = "categories"
    categories: list[Path] = Field(default=[], max_length=1000)
    category_depth: Few = 7
    least_category: Few = 100
    verified_only: bool = False
    least_rating: Annotated[float, Field(ge=0, le=5)] = 0.0
    first_day: Day | None = None
    last_day: Day | None = None
    most_items: Annotated[int, Field(ge=0, le=10**8)] = 0
    k_core: Annotated[int, Field(ge=0, le=1000)] = 0

    @model_validator(mode="after")
    def _days_ascend(self) -> "AmazonSettings":
        if self.first_day and self.last_day and self.first_day > self.last_day:
            raise SettingsError("amazon_reviews: first_day is behind last_day")
        return self

    def seconds(self) -> tuple[float, float]:
        """The first second that is kept, and the first one behind; infinite where there is no bound.

        >>> AmazonSettings(last_day="1970-01-02").seconds()
        (-inf, 172800.0)
        """
        begin = _midnight(self.first_day, 0) if self.first_day else float("-inf")
        return begin, _midnight(self.last_day, 1) if self.last_day else float("inf")


def _midnight(day: str, later: int) -> float:
    moment = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=later)).total_seconds()
