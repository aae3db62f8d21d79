"""Types of values with bounds: no honest use meets them, and no library fails within them."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from pipeline.core.text import printable

T = TypeVar("T")


def _distinct(values: list[T]) -> list[T]:
    """Numbers that are written alike are the same to whoever reads the results."""
    if len({f"{value:g}" if isinstance(value, float) else value for value in values}) < len(values):
        raise PydanticCustomError("repeated", "Input should list nothing twice")
    return values


def _plain(text: str) -> str:
    if printable(text) != text:
        raise PydanticCustomError("control", "Input should hold no control characters")
    return text


Distinct = Annotated[list[T], Field(min_length=1, max_length=100), AfterValidator(_distinct)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # scikit-learn takes no more
Hashed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Share = Annotated[float, Field(ge=1e-6, le=1 - 1e-6)]
SomeShare = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(ge=1e-12, le=1000)]
Weight = Annotated[float, Field(ge=1e-6, le=1e6)]
Decay = Annotated[float, Field(ge=0, le=1000)]
Count = Annotated[int, Field(gt=0, le=10**6)]
Few = Annotated[int, Field(gt=0, le=10_000)]
Batch = Annotated[int, Field(ge=0, le=65_536)]  # 0: what suits the device
Threads = Annotated[int, Field(ge=0, le=1024)]
Resamples = Annotated[int, Field(ge=100, le=100_000)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]
Place = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_plain)]
Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=60)]  # no dot: DVC reads it as a path
