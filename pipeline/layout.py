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
PAGE = REPORTS / "index.html"
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


def scores(backbone: str, name: str) -> Path:
    """A head's figures and scores, set by set."""
    return Path("cache/scores") / backbone / f"{name}.parquet"


def metrics(backbone: str, name: str) -> Path:
    """A head's test figures."""
    return REPORTS / "metrics" / backbone / f"{name}.json"


def cost(backbone: str) -> Path:
    """What the heads on a backbone cost."""
    return REPORTS / "cost" / f"{backbone}.json"
