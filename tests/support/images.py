"""Small images, and catalogues of them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.catalogue.images import Images, write_images
from pipeline.core import provenance


def jpeg(seed: int, width: int = 96, height: int = 128) -> bytes:
    """A small JPEG with something on it, another one for each seed."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 5, 3), np.uint8))
    out = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def bank(path: Path, encoded: list[bytes]) -> Images:
    """An images.h5 of some distinct images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_images(path) as writer:
        for data in encoded:
            writer.append(data, provenance.digest(data))
    return Images(path)


def write_table_source(folder: Path, images: int = 6, users: int = 40) -> None:
    """A source of tables: a few images and users."""
    (folder / "photos").mkdir(parents=True)
    items, purchases = ["item_id,image,categories"], ["user_id,item_id,time"]
    for i in range(images):
        (folder / f"photos/{i}.jpg").write_bytes(jpeg(i))
        items.append(f"i{i},photos/{i}.jpg,Clothing > kind {i % 3}|Clothing > odd {i % 2}")
    purchases += [f"u{u},i{(u * 5 + j) % images},{j}" for u in range(users) for j in range(3)]
    (folder / "items.csv").write_text("\n".join(items))
    (folder / "purchases.csv").write_text("\n".join(purchases))
