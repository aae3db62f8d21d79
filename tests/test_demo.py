"""The demo source: the same seed gives the same shop, and the shop looks like one."""

import io
from dataclasses import replace
from itertools import groupby

import numpy as np
from PIL import Image

from pipeline.ingest.demo.garments import KINDS, depict, imagine
from pipeline.ingest.demo.shop import ROOT, Demo


def pixels(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"), dtype=np.float32)


def draw(kind, rng):
    return depict(imagine(kind, rng), rng)


def kind_of(item):
    return item.title.split()[-1]


def test_the_same_seed_gives_the_same_shop():
    one, two = Demo(items=24, users=20, seed=3), Demo(items=24, users=20, seed=3)
    assert [(i.item_id, i.categories, i.title, i.image()) for i in one.items()] == [
        (i.item_id, i.categories, i.title, i.image()) for i in two.items()
    ]
    assert list(one.purchases()) == list(two.purchases()) == list(one.purchases())


def test_another_seed_gives_another_shop():
    one, two = Demo(items=12, users=20, seed=3), Demo(items=12, users=20, seed=4)
    assert not {item.image() for item in one.items()} & {item.image() for item in two.items()}
    assert list(one.purchases()) != list(two.purchases())


def test_an_item_is_the_same_in_a_larger_shop():
    small, large = list(Demo(items=5).items()), list(Demo(items=50).items())
    assert [item.title for item in small] == [item.title for item in large[:5]]
    assert small[4].image() == large[4].image()


def test_images_decode_and_differ():
    images = [item.image() for item in Demo(items=40).items()]
    assert len(set(images)) == 40
    assert all(pixels(image).std() > 5 for image in images)
    assert all(Image.open(io.BytesIO(image)).format == "JPEG" for image in images)
    assert all(200 <= side <= 340 for image in images for side in pixels(image).shape[:2])


def test_every_kind_can_be_drawn_and_varies():
    for kind in KINDS:
        first, second = (draw(kind, np.random.default_rng([1, number])) for number in range(2))
        assert first != second
        assert draw(kind, np.random.default_rng([1, 0])) == first


def test_what_is_said_of_a_garment_is_what_is_drawn():
    for kind in KINDS:
        garment = imagine(kind, np.random.default_rng([2, 0]))
        dark, light = (replace(garment, pattern="plain", colour=colour) for colour in ("black", "white"))
        black, white = (pixels(depict(version, np.random.default_rng([2, 1]))) for version in (dark, light))
        assert black.mean() < white.mean()


def test_items_are_many_kinds_under_shared_categories():
    items = list(Demo().items())
    assert len({item.item_id for item in items}) == len(items) == 1200
    assert all(path[:2] in ([ROOT, "Women"], [ROOT, "Men"]) for item in items for path in item.categories)
    kinds = [kind_of(item) for item in items]
    assert set(kinds) == set(KINDS)
    assert min(kinds.count(kind) for kind in KINDS) >= 35
    labels = {label for item in items for path in item.categories for label in path}
    assert 15 <= len(labels - {ROOT, "Women", "Men", "Clothing"}) <= 35
    assert {len(item.categories) for item in items} == {1, 2}


def test_titles_say_what_is_drawn():
    item = next(item for item in Demo().items() if " plain white " in item.title)
    assert item.title.startswith(("Men's plain white", "Women's plain white"))


def test_purchases_are_of_known_items_in_the_order_of_time():
    demo = Demo(items=60, users=80)
    known = {item.item_id for item in demo.items()}
    purchases = list(demo.purchases())
    assert {purchase.item_id for purchase in purchases} <= known
    histories = [list(history) for _, history in groupby(purchases, key=lambda purchase: purchase.user_id)]
    assert len(histories) == 80
    for history in histories:
        times = [purchase.time for purchase in history]
        assert len(history) >= 3 and times == sorted(set(times))
        assert len({purchase.item_id for purchase in history}) == len(history)
        splits = [purchase.source_split for purchase in history]
        assert splits == ["train"] * (len(history) - 2) + ["validation", "test"]


def test_a_few_users_buy_far_more_than_the_rest():
    counts = [len(list(history)) for _, history in groupby(Demo().purchases(), key=lambda purchase: purchase.user_id)]
    assert len(counts) == 2000
    assert 5 <= sum(count >= 40 for count in counts) <= 40
    assert max(count for count in counts if count < 40) == 14


def test_a_shop_may_be_tiny():
    purchases = list(Demo(items=2, users=5).purchases())
    assert len(purchases) == 10
    assert {purchase.source_split for purchase in purchases} == {"validation", "test"}
