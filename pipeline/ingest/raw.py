"""What every source gives: items and purchases, one at a time, as the raw data has them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pipeline.core.errors import Unusable
from pipeline.core.text import shortened, shown

LONGEST_VALUE = 100  # characters of a value that is told


class Wrong(Unusable):
    """A field of a row cannot be used.

    Args:
        reason: why, in a few words.
        field: its name.
        value: what it holds.
    """

    def __init__(self, reason: str, field: str, value: object):
        super().__init__(reason)
        self.field, self.value = field, value


def at_fault(fault: Unusable) -> dict[str, Any]:
    """The field of a fault and what it holds, as a Reject has them.

    >>> at_fault(Wrong("no time", "time", "")), at_fault(Unusable("not a record"))
    ({'field': 'time', 'value': ''}, {})
    """
    if not isinstance(fault, Wrong):
        return {}
    text = fault.value if isinstance(fault.value, str) else shown(fault.value)
    return {"field": fault.field, "value": shortened(text, LONGEST_VALUE).encode("utf-8", "replace").decode("utf-8")}


@dataclass(frozen=True)
class RawItem:
    """A product.

    Attributes:
        item_id: its identifier; not yet known to be unique.
        categories: paths from the root category to the leaf, as the source spells them; may be empty.
        title: its name, or an empty string.
        image: reads the encoded image, so that it is in memory only while somebody looks at it; None where the
            source has no image. Raises Unusable with the reason when it cannot be read.
        file, line: where the source has it, as of Reject.
        image_name: what the source says of the image, for whoever looks for it.
    """

    item_id: str
    categories: list[list[str]]
    title: str
    image: Callable[[], bytes] | None
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)
    image_name: str = field(default="", compare=False)


@dataclass(frozen=True)
class RawPurchase:
    """A user bought an item.

    Attributes:
        user_id: the buyer.
        item_id: the item, by its identifier; not yet known to exist.
        time: seconds since 1970, or any integer that orders a user's purchases.
        source_split: "train", "validation" or "test" where the source divides a user's purchases so; else None.
        file, line: where the source has it, as of Reject.
    """

    user_id: str
    item_id: str
    time: int
    source_split: str | None = None
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)


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
