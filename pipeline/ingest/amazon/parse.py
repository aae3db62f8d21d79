"""Records of the three releases as items and reviews of one shape, or why they are none: with the field at fault."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape

from pipeline.ingest.amazon.release import Release
from pipeline.ingest.raw import Wrong

ID = re.compile(r"[0-9A-Za-z_.:-]{1,64}")
MOST_CATEGORIES = 1000  # names of one item, over all its paths
LONGEST_TITLE, LONGEST_NAME = 2000, 1000  # characters
VIDEO = "play-button-overlay"  # in the address of a video's still
LONGEST_ADDRESS = 2000
LATEST = 4_102_444_800  # 2100-01-01, in seconds: a time behind it is in another unit
SCRIPT = "getTime"  # what titles of 2018 hold that are a piece of the page's script

# In the categories of 2018, what begins the features that follow them; the frequency of names cuts the others.
_FEATURE = re.compile(r"(?i)imported$|made in |.*%|.{60}")


@dataclass(frozen=True)
class Review:
    """A user's review of an item.

    Attributes:
        user_id: who wrote it.
        item_id: of what; of 2023, the parent item.
        rating: stars; None where it has none.
        time: seconds since 1970.
        is_verified: whether it was bought; None where the file does not say.
    """

    user_id: str
    item_id: str
    rating: float | None
    time: int
    is_verified: bool | None


def item_id(record: dict, release: Release) -> str:
    """The item's id.

    Raises:
        Wrong: there is none, or it is none.
    """
    return _id(record, "parent_asin" if release == "2023" else "asin")


def title(record: dict) -> str:
    """The item's name; empty where it has none, or a piece of a script in its place.

    >>> title({"title": "Hats &amp; caps"})
    'Hats & caps'
    >>> title({"title": "<script>var aPageStart = (new Date()).getTime();"})
    ''
    """
    text = record.get("title")
    if not isinstance(text, str) or SCRIPT in text or text.startswith("<span id"):
        return ""
    return _clean(text)[:LONGEST_TITLE]


def categories(record: dict, release: Release, *, depth: int) -> list[list[str]]:
    """The item's paths of categories, each of at most `depth` names; empty where it has none.

    Of 2018, a path ends where the features of the item begin, as far as one name tells; see `Bullets` for the rest.

    Raises:
        Wrong: the field is no list of names, or holds more than 1000.

    >>> categories({"category": ["Clothing", "Women", "Imported", "Machine wash"]}, "2018", depth=7)
    [['Clothing', 'Women']]
    """
    field = "category" if release == "2018" else "categories"
    value = record.get(field) or []
    if not isinstance(value, list | tuple):
        raise Wrong("categories are not a list", field, value)
    paths = value if value and all(isinstance(path, list | tuple) for path in value) else [value]
    if sum(map(len, paths)) > MOST_CATEGORIES or len(paths) > MOST_CATEGORIES:
        raise Wrong(f"more than {MOST_CATEGORIES} categories", field, "")
    if not all(isinstance(name, str) for path in paths for name in path):
        raise Wrong("categories are not lists of text", field, value)
    kept = []
    for path in paths:
        names = [_clean(name)[:LONGEST_NAME] for name in path]
        if release == "2018":
            names = _before_features(names)
        kept.append([name for name in names if name][:depth])
    return [path for path in kept if path]


def photo_address(record: dict, release: Release) -> str:
    """The address of the item's photo; empty where it has none.

    Of several, the one that is marked as the main one, else the first; large before the largest.

    >>> images = [{"large": "https://a/2.jpg"}, {"large": "https://a/1.jpg", "variant": "MAIN"}]
    >>> photo_address({"images": images}, "2023")
    'https://a/1.jpg'
    """
    if release == "2014":
        addresses = [record.get("imUrl")]
    elif release == "2018":
        addresses = [*_listed(record.get("imageURLHighRes")), *_listed(record.get("imageURL"))]
    else:
        images = [image for image in _images(record.get("images")) if isinstance(image, dict)]
        images.sort(key=lambda image: image.get("variant") != "MAIN")
        addresses = [image.get(size) for image in images for size in ("large", "hi_res", "thumb")]
    texts = (address.strip() for address in addresses if isinstance(address, str))
    return next((text for text in texts if text and VIDEO not in text and len(text) <= LONGEST_ADDRESS), "")


def _images(value: object) -> list:
    """The images of 2023; the hub's parquet has a list for each of their fields."""
    if not isinstance(value, dict):
        return _listed(value)
    fields = {name: _listed(entries) for name, entries in value.items()}
    count = min(MOST_CATEGORIES, max(map(len, fields.values()), default=0))
    return [{name: entries[n] for name, entries in fields.items() if n < len(entries)} for n in range(count)]


def _listed(value: object) -> list:
    return [*value[:MOST_CATEGORIES]] if isinstance(value, list | tuple) else []


def department(record: dict) -> list[list[str]]:
    """The department among the details of an item of 2023, as its only path; empty where there is none.

    >>> department({"details": {"Department": "womens"}})
    [['womens']]
    """
    details = record.get("details")
    value = details.get("Department") if isinstance(details, dict) else None
    name = _clean(value)[:LONGEST_NAME] if isinstance(value, str) else ""
    return [[name]] if name else []


def review(record: dict, release: Release) -> Review:
    """A record as a review.

    Raises:
        Wrong: its user, item or time is none, or its rating is there and no number.
    """
    if release == "2023":
        names = ("user_id", "parent_asin", "rating", "timestamp", "verified_purchase")
    else:
        names = ("reviewerID", "asin", "overall", "unixReviewTime", "verified")
    user, item, rating, time, verified = names
    is_verified = record.get(verified)
    return Review(
        user_id=_id(record, user),
        item_id=_id(record, item),
        rating=_rating(record.get(rating), rating),
        time=_time(record, time, scale=1000 if release == "2023" else 1),
        is_verified=is_verified if isinstance(is_verified, bool) else None,
    )


def _id(record: dict, field: str) -> str:
    value = record.get(field)
    if value is None or value == "":
        raise Wrong(f"no {field}", field, "")
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise Wrong(f"{field} is no identifier", field, value)
    return value


def _rating(value: object, field: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 5:
        raise Wrong("the rating is not a number from 0 to 5", field, value)
    return float(value)


def _time(record: dict, field: str, *, scale: int) -> int:
    value = record.get(field)
    if value is None and isinstance(record.get("reviewTime"), str):
        field, value = "reviewTime", _day(record["reviewTime"])
    if value is None:
        raise Wrong("no time", field, record.get(field, ""))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 < value // scale < LATEST:
        unit = "milliseconds" if scale > 1 else "seconds"
        raise Wrong(f"the time is not in {unit} since 1970", field, value)
    return value // scale


def _day(text: str) -> int | None:
    """The seconds of a day such as "09 13, 2009"; None where it is no day."""
    try:
        return int(datetime.strptime(text, "%m %d, %Y").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def _before_features(names: list[str]) -> list[str]:
    end = next((place for place, name in enumerate(names) if _FEATURE.match(name)), len(names))
    return names[:end]


def _clean(text: str) -> str:
    """Without the page's character references, halves of characters, and spaces around it."""
    return unescape(text).encode("utf-8", "replace").decode("utf-8").strip()
