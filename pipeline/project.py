"""Where each file of a project lies. dvc.yaml says the same paths; a test compares them."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Project:
    """A folder with settings, data, cache and reports. Handed to every stage, which asks it for paths.

    Attributes:
        root: the folder; paths are relative to where the program runs when it is.

    >>> Project().checkpoint("lite0", "average")
    PosixPath('cache/heads/lite0/average')
    """

    WEIGHTS: ClassVar = "backbone.safetensors"

    root: Path = Path()

    @property
    def settings(self) -> Path:
        """All settings."""
        return self.root / "pipeline/params.yaml"

    @property
    def source(self) -> Path:
        """What the raw data are: names, sizes and times of files, of which DVC sees that they changed."""
        return self.root / "data/source.json"

    @property
    def catalogue(self) -> Path:
        """The catalogue's folder."""
        return self.root / "data/catalogue"

    @property
    def photos(self) -> Path:
        """The photos that were fetched by their addresses, with their ledger."""
        return self.root / "data/photos"

    @property
    def images(self) -> Path:
        """The catalogue's distinct images, encoded."""
        return self.catalogue / "images.h5"

    @property
    def sets(self) -> Path:
        """The labelled image sets."""
        return self.root / "data/sets.parquet"

    @property
    def image_labels(self) -> Path:
        """What each image shows by itself."""
        return self.root / "data/image_labels.parquet"

    @property
    def labels(self) -> Path:
        """The labels' names."""
        return self.root / "data/labels.json"

    @property
    def description(self) -> Path:
        """What the data are, and what could not be used."""
        return self.root / "data/description.json"

    @property
    def stores(self) -> Path:
        """The embedding stores' folder."""
        return self.root / "cache/embeddings"

    def store(self, backbone: str) -> Path:
        """A backbone's embedding store."""
        return self.stores / f"{backbone}.h5"

    def backbone_record(self, backbone: str) -> Path:
        """What is known of a backbone without loading it."""
        return self.root / "cache/backbones" / f"{backbone}.json"

    def finetuned(self, backbone: str) -> Path:
        """The folder of a fine-tuned backbone's weights."""
        return self.root / "cache/finetuned" / backbone

    def finetuned_weights(self, backbone: str) -> Path:
        """The weights themselves."""
        return self.finetuned(backbone) / self.WEIGHTS

    def finetuning(self, backbone: str) -> Path:
        """What a run that makes such weights keeps on its way."""
        return self.root / "cache/finetuning" / backbone

    def unfinished(self, *names: str) -> Path:
        """Runs that are finished, of training that is not: the same command goes on from them."""
        return self.root.joinpath("cache/unfinished", *names)

    @property
    def specs(self) -> Path:
        """Each compared head as it is built: its spec, and digests of the code that its pool is made of."""
        return self.root / "cache/specs/compared"

    @property
    def ablation_specs(self) -> Path:
        """The same of the heads of the ablation."""
        return self.root / "cache/specs/ablation"

    @property
    def reference_specs(self) -> Path:
        """The same of what the heads are held against."""
        return self.root / "cache/specs/references"

    def checkpoint(self, backbone: str, head: str, *, compared: bool = True) -> Path:
        """A head trained on a backbone's vectors; one that is not compared lies where no stage of the graph looks."""
        return self.root / (
            f"cache/heads/{backbone}/{head}" if compared else f"cache/tried/{backbone}/{head}/checkpoint"
        )

    def results(self, backbone: str, head: str, *, compared: bool = True) -> Path:
        """What such a head did on the test sets."""
        return self.root / (
            f"cache/results/{backbone}/{head}" if compared else f"cache/tried/{backbone}/{head}/results"
        )

    def all_results(self, backbone: str) -> Path:
        """The folder of what the compared heads of a backbone did."""
        return self.root / "cache/results" / backbone

    @property
    def popularity(self) -> Path:
        """What popularity did on the test sets."""
        return self.root / "cache/results/popularity"

    def references(self, backbone: str) -> Path:
        """What the references on a backbone's vectors did on the test sets, a folder each."""
        return self.root / "cache/references" / backbone

    @property
    def adapters(self) -> Path:
        """The folder of all adapters."""
        return self.root / "cache/adapters"

    def adapter(self, old: str, new: str) -> Path:
        """The map from a new backbone's vectors to an old one's."""
        return self.adapters / old / f"{new}.safetensors"

    @property
    def swaps(self) -> Path:
        """The folder of what heads keep when the backbone is swapped."""
        return self.root / "cache/swap"

    def swap(self, old: str, new: str) -> Path:
        """What the heads of an old backbone keep with a new one."""
        return self.swaps / old / f"{new}.json"

    @property
    def all_merged(self) -> Path:
        """The folder of all merged heads."""
        return self.root / "cache/merged"

    def merged(self, old: str, new: str) -> Path:
        """The folder of the heads of an old backbone that read a new one's vectors."""
        return self.all_merged / old / new

    def merged_checkpoint(self, old: str, new: str, head: str) -> Path:
        """Such a head."""
        return self.merged(old, new) / head / "checkpoint"

    def merged_results(self, old: str, new: str, head: str) -> Path:
        """What such a head did on the test sets."""
        return self.merged(old, new) / head / "results"

    @property
    def gallery(self) -> Path:
        """Some test users with their images and every head's answer."""
        return self.root / "cache/gallery.json"

    @property
    def ablation(self) -> Path:
        """What each peculiarity of the published code does."""
        return self.root / "cache/ablation.json"

    @property
    def conditions(self) -> Path:
        """Which heads do best where a set's labels are not just what its photos show."""
        return self.root / "cache/conditions.json"

    @property
    def condition_specs(self) -> Path:
        """The heads of the conditions, as `specs`."""
        return self.root / "cache/specs/conditions"

    def cost(self, backbone: str) -> Path:
        """What the heads on a backbone cost on this machine."""
        return self.root / "cache/cost" / f"{backbone}.json"

    @property
    def tables(self) -> Path:
        """The report's tables."""
        return self.root / "reports/tables"

    @property
    def times(self) -> Path:
        """The report's tables of what this machine measured; not in git."""
        return self.root / "reports/times"

    @property
    def plots(self) -> Path:
        """The report's plots, and what `dvc plots` draws."""
        return self.root / "reports/plots"

    @property
    def metrics(self) -> Path:
        """The main metric values, for `dvc metrics`."""
        return self.root / "reports/metrics"

    @property
    def page(self) -> Path:
        """The report as one page."""
        return self.root / "reports/index.html"
