"""Simulated users for whom labels are not just what photos show: each rule is what it says."""

import json
from collections import Counter

import numpy as np
import polars as pl
import pytest

from pipeline.core.errors import StageError
from pipeline.evaluation.conditions import compare_under_conditions
from pipeline.sets.simulation import Case, simulate
from tests.support.world import KINDS, World

SHOWN = pl.DataFrame(
    {"image": range(300), "labels": [[image % 6, 6 + image % 2] for image in range(300)]},
    schema_overrides={"image": pl.UInt32, "labels": pl.List(pl.UInt16)},
)
LABELS = dict(SHOWN.iter_rows())
CLASSES = 8


def sets(rule="any", gifts=0.0, photos=6, **options):
    case = Case(rule, gifts=gifts, photos=photos)
    return simulate(SHOWN, CLASSES, case, **{"users": 300, "seed": 0, **options})


def shown(images):
    return [label for image in images for label in LABELS[image]]


def test_the_same_seed_gives_the_same_users_however_many_there_are():
    assert sets().equals(sets())
    assert sets(users=50).equals(sets()[:50])
    assert not sets(seed=1).equals(sets())


def test_test_users_show_what_no_training_user_shows():
    frame = sets()
    parts = {split: set(frame.filter(split=split)["images"].explode()) for split in ("train", "validation", "test")}
    assert not parts["train"] & (parts["validation"] | parts["test"])
    assert frame["split"].value_counts().sort("split")["count"].to_list() == pytest.approx([180, 60, 60], abs=30)


def test_any_is_what_the_photos_show():
    for images, labels in sets().select("images", "labels").iter_rows():
        assert labels == sorted(set(shown(images)))
        assert len(set(images)) == len(images)


def test_gifts_are_shown_and_give_no_label():
    extra, users = 0, 0
    for images, labels in sets(gifts=0.3).select("images", "labels").iter_rows():
        assert set(labels) <= set(shown(images))
        extra += len(set(shown(images)) - set(labels))
        users += 1
    assert extra / users > 0.5


def test_a_majority_is_half_of_the_photos_or_else_the_most():
    frame = sets("majority", photos=30)
    few, any_photo = frame["labels"].list.len().mean(), sets("any", photos=30)["labels"].list.len().mean()
    assert few < any_photo - 1
    for images, labels in frame.select("images", "labels").iter_rows():
        counts = Counter(shown(images))
        enough = min(len(images) / 2, max(counts.values()))
        assert labels == sorted(label for label, count in counts.items() if count >= enough)
    assert frame["labels"].list.len().min() >= 1


def test_of_pairs_a_label_counts_where_its_partner_is_shown_too():
    frame = sets("pairs")
    partners = {}
    for label in range(CLASSES):
        with_it = [
            set(shown(images)) for images, labels in frame.select("images", "labels").iter_rows() if label in labels
        ]
        partners[label] = set.intersection(*with_it) - {label}
    assert all(partners.values()), "what is always shown with a label holds its partner"
    lonely = [set(shown(images)) - set(labels) for images, labels in frame.select("images", "labels").iter_rows()]
    assert sum(map(len, lonely)) > 100


def test_next_is_of_the_same_taste_and_not_of_the_photos_shown():
    frame = sets("next", photos=8)
    rows = list(frame.select("images", "labels").iter_rows())
    inside = np.mean([len(set(labels) & set(shown(images))) / len(labels) for images, labels in rows])
    assert 0.5 < inside < 0.98
    assert frame["labels"].list.len().max() <= 4


def test_sets_are_as_large_as_the_case_says():
    sizes = sets(photos=60)["images"].list.len()
    assert sizes.max() <= 60
    assert sizes.median() > 20


def test_too_few_images_are_refused():
    with pytest.raises(StageError, match="too few images"):
        simulate(SHOWN[:1], CLASSES, Case("any", gifts=0.0, photos=3), users=5, seed=0)


def test_the_stage_names_who_wins_each_case(tmp_path):
    cases = {
        "plain": {"rule": "any", "gifts": 0.0, "photos": 5},
        "half": {"rule": "majority", "gifts": 0.0, "photos": 5},
    }
    changes = {"conditions.heads": ["average", "noisy_or"], "conditions.users": 300, "conditions.cases": cases}
    world = World(tmp_path, changes)
    compare_under_conditions(world.project, world.settings)
    first = world.project.conditions.read_bytes()
    record = json.loads(first)
    assert [case["case"] for case in record["cases"]] == ["plain", "half"]
    plain = record["cases"][0]
    assert plain["preferred"] == "noisy_or"
    assert plain["heads"]["noisy_or"]["behind"] == [0, 0, 0]
    gap = plain["heads"]["noisy_or"]["micro_ap"][0] - plain["heads"]["average"]["micro_ap"][0]
    assert plain["heads"]["average"]["behind"][0] == pytest.approx(gap, abs=2e-6)
    for case in record["cases"]:
        validation = {name: head["validation"] for name, head in case["heads"].items()}
        assert case["preferred"] == max(validation, key=validation.get)
    compare_under_conditions(world.project, world.settings)
    assert world.project.conditions.read_bytes() == first
    assert len(world.labelled().labels) == KINDS


def test_without_heads_nothing_is_simulated(tmp_path):
    world = World(tmp_path)
    compare_under_conditions(world.project, world.settings)
    assert json.loads(world.project.conditions.read_text())["cases"] == []
