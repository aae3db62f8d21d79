"""Raw formats, one module each. Only here is known what raw data look like."""

from collections.abc import Callable
from pathlib import Path

from pipeline.sources.demo import Demo
from pipeline.sources.dvbpr import DVBPR
from pipeline.sources.raw import Source
from pipeline.sources.table import Table

# Each takes the path that params.yaml names, and the demo's settings, which only the demo looks at.
READERS: dict[str, Callable[[Path, dict[str, int]], Source]] = {
    "demo": lambda path, demo: Demo(**demo),
    "dvbpr": lambda path, demo: DVBPR(path),
    "table": lambda path, demo: Table(path),
}
