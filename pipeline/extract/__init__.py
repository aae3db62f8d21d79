"""Stage one: images that have no vector yet, through backbones, into their stores.

`stream` does it in this process, reading, decoding, inference and writing at the same time; `parts` divides the images
among processes or machines and merges what they made.
"""

from pipeline.extract.parts import embed_in_parts, merge_parts, part_path, parts_of, share
from pipeline.extract.stream import Target, embed

__all__ = ["Target", "embed", "embed_in_parts", "merge_parts", "part_path", "parts_of", "share"]
