"""Purchases to sets by the published protocol, worked out by hand on small shops."""

from dataclasses import replace
from functools import partialmethod

import numpy as np
import polars as pl
import pytest

from pipeline.catalogue import labelled_sets, tables
from pipeline.catalogue.images import write_images
from pipeline.core import provenance
from pipeline.core.errors import StageError
from pipeline.core.table import Table
from pipeline.project import Project
from pipeline.sets.building import CatalogueTables, assign_splits, build_sets, of_one_image
from pipeline.sets.labels import count_categories, frequent_labels, label_images, label_items, taken_away
from pipeline.sets.stage import make_sets
from pipeline.settings.sections import SetSettings, SplitSettings
from tests.support.records import unsealed
from tests.support.settings import make_settings

PROTOCOL = {
    "task": "interests",
    "max_images": 8,
    "held_out": 2,
    "drop_above_mean": 100.0,
    "lower_case": True,
    "stop_categories": [],
    "least_items": 1,
    "new_items": 0.0,
}
CROWD = [f"~{number:02}" for number in range(60)]  # users enough to fill every split; each buys "plain" three times


def settings(seed=0, validation=0.3, test=0.3, **changes):
    return SetSettings(**PROTOCOL | changes, split=SplitSettings(seed=seed, validation=validation, test=test))


def shop(items):
    """{item_id: (image, labels or paths)} as a frame; "plain", image 99, is the crowd's."""
    rows = [
        (item_id, image, [path if isinstance(path, list) else [path] for path in labels], "")
        for item_id, (image, labels) in {**items, "plain": (99, ["plain"])}.items()
    ]
    return pl.DataFrame(rows, schema=tables.ITEMS, orient="row")


def bought(purchases, crowd=CROWD):
    """(user, item, time[, split]) as a frame, with the crowd's."""
    rows = [(*row, None)[:4] for row in [*purchases, *((user, "plain", time) for user in crowd for time in (1, 2, 3))]]
    return pl.DataFrame(rows, schema=tables.PURCHASES, orient="row")


def build(items, purchases, chosen, names=None):
    """Sets of some frames, labelled with `names`, or with all that are frequent; and the names."""
    items, purchases = table(items), table(purchases.sort("user_id", maintain_order=True))
    labels = label_items(items, names or frequent_labels(count_categories(items, chosen), chosen), chosen)
    nothing = table(pl.DataFrame(schema=tables.REJECTS))
    return build_sets(CatalogueTables(items, purchases, nothing), labels, chosen), labels.names


def table(frame):
    """A frame as a table of the catalogue, some columns of which may hold nulls."""
    return Table(frame.lazy(), nullable=frame.columns)


def made(items, purchases, **changes):
    """{user: (images, labels)} of those who are not the crowd, and the counts of users."""
    sets, names = build(shop(items), bought(purchases), settings(**changes))
    rows = sets.frame.select("set_id", "images", "labels").iter_rows()
    shown = {user: (images, [names[label] for label in labels]) for user, images, labels in rows if user[0] != "~"}
    return shown, sets.users


def labels_of(items, **changes):
    """(item, label) of those that are not the crowd's."""
    chosen, rows = settings(**changes), table(shop(items))
    labels = label_items(rows, frequent_labels(count_categories(rows, chosen), chosen), chosen)
    found = [(item, labels.names[index]) for item, indices in labels.of_items.iter_rows() for index in indices]
    return sorted(row for row in found if row[0] != "plain")


def test_labels_are_every_category_less_the_stop_categories():
    items = {"a": (0, [["Clothing", "Women", "Dresses"], ["Women", " Gala "]]), "b": (1, ["DRESSES", ""]), "c": (2, [])}
    stop = ["CLOTHING", "women"]
    assert labels_of(items, stop_categories=stop) == [("a", "dresses"), ("a", "gala"), ("b", "dresses")]
    kept = labels_of(items, stop_categories=stop, lower_case=False)
    assert kept == [("a", "Clothing"), ("a", "Dresses"), ("a", "Gala"), ("a", "Women"), ("b", "DRESSES")]
    assert ("a", "Clothing") not in labels_of(items, stop_categories=["Clothing"], lower_case=False)


def test_labels_that_too_few_items_have_are_dropped():
    items = {"a": (0, ["hat", "hat"]), "b": (1, ["hat", "coat"]), "c": (2, ["coat"]), "d": (3, ["tie", "tie"])}
    counts = count_categories(table(shop(items)), settings())
    assert frequent_labels(counts, settings(least_items=2)) == ["coat", "hat"]
    assert frequent_labels(counts, settings(least_items=1)) == ["coat", "hat", "plain", "tie"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"least_items": 3}, "least_items asks for 3 .*'hat', has 2"),
        ({"stop_categories": ["hat", "plain"]}, "none"),
    ],
)
def test_no_label_left_is_refused_with_what_to_change(changes, said):
    chosen = settings(**changes)
    counts = count_categories(table(shop({"a": (0, ["hat"]), "b": (1, ["hat"])})), chosen)
    with pytest.raises(StageError, match=f"^[^\n]*{said}[^\n]*params.yaml[^\n]*$"):
        frequent_labels(counts, chosen)


def test_a_set_is_the_first_images_by_time_and_its_labels_are_theirs_alone():
    items = {f"i{n}": (n, [f"l{n}"]) for n in range(6)} | {"blind": (None, ["unseen"]), "other": (50, ["elsewhere"])}
    purchases = [("u", f"i{n}", 10 - n) for n in range(6)]  # i5 was bought first
    sets, _ = made(items, [*purchases, ("u", "i5", 6), ("u", "blind", 0), ("v", "other", 1)], max_images=3)
    assert sets["u"] == ([5, 4, 3], ["l3", "l4", "l5"])  # i5 counts once; without an image: not shown, not labelled
    assert sets["v"] == ([50], ["elsewhere"])


def test_purchases_of_one_moment_keep_the_order_of_the_catalogue():
    purchases = [("u", f"i{n}", 7) for n in range(39, -1, -1)]
    sets, _ = made({f"i{n}": (n, ["hat"]) for n in range(40)}, purchases, max_images=20)
    assert sets["u"][0] == list(range(39, 19, -1))


def test_items_that_share_an_image_show_it_once_and_both_are_labelled():
    items = {"a": (4, ["hat"]), "b": (4, ["coat"]), "c": (1, ["hat"])}
    assert made(items, [("u", item, time) for time, item in enumerate("abc")])[0]["u"] == ([4, 1], ["coat", "hat"])


def test_what_an_image_shows_is_the_labels_of_all_items_that_have_it():
    items = shop(
        {"a": (4, ["hat", "rare"]), "b": (4, ["coat"]), "c": (1, ["hat"]), "d": (2, ["rare"]), "e": (None, ["hat"])}
    )
    pictured = items.filter(pl.col("image").is_not_null())
    shown = label_images(pictured, label_items(table(items), ["coat", "hat"], settings()))
    assert shown.rows() == [(1, [1]), (4, [0, 1])]


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_sets_are_the_same_however_many_purchases_are_read_at_a_time(rows, monkeypatch):
    items = {f"i{n}": (n if n % 5 else None, [f"l{n % 4}"]) for n in range(40)}
    purchases = [(f"u{n % 9}", f"i{n * 7 % 40}", n % 3) for n in range(200)]
    for task in ("interests", "next"):
        changes = {"task": task, "new_items": 0.3, "drop_above_mean": 8.0, "max_images": 4}
        at_once = made(items, purchases, **changes)
        assert len(at_once[0]) > 3
        with monkeypatch.context() as small:
            small.setattr("pipeline.core.table.Table.blocks", partialmethod(Table.blocks, size=rows))
            assert made(items, purchases, **changes) == at_once


def test_users_above_twice_the_mean_are_dropped():
    # (60 x 3 + 8 + 60) / 62 = 4 purchases on average: 8 is twice the mean and stays, 60 is above and goes.
    purchases = [("at", "a", n) for n in range(8)] + [("above", "a", n) for n in range(60)]
    sets, counts = made({"a": (0, ["hat"])}, purchases, drop_above_mean=2.0)
    assert list(sets) == ["at"]
    assert counts == {"users": 62, "users_above_limit": 1, "users_without_image": 0, "users_without_label": 0}


def test_users_without_an_image_or_a_label_are_dropped_and_counted():
    items = {"a": (0, ["hat"]), "blind": (None, ["hat"]), "rare": (2, ["tie"]), "bare": (3, []), "b": (4, ["plain"])}
    purchases = [
        ("kept", "a", 1),
        ("kept", "rare", 2),
        ("kept", "bare", 3),
        ("blind", "blind", 1),
        ("gone", "no", 1),
        ("rare", "rare", 1),
        ("bare", "bare", 1),
        ("bare", "blind", 2),
    ]
    sets, counts = made(items, purchases, least_items=2)
    assert sets == {"kept": ([0, 2, 3], ["hat"])}
    assert counts == {"users": 65, "users_above_limit": 0, "users_without_image": 2, "users_without_label": 2}


def test_next_holds_out_what_the_source_holds_out():
    items = {f"i{n}": (n, [f"l{n}"]) for n in range(6)} | {"blind": (None, ["unseen"])}
    purchases = [
        ("u", "i0", 0, "train"),
        ("u", "i1", 1, "test"),
        ("u", "i2", 2, "train"),
        ("u", "i3", 3, "validation"),
        ("u", "i4", 4, "train"),
        ("u", "i5", 5, None),
        ("u", "blind", 6, "test"),
    ]
    assert made(items, purchases, task="next")[0]["u"] == ([0, 2, 4, 5], ["l1", "l3", "unseen"])
    assert made(items, purchases, task="next", max_images=2)[0]["u"][0] == [4, 5]


def test_next_holds_out_the_last_purchases_where_the_source_does_not_say():
    items = {f"i{n}": (n, [f"l{n}"]) for n in range(6)}
    purchases = [("u", f"i{n}", 10 - n) for n in range(6)] + [("v", "i0", 1), ("v", "i1", 2)]  # v has nothing earlier
    sets, counts = made(items, purchases, task="next", held_out=2, max_images=3)
    assert sets == {"u": ([4, 3, 2], ["l0", "l1"])} and counts["users_without_image"] == 1
    sets, _ = made(items, purchases, task="next", held_out=1)
    assert sets == {"u": ([5, 4, 3, 2, 1], ["l0"]), "v": ([0], ["l1"])}


def test_a_split_is_the_users_own():
    users, chosen = pl.Series([f"user {n}" for n in range(4000)]), settings(seed=3, validation=0.15, test=0.25)
    whole = dict(zip(users, assign_splits(users, chosen)))
    some = users.filter(pl.int_range(4000, eager=True) % 3 == 0).reverse()
    assert dict(zip(some, assign_splits(some, chosen))) == {user: whole[user] for user in some}
    shares = {split: list(whole.values()).count(split) / 4000 for split in ("train", "validation", "test")}
    assert shares == pytest.approx({"train": 0.6, "validation": 0.15, "test": 0.25}, abs=0.02)
    reseeded = assign_splits(users, settings(seed=4, validation=0.15, test=0.25))
    assert 0.4 < np.mean([split == whole[user] for user, split in zip(users, reseeded)]) < 0.5  # by chance 0.445


def test_splits_are_the_same_on_every_machine():
    splits = ["train", "validation", "validation", "train", "test", "validation", "train", "validation"]
    assert assign_splits(pl.Series(list("abcdefgh")), settings()).to_list() == splits


@pytest.mark.parametrize(("crowd", "said"), [(CROWD[:2], "change sets.split"), ([], "no set is left")])
def test_an_empty_split_is_refused_with_what_to_change(crowd, said):
    with pytest.raises(StageError, match=f"^[^\n]*{said}[^\n]*$"):
        build(shop({}), bought([], crowd), settings())


def test_new_items_are_shown_by_no_training_set_and_old_ones_by_no_other():
    frame = shop({f"i{n}": (n, ["hat"]) for n in range(40)})
    purchases = bought([(user, f"i{n}", n) for user in CROWD for n in range(40)])
    chosen = settings(new_items=0.2, max_images=50)
    sets, _ = build(frame, purchases, chosen, ["hat"])
    shown = dict(sets.frame.group_by("split").agg(pl.col("images").explode()).iter_rows())
    train, validation, test = (set(shown[split]) - {99} for split in ("train", "validation", "test"))
    assert validation == test and not train & test
    assert train | test == set(range(40)) and 3 <= len(test) <= 15


def write_catalogue(project, photos, simulated="", **rows):
    with write_images(project.images) as writer:
        for photo in photos:
            writer.append(photo, provenance.digest(photo))
    frames = {name: pl.DataFrame(rows[name], schema=tables.TABLES[name], orient="row") for name in tables.TABLES}
    tables.write_tables(project.catalogue, frames, simulated=simulated)


def test_the_stage_writes_sets_labels_and_a_description(tmp_path):
    project, photos = Project(tmp_path), [f"photo {number}".encode() for number in range(3)]
    items = [("a", 0, [["Hats"]], ""), ("b", 1, [["Hats", "Coats"]], ""), ("c", None, [["Hats"]], ""), ("d", 2, [], "")]
    rows = [(user, item, time, None) for user in CROWD for time, item in enumerate("abc")] + [("~99", "d", 1, None)]
    rejects = [("image", "c", "truncated"), ("image", "x", "truncated"), ("item", "", "no item_id")]
    rejects.append(("image", "y", tables.NO_IMAGE))
    write_catalogue(project, photos, "images and users", items=items, purchases=rows, rejects=rejects)
    protocol = {"sets": settings().model_dump()}
    make_sets(project, make_settings(protocol))
    sets = pl.read_parquet(project.sets)
    assert dict(sets.schema) == labelled_sets.SETS and sets["set_id"].to_list() == CROWD
    assert sets["images"].to_list() == sets["labels"].to_list() == [[0, 1]] * 60
    digest = provenance.digest(b"".join(map(provenance.digest, photos))).hex()
    labelled = labelled_sets.read_sets(project.sets, project.labels)
    assert labelled.labels == ["coats", "hats"] and labelled.images_digest == digest
    said = unsealed(project.description)
    sizes = dict(sets["split"].value_counts().iter_rows())
    assert said == {
        "source": "demo",
        "simulated": True,
        "drawn": True,
        "sets_digest": labelled.digest,
        "items": 4,
        "items_with_image": 3,
        "distinct_images": 3,
        "purchases": 181,
        "users": 61,
        "users_above_limit": 0,
        "users_without_image": 0,
        "users_without_label": 1,
        "sets": {
            split: {"sets": sizes[split], "images_a_set": 2.0, "labels_a_set": 2.0, "share_of_images_in_training": 1.0}
            for split in ("train", "validation", "test")
        },
        "labels": 2,
        "sets_a_label": {"coats": 60, "hats": 60},
        "rejects": {"image: no image": 1, "image: truncated": 2, "item: no item_id": 1},
        "unreadable_images": {"items": 2, "sets": 60, "labels": 1},
    }
    for simulated, flags in {"": [False, False], "users": [True, False]}.items():
        project.images.unlink()
        write_catalogue(project, photos, simulated, items=items, purchases=rows, rejects=rejects)
        make_sets(project, make_settings({**protocol, "source.name": "table"}))
        said = unsealed(project.description)
        assert [said["simulated"], said["drawn"]] == flags and said["source"] == "table"
    alone = of_one_image(project, replace(labelled, labels=["hats", "coats"]), settings(max_images=8))
    assert alone["set_id"].to_list() == CROWD
    assert alone["images"].to_list() == alone["labels"].to_list() == [[0]] * 60


def test_stop_categories_are_those_of_the_source_unless_they_are_listed():
    chosen, items = settings(stop_categories="auto"), table(shop({"a": (0, [["Clothing", "Women", "Gala"]])}))
    counts = count_categories(items, chosen)
    of = {
        source: frequent_labels(counts, chosen, source=source)
        for source in ("table", "demo", "dvbpr", "amazon_reviews")
    }
    assert list(of.values()) == [["clothing", "gala", "plain", "women"], *[["gala", "plain"]] * 3]
    assert taken_away(counts, chosen, "table") == {}
    chosen = settings(stop_categories=["Gala", "Hat"])
    assert frequent_labels(counts, chosen, source="dvbpr") == ["clothing", "plain", "women"]
    assert taken_away(counts, chosen, "dvbpr") == {"Gala": 1, "Hat": 0}
