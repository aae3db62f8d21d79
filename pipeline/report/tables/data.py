"""The table of the data."""

from collections.abc import Iterator

from pipeline.report.results import Results
from pipeline.report.table import Cell, Table

NOT_SHOWN = ("source", "simulated", "drawn", "sets_digest")  # the first three stand in every table
WORDS = {
    "items_with_image": "items with an image",
    "users_above_limit": "users left out: more purchases than the limit",
    "users_without_image": "users left out: no usable image",
    "users_without_label": "users left out: no label",
    "images_a_set": "images a set, mean",
    "labels_a_set": "labels a set, mean",
    "share_of_images_in_training": "share of images that training sets show too",
}
UNREADABLE = {
    "items": "items whose image cannot be read",
    "sets": "sets of users who bought such an item",
    "labels": "labels that such items have",
}
NOTE = """\
Not used: what ingest refused, or could use in part, by its reason. data/catalogue/rejects.csv has the rows, at most \
10,000 of a reason."""


def data(results: Results) -> Table:
    """What the data are, and what could not be used."""
    rows: list[list[Cell]] = []
    for key, value in results.data.items():
        if key not in NOT_SHOWN:
            rows += [[words, count] for words, count in _counts(key, value)]
    return Table("data", "The data", ["what", "count"], rows, NOTE)


def _counts(key: str, value: Cell | dict) -> Iterator[tuple[str, Cell]]:
    """The numbers under a key of the description, in words."""
    if not isinstance(value, dict):
        yield _words(key), value
    elif key == "sets":
        for split, part in value.items():
            yield from ((f"{split}: {_words(name)}", number) for name, number in part.items())
    elif key == "sets_a_label":
        yield from ((f"sets with the label {label}", number) for label, number in value.items())
    elif key == "unreadable_images":
        yield from ((UNREADABLE.get(name, _words(name)), number) for name, number in value.items())
    else:
        start = "not used" if key == "rejects" else _words(key)
        yield from ((f"{start}: {name}", number) for name, number in value.items())


def _words(key: str) -> str:
    return WORDS.get(key, key.replace("_", " "))
