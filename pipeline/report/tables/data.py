"""The table of the data."""

from collections.abc import Iterator

from pipeline.report.results import Results
from pipeline.report.table import Cell, Table

NOTES = """\
What could not be used is counted by its reason, and these counts are exact. data/catalogue/rejects.parquet has the
rows: of images all, of any other reason the first 10,000."""
MOST_REASONS = 20  # what is rarer is summed up

# What description.json counts, in words; the keys of one that has parts lead to those of PARTS.
COUNTS = {
    "items": "items in the catalogue",
    "items_with_image": "items with an image",
    "distinct_images": "distinct images",
    "purchases": "purchases",
    "users": "users",
    "users_above_limit": "users left out: more purchases than sets.drop_above_mean allows",
    "users_without_image": "users left out: no image",
    "users_without_label": "users left out: no label",
    "labels": "labels",
}
OF_A_SPLIT = {
    "sets": "number of sets",
    "images_a_set": "images in a set, on average",
    "labels_a_set": "labels of a set, on average",
    "share_of_images_in_training": "share of its images that training sets have too",
}
SPLITS = {"train": "Training", "validation": "Validation", "test": "Test"}
UNREADABLE = {
    "items": "items whose image cannot be read",
    "sets": "sets that lost an image for it",
    "labels": "labels that they have",
}


def data(results: Results) -> Table:
    """What the data are, and what could not be used."""
    described = results.data
    rows: list[list[Cell]] = [[words, described[key]] for key, words in COUNTS.items() if key in described]
    for split, part in described.get("sets", {}).items():
        named = SPLITS.get(split, split)
        rows += [[f"{named}: {words}", part[key]] for key, words in OF_A_SPLIT.items() if key in part]
    unreadable = described.get("unreadable_images", {})
    rows += [[words, unreadable[key]] for key, words in UNREADABLE.items() if key in unreadable]
    rows += _refused(described.get("rejects", {}))
    rows += [[f"sets with the label {label}", count] for label, count in described.get("sets_a_label", {}).items()]
    return Table("data", "The data, and what could not be used", ["what", "count"], rows, NOTES)


def _refused(rejects: dict[str, int]) -> Iterator[list[Cell]]:
    """What ingest refused or left out, the most frequent reason first."""
    ordered = sorted(rejects.items(), key=lambda entry: (-entry[1], entry[0]))
    for reason, count in ordered[:MOST_REASONS]:
        yield [f"not used, {reason}", count]
    if rest := ordered[MOST_REASONS:]:
        yield [f"not used, {len(rest):,} more reasons", sum(count for _, count in rest)]
