"""Where each file lies, relative to the repository's root. dvc.yaml says the same paths; a test compares them."""

from pathlib import Path

PARAMS = Path("pipeline/params.yaml")

CATALOGUE = Path("data/catalogue")
SETS = Path("data/sets.parquet")
LABELS = Path("data/labels.json")

STORES = Path("cache/embeddings")
HEADS = Path("cache/heads")
ADAPTERS = Path("cache/adapters")

REPORTS = Path("reports")
DATA_REPORT = REPORTS / "data.json"
ABLATION = REPORTS / "ablation.json"
POPULARITY = REPORTS / "metrics/popularity.json"
TABLES = REPORTS / "tables"
FIGURES = REPORTS / "figures"
PLOTS = REPORTS / "plots"
SWAPS = REPORTS / "swap"
PAGE = REPORTS / "index.html"

SCORES = Path("cache/scores")
FLOOR_SCORES = SCORES / "popularity"
GALLERY = Path("cache/gallery.json")


def store(backbone: str) -> Path:
    """A backbone's embedding store."""
    return STORES / f"{backbone}.h5"


def backbone_record(backbone: str) -> Path:
    """What is known of a backbone without loading it."""
    return Path("cache/backbones") / f"{backbone}.json"


def head(backbone: str, name: str) -> Path:
    """The folder of a trained head."""
    return HEADS / backbone / name


def adapter(old: str, new: str) -> Path:
    """The map from a new backbone's vectors to an old one's."""
    return ADAPTERS / old / f"{new}.safetensors"


def merged(old: str, new: str, name: str) -> Path:
    """The folder of a head that was trained on an old backbone and reads a new one's vectors."""
    return head(new, f"{name}_from_{old}")


def swap(old: str, new: str) -> Path:
    """What heads of an old backbone keep with a new one."""
    return SWAPS / old / f"{new}.json"


def scores(backbone: str) -> Path:
    """The results of the heads on a backbone, a folder each."""
    return SCORES / backbone


def metrics(backbone: str) -> Path:
    """The main test figures of the heads on a backbone, a file each."""
    return REPORTS / "metrics" / backbone


def cost(backbone: str) -> Path:
    """What the heads on a backbone cost."""
    return REPORTS / "cost" / f"{backbone}.json"
