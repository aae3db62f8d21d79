"""What every source gives: items and purchases, one at a time, as the raw data has them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class RawItem:
    """A product.

    Attributes:
        item_id: its identifier; not yet known to be unique.
        categories: paths from the root category to the leaf, as the source spells them; may be empty.
        title: its name, or an empty string.
        image: reads the encoded image, so that it is in memory only while somebody looks at it; None where the
            source has no image. Raises Unusable with the reason when it cannot be read.
    """

    item_id: str
    categories: list[list[str]]
    title: str
    image: Callable[[], bytes] | None


@dataclass(frozen=True)
class RawPurchase:
    """A user bought an item.

    Attributes:
        user_id: the buyer.
        item_id: the item, by its identifier; not yet known to exist.
        time: seconds since 1970, or any integer that orders a user's purchases.
        source_split: "train", "validation" or "test" where the source divides a user's purchases so; else None.
    """

    user_id: str
    item_id: str
    time: int
    source_split: str | None = None


@dataclass(frozen=True)
class Reject:
    """Something that the source holds and that cannot be used.

    Attributes:
        stage: what was refused.
        item_id: the item concerned, or an empty string where not even that is known.
        reason: why, in a few words.
        file, line, field, value: where the source has it, as far as that is known: the line is counted from 1, and 0
            where it is not known.
        count: how many it stands for.
        is_row: whether it is one row of the source, or the count of many.
        is_fault: whether something is wrong with it; else it was left out as the settings ask, or is of half a use.
    """

    stage: Literal["item", "image", "purchase"]
    item_id: str
    reason: str
    file: str = ""
    line: int = 0
    field: str = ""
    value: str = ""
    count: int = 1
    is_row: bool = True
    is_fault: bool = True


class Source(Protocol):
    """A catalogue in some raw format, opened. Both iterators can be started again and give the same order."""

    def items(self) -> Iterator[RawItem | Reject]:
        """Yields every item, or why there is none."""
        ...

    def purchases(self) -> Iterator[RawPurchase | Reject]:
        """Yields every purchase, or why it cannot be used."""
        ...
