"""What stands in for a table while a pickle is read: it keeps no entry, and hands each on as it comes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, Self

TABLES = 4  # of the array's entries, the first ones, which may be large
Spelt = tuple[object, object]  # a key as the pickle has it, and a value


class Keeper(Protocol):
    """What keeps the entries of tables, each table under a number."""

    def keep(self, part: int, entries: Iterable[Spelt]) -> None:
        """Takes entries with their keys as the pickle has them."""
        ...

    def entries(self, part: int) -> Iterator[tuple[int | str, object]]:
        """Yields the entries by key, numbers before names."""
        ...

    def new_part(self) -> int:
        """A number for another table."""
        ...


class Table:
    """A table that is being read.

    Args:
        keeper: has its entries.

    Attributes:
        part: its number there.
        name: of the type that it stands in for.
    """

    __slots__ = ("_keeper", "part")
    name = ""

    def __init__(self, keeper: Keeper):
        self._keeper = keeper
        self.part = keeper.new_part()


class Keyed(Table):
    """Stands in for a dict."""

    __slots__ = ()
    name = "dict"

    def update(self, pairs: Iterable[Spelt]) -> None:
        """Sets entries; of a key that repeats, the last value stays."""
        self._keeper.keep(self.part, pairs)


class Listed(Table):
    """Stands in for a list."""

    __slots__ = ("_length",)
    name = "list"

    def __init__(self, keeper: Keeper):
        super().__init__(keeper)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, value: object) -> None:
        """Adds an element."""
        self.extend([value])

    def extend(self, values: Sequence) -> None:
        """Adds elements."""
        self._keeper.keep(self.part, enumerate(values, self._length))
        self._length += len(values)

    def grouped(self, count: int, shape: tuple[int, ...]) -> Self:
        """The elements as `count` rows, each of this shape: [length] to [count, *shape]."""
        rows, size = type(self)(self._keeper), self._length // count
        values = (value for _, value in self._keeper.entries(self.part))
        for _ in range(count):
            rows.append(shaped(list(islice(values, size)), shape))
        return rows


def shaped(elements: list, shape: tuple[int, ...]) -> list:
    """A list as nested lists of a shape.

    >>> shaped([1, 2, 3, 4], (2, 2))
    [[1, 2], [3, 4]]
    """
    for size in reversed(shape[1:]):
        elements = [elements[i : i + size] for i in range(0, len(elements), size)]
    return elements
