"""The model card: README.md of an exported folder, with the metadata that model hubs read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.core.text import printable
from pipeline.evaluation import results
from pipeline.metrics.measure import OVERALL
from pipeline.report.statistics import estimates, samples_of

TEMPLATE = Path(__file__).parent / "template"
CARD = "README.md"
CONTENTS = {
    "backbone.onnx": "pixels to vectors",
    "head.onnx": "vectors to probabilities and the photos' weights",
    "backbone.safetensors": "the backbone's weights, as timm names them",
    "head.safetensors": "the head's, folded, as visagg names them",
    "backbone.tflite": "pixels of one photo to its vector, for LiteRT, float32",
    "head.tflite": "vectors of 32 photos and their mask to what head.onnx gives, for LiteRT, float32",
}


def figures(folder: Path) -> list[dict]:
    """The main metric values of a head's results with their intervals: title, mean, low, high. Empty: not scored.

    Raises:
        StageError: when the results are damaged.
    """
    if (found := results.read(folder)) is None:
        return []
    overall = found.values().filter(pl.col("by") == "all")
    frame = estimates({("", ""): samples_of(overall)})
    titles = {metric.name: metric.title for metric in OVERALL}
    rows = {row["metric"]: row for row in frame.filter(pl.col("metric").is_in([*titles])).iter_rows(named=True)}
    return [
        {"title": title, **{key: rows[name][key] for key in ("mean", "low", "high")}} for name, title in titles.items()
    ]


def write_card(folder: Path, config: Mapping[str, Any], data: Mapping[str, Any], *, facts: Mapping[str, Any]) -> None:
    """Writes the card of a folder that has all its other files.

    Args:
        folder: which one.
        config: the content of config.json.
        data: the content of description.json.
        facts: the rest of what the template asks for.
    """
    environment = Environment(  # noqa: S701 (it is Markdown, and no one's page)
        loader=FileSystemLoader(TEMPLATE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    files = [
        {"name": name, "megabytes": (folder / name).stat().st_size / 1e6, "content": content}
        for name, content in CONTENTS.items()
        if (folder / name).exists()
    ]
    text = environment.get_template(CARD).render(
        **{name: config[name] for name in ("model", "simulated", "dim", "versions", "onnx_weights")},
        **config["preprocessing"],
        labels=[printable(label) for label in config["labels"]],
        threshold=config["thresholds"][0],
        source=data["source"],
        items=data["items"],
        images=data["distinct_images"],
        sets=data["sets"],
        files=files,
        architecture=config["fingerprint"]["architecture"],
        **facts,
    )
    (folder / CARD).write_text(text, encoding="utf-8")
