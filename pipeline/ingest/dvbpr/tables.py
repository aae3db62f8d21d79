"""What stands in for a table while a pickle is read: it keeps some entries, and hands on what is more."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, Self

TABLES = 4  # of the array's entries, the first ones, which may be large
MOST_HERE = 1000  # entries of a table in memory; Python writes as many at once
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
    """A dict or list that is being read and may become large: beyond some entries it hands them on.

    Args:
        keeper: has what was handed on.

    Attributes:
        part: its number there.
        name: of the type that it stands in for.
    """

    __slots__ = ("_is_kept", "_keeper", "part")
    name = ""

    def __init__(self, keeper: Keeper):
        self._keeper = keeper
        self._is_kept = False  # whether anything was handed on
        self.part = keeper.new_part()

    def flush(self) -> None:
        """Hands on what is still here."""
        self._is_kept = True
        self._keeper.keep(self.part, self._taken())

    def _taken(self) -> Iterable[Spelt]:
        """Gives away what is still here."""
        raise NotImplementedError


class Keyed(Table):
    """Stands in for a dict."""

    __slots__ = ("_entries",)
    name = "dict"

    def __init__(self, keeper: Keeper):
        super().__init__(keeper)
        self._entries: dict[Any, object] = {}

    def update(self, pairs: Iterable[Spelt]) -> None:
        """Sets entries; of a key that repeats, the last value stays."""
        self._entries.update(pairs)
        if len(self._entries) >= MOST_HERE:
            self.flush()

    def _taken(self) -> Iterable[Spelt]:
        entries, self._entries = self._entries, {}
        return entries.items()

    def whole(self) -> dict:
        """The dict; its keys are spelt in one way where it is large."""
        if not self._is_kept:
            return self._entries
        self.flush()
        return dict(self._keeper.entries(self.part))


class Listed(Table):
    """Stands in for a list."""

    __slots__ = ("_elements", "_length")
    name = "list"

    def __init__(self, keeper: Keeper):
        super().__init__(keeper)
        self._elements: list[object] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, value: object) -> None:
        """Adds an element."""
        self.extend([value])

    def extend(self, values: Sequence) -> None:
        """Adds elements."""
        self._elements.extend(values)
        self._length += len(values)
        if len(self._elements) >= MOST_HERE:
            self.flush()

    def _taken(self) -> Iterable[Spelt]:
        elements, self._elements = self._elements, []
        return enumerate(elements, self._length - len(elements))

    def whole(self) -> list:
        """The list."""
        if not self._is_kept:
            return self._elements
        self.flush()
        return [value for _, value in self._keeper.entries(self.part)]

    def grouped(self, count: int, shape: tuple[int, ...]) -> Self:
        """The elements as `count` rows, each of this shape: [length] to [count, *shape]."""
        self.flush()
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
