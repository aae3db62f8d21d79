"""Times of purchases as shops write them: read as they are meant, or refused; and too many refusals stop the whole."""

import polars as pl
import pytest

from pipeline.core.errors import SourceError, Unusable
from pipeline.ingest.moments import seconds
from pipeline.ingest.raw import RawItem, RawPurchase, Reject
from pipeline.ingest.stage import build_catalogue
from pipeline.ingest.table import TableSource
from tests.support.images import jpeg

DAY = 1600128000  # 2020-09-15, midnight in UTC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (str(DAY), DAY),
        (f"{DAY}000", DAY),
        (f"{DAY}000000", DAY),
        (f"{DAY}000000000", DAY),
        (f"{DAY}.0", DAY),
        (f"{DAY}.", DAY),
        ("20200915", DAY),
        ("2020-09-15", DAY),
        ("2020-09-15T00:00:00Z", DAY),
        ("2020-09-15 02:00:00+02:00", DAY),
        ("0", 0),
        ("-5", -5),
        ("7", 7),  # any whole number may order a user's purchases
        ("99999999", 99999999),  # eight digits, and no day
    ],
)
def test_what_is_clear_is_read_as_it_is_meant(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["05/11/2020", "5.11.2020", "1600128000.5", "yesterday", "2020-13-01", "1e9"])
def test_what_is_not_clear_is_refused_with_a_way_out(text):
    with pytest.raises(Unusable, match=r"set source.dates"):
        seconds(text)


def test_a_form_that_is_given_decides():
    assert seconds("05/11/2020", "%d/%m/%Y") != seconds("05/11/2020", "%m/%d/%Y")
    assert seconds("15/09/2020", "%d/%m/%Y") == DAY
    with pytest.raises(Unusable, match="not of the form"):
        seconds(str(DAY), "%d/%m/%Y")


def table(folder, times, **form):
    """A table source with an item, bought once at each time."""
    (folder / "a.jpg").write_bytes(jpeg(1, 40, 40))
    (folder / "items.csv").write_text("item_id,image,categories\na,a.jpg,Hats\n")
    users = [f"u{index}" for index in range(len(times))]
    pl.DataFrame({"user_id": users, "item_id": "a", "time": times}).write_csv(folder / "purchases.csv")
    return TableSource(folder, **form)


def test_a_table_with_all_forms_loses_no_purchase(tmp_path):
    source = table(tmp_path, [str(DAY), f"{DAY}000", "20200915", "2020-09-15", f"{DAY}.0"])
    assert {purchase.time for purchase in source.purchases()} == {DAY}


def test_too_many_refusals_stop_with_their_reasons(tmp_path):
    times = [str(DAY)] * 7 + ["05/11/2020"] * 3
    with pytest.raises(SourceError, match=r"3 of 10 purchases cannot be used, .* 3 the time is") as raised:
        build_catalogue(table(tmp_path, times), "t", tmp_path / "c", threads=1, most_rejects=0.2)
    assert "\n" not in str(raised.value) and not (tmp_path / "c").exists()
    said = build_catalogue(table(tmp_path, times), "t", tmp_path / "c", threads=1, most_rejects=0.3).rejects.summary()
    assert len(said) == 1 and "3 purchase: the time is neither" in said[0]


class Given:
    """A source of what is given."""

    def __init__(self, items, purchases):
        self.items, self.purchases = lambda: iter(items), lambda: iter(purchases)


def test_items_that_are_kept_all_the_same_do_not_count_as_refused(tmp_path):
    picture = jpeg(1, 40, 40)
    items = [RawItem(str(number), [], "", lambda: picture) for number in range(5)]
    bought = [RawPurchase("u", "1", 0)]
    said = build_catalogue(Given(items, bought), "t", tmp_path / "c", threads=1, most_rejects=0.0).rejects.summary()
    assert len(said) == 1 and "5 item: no category" in said[0]
    items += [Reject("item", "x", "no item_id")]
    with pytest.raises(SourceError, match=r"1 of 6 items cannot be used, more than .* 1 no item_id"):
        build_catalogue(Given(items, bought), "t", tmp_path / "d", threads=1, most_rejects=0.1)
