"""Lists in the layouts of the Amazon reviews of 2014, 2018 and 2023, of any size, drawn from a seed.

To measure: python -m tests.support.amazon FOLDER --release 2023 --items 300000 --reviews 3000000, then give FOLDER to
the source; --measure does that in a fresh process, and says the time and the most memory.
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from PIL import Image

RELEASES = ("2014", "2018", "2023")
START = 1_300_000_000
KINDS = ("Tops", "Jeans", "Skirts", "Shirts", "Boots", "Sandals")


def asin(number: int) -> str:
    """An item's id: ten characters."""
    return f"B{number:09d}"


def user(number: int) -> str:
    """A user's id, as long as those of 2023."""
    return f"AE{number:026d}"


def path(number: int) -> list[str]:
    """An item's categories."""
    return ["Clothing, Shoes & Jewelry", ("Women", "Men")[number % 2], "Clothing", KINDS[number // 2 % len(KINDS)]]


def address(number: int) -> str:
    """The address of an item's photo."""
    return f"http://a.example/images/I/{number}.jpg"


def item(number: int, release: str, url: str | None = None) -> bytes:
    """A line of a list of items."""
    name, url = f"Item {number} & more, with a name of a common length", address(number) if url is None else url
    if release == "2014":
        return repr({"asin": asin(number), "title": name, "imUrl": url, "categories": [path(number)]}).encode()
    if release == "2018":
        features = ["Imported", "Machine Wash", f"number {number} of its kind"][: number % 4]
        content = {"category": path(number) + features, "title": name, "asin": asin(number), "imageURLHighRes": [url]}
        return json.dumps(content).encode()
    images = [{"thumb": url, "large": url, "variant": "MAIN", "hi_res": None}]
    content = {"main_category": "AMAZON FASHION", "title": name, "images": images, "categories": path(number)}
    return json.dumps({**content, "details": {"Department": "womens"}, "parent_asin": asin(number)}).encode()


def review(draw: Random, items: int, users: int, *, release: str) -> dict:
    """A review: users and items are as unevenly busy as real ones."""
    who, what = user(int(users * draw.random() ** 2)), asin(int(items * draw.random() ** 3))
    rating, when, text = (
        float(draw.randrange(1, 6)),
        START + draw.randrange(10**8),
        "It fits and looks as it should. " * 8,
    )
    if release == "2023":
        names = {"rating": rating, "title": "Good", "text": text, "asin": what, "parent_asin": what, "user_id": who}
        return {**names, "timestamp": 1000 * when + 7, "verified_purchase": draw.random() < 0.8}
    names = {"overall": rating, "reviewerID": who, "asin": what, "reviewText": text, "unixReviewTime": when}
    return {**names, "verified": draw.random() < 0.8} if release == "2018" else {**names, "helpful": [0, 0]}


def write_lists(
    folder: Path,
    release: str,
    *,
    items: int,
    reviews: int,
    seed: int = 0,
    address: Callable[[int], str] = address,
) -> None:
    """Writes meta_X.json.gz, reviews_X.json.gz and a photo into a folder: a third as many users as reviews."""
    draw, users = Random(seed), max(1, reviews // 3)
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(review(draw, items, users, release=release)).encode() for _ in range(reviews))
    write_gzip(folder / "meta_X.json.gz", (item(number, release, address(number)) for number in range(items)))
    write_gzip(folder / "reviews_X.json.gz", lines)
    (folder / "photos").mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(folder / "photos" / f"{asin(0)}.png")


def write_gzip(file: Path, lines: Iterator[bytes]) -> None:
    """Writes lines, gzipped, the same bytes each time."""
    with file.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0, filename="") as packed:
        for line in lines:
            packed.write(line + b"\n")


def read(folder: Path, k_core: int) -> None:
    """Makes a catalogue of the lists, and says how long that took and how much memory at most."""
    from pipeline.ingest.amazon.photos import FolderPhotos
    from pipeline.ingest.amazon.source import AmazonReviews
    from pipeline.ingest.stage import build_catalogue
    from pipeline.settings.amazon import AmazonSettings

    start = time.monotonic()
    source = AmazonReviews(folder, AmazonSettings(k_core=k_core), folder, photos=FolderPhotos(folder / "photos"))
    seconds, most = [time.monotonic() - start], [_most_memory()]
    tally = build_catalogue(source, str(folder), folder / "catalogue", threads=2).rejects
    seconds.append(time.monotonic() - start - seconds[0])
    most.append(_most_memory())
    print(*tally.summary(), sep="\n")
    print("k-core", k_core, "| read, catalogue: seconds", *map(round, seconds), "| at most MiB", *map(round, most))


def _most_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Writes lists, or reads those that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--release", choices=RELEASES, default="2023")
    parser.add_argument("--items", type=int, default=30_000)
    parser.add_argument("--reviews", type=int, default=300_000)
    parser.add_argument("--k-core", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="write, then read in a process of its own")
    parser.add_argument("--read", action="store_true", help="read what is there")
    given = parser.parse_args()
    if given.read:
        read(given.folder, given.k_core)
        return
    write_lists(given.folder, given.release, items=given.items, reviews=given.reviews)
    if given.measure:
        words = [
            sys.executable,
            "-m",
            "tests.support.amazon",
            str(given.folder),
            "--read",
            "--k-core",
            str(given.k_core),
        ]
        subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
