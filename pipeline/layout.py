"""Where each file lies, relative to the repository's root. dvc.yaml says the same paths; a test compares them."""

from pathlib import Path

PARAMS = Path("pipeline/params.yaml")

CATALOGUE = Path("data/catalogue")
SETS = Path("data/sets.parquet")
LABELS = Path("data/labels.json")

STORES = Path("cache/embeddings")

REPORTS = Path("reports")
DATA_REPORT = REPORTS / "data.json"
ABLATION = REPORTS / "ablation.json"
POPULARITY = REPORTS / "metrics/popularity.json"
TABLES = REPORTS / "tables"
FIGURES = REPORTS / "figures"
PLOTS = REPORTS / "plots"
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
    return Path("cache/heads") / backbone / name


def scores(backbone: str) -> Path:
    """The results of the heads on a backbone, a folder each."""
    return SCORES / backbone


def metrics(backbone: str) -> Path:
    """The main test figures of the heads on a backbone, a file each."""
    return REPORTS / "metrics" / backbone


def cost(backbone: str) -> Path:
    """What the heads on a backbone cost."""
    return REPORTS / "cost" / f"{backbone}.json"
