"""What is embedded with, and where the vectors go."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.catalogue.images import Images
from pipeline.core.errors import StageError
from pipeline.core.progress import Console
from pipeline.embed.backbones.backbone import Backbone
from pipeline.embeddings.store import DONE, UNREADABLE
from pipeline.embeddings.writer import EmbeddingWriter, open_for_writing


@dataclass(frozen=True)
class Target:
    """A backbone, and the store that its vectors go to.

    Attributes:
        name: the backbone's alias, for messages.
        backbone: the model.
        path: the store.
    """

    name: str
    backbone: Backbone
    path: Path


@contextmanager
def open_stores(images: Images, targets: Sequence[Target], *, rebuild: bool = False) -> Iterator[list[EmbeddingWriter]]:
    """The stores of some targets, open for writing, in their order.

    Args:
        images: the images of a catalogue, or a part of them: one row of each store an image.
        targets: the backbones and their stores.
        rebuild: whether to begin anew, whatever the stores hold.

    Raises:
        StoreError: when a store is another backbone's or damaged, or another process holds it.
    """
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                open_for_writing(
                    target.path,
                    target.backbone.fingerprint,
                    images.digests,
                    parameters=target.backbone.parameters,
                    rebuild=rebuild,
                )
            )
            for target in targets
        ]


def report(
    targets: Sequence[Target], stores: Sequence[EmbeddingWriter], console: Console, *, whole_catalogue: bool
) -> None:
    """Says how many vectors there are, and how many images are unreadable.

    Args:
        targets: the backbones and their stores.
        stores: these stores, open.
        console: where it says so.
        whole_catalogue: whether the stores are of all images, so that not one readable among them is a fault.

    Raises:
        StageError: when a whole catalogue has no readable image.
    """
    for target, store in zip(targets, stores, strict=True):
        done, unreadable = store.count(DONE), store.count(UNREADABLE)
        if unreadable and not done and whole_catalogue:
            raise StageError(f"{target.name}: not one of {unreadable} images could be read")
        lost = f", {unreadable:,} of {done + unreadable:,} images are unreadable" if unreadable else ""
        console.say(f"embed {target.name}: {done:,} vectors of {target.backbone.dim:,} numbers{lost}: {target.path}")
