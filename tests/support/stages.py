"""The commands of the program as a harness of faults needs them: what each writes, and who reads that."""

from dataclasses import dataclass
from typing import Any

SMALL = {
    "demo.items": 100,
    "demo.users": 120,
    "sets.least_items": 10,
    "compare.backbones": ["lite0", "lite1"],
    "compare.heads": ["average", "average_fc"],
    "ablation.heads": ["average"],
    "conditions.heads": ["average"],
    "conditions.users": 60,
    "conditions.cases": {"gifts": {"rule": "any", "gifts": 0.2, "photos": 5}},
    "embed.engine": "torch",
    "embed.precision": "float32",
    "embed.batch_size": 16,
    "embed.threads": 2,
    "finetune.blocks": 1,
    "finetune.epochs": 2,
    "finetune.views": 2,
    "train.seeds": [0, 1],
    "train.learning_rates": [1e-2, 3e-2],
    "train.cycles": [2],
    "evaluate.ks": [2, 3],
    "evaluate.resamples": 100,
}
FEWER = {"compare.heads": ["average"]}
RESAMPLED = {"evaluate.resamples": 120}


@dataclass(frozen=True)
class Stage:
    """A command of the program.

    Attributes:
        name: in tables.
        words: of the command.
        units: what it writes, each of which appears as a whole.
        other: settings with which the older outputs were made.
        before: commands that run first with these other settings, where the stage alone would not differ.
        more: commands that the stages behind need as well.
        readers: commands that read what it writes.
        measures: whether its figures are of the machine, and others each time.
        in_place: whether it fills its output in place and goes on from there, so that half of it is no loss.
    """

    name: str
    words: tuple[str, ...]
    units: tuple[str, ...]
    other: dict[str, Any]
    before: tuple[tuple[str, ...], ...] = ()
    more: tuple[tuple[str, ...], ...] = ()
    readers: tuple[str, ...] = ()
    measures: bool = False
    in_place: bool = False


REPORTS = tuple(f"reports/{name}" for name in ("tables", "times", "metrics", "plots", "index.html"))
HEADS = ("average", "average_fc")
TUNED = ("finetune", "lite0_tuned")
PART = "cache/embeddings/parts/1-of-2/lite0.h5"
TRAINED = tuple(("train", backbone, head) for backbone in ("lite0", "lite1") for head in HEADS)
STAGES = {
    stage.name: stage
    for stage in (
        Stage("ingest", ("ingest",), ("data/catalogue",), {"demo.seed": 8}, readers=("sets",)),
        Stage(
            "sets",
            ("sets",),
            ("data/sets.parquet", "data/image_labels.parquet", "data/labels.json", "data/description.json"),
            {"sets.least_items": 15, "sets.split.seed": 1},
            readers=("train", "popularity"),
        ),
        Stage(
            "specs",
            ("specs",),
            tuple(f"cache/specs/{name}" for name in ("compared", "ablation", "references", "conditions")),
            FEWER,
        ),
        Stage("finetune", TUNED, ("cache/finetuned/lite0_tuned",), {"finetune.learning_rate": 3e-3}),
        Stage(
            "embed",
            ("embed", "lite0"),
            ("cache/embeddings/lite0.h5",),
            {"demo.items": 60},
            before=(("ingest",),),
            more=(("embed", "lite1"),),
            readers=("train",),
            in_place=True,
        ),
        Stage(
            "shard",
            ("embed", "lite0", "--shard", "1/2"),
            (PART,),
            {"demo.items": 60},
            before=(("ingest",),),
            more=(("embed", "lite0", "--shard", "2/2"),),
            in_place=True,
        ),
        Stage(
            "join",
            ("cache", "merge", "lite0"),
            ("cache/embeddings/lite0.h5",),
            {"demo.items": 60},
            before=(("ingest",), ("embed", "lite0")),
            readers=("train",),
            in_place=True,
        ),
        Stage(
            "train",
            TRAINED[0],
            ("cache/heads/lite0/average",),
            {"train.seeds": [0]},
            more=TRAINED[1:],
            readers=("evaluate",),
        ),
        Stage(
            "evaluate",
            ("evaluate", "lite0"),
            tuple(f"cache/results/lite0/{head}" for head in HEADS),
            RESAMPLED,
            more=(("evaluate", "lite1"),),
        ),
        Stage(
            "references",
            ("references", "lite0"),
            tuple(f"cache/references/lite0/{name}" for name in ("image_classifier", "nearest_images")),
            {"train.seeds": [0]},
            more=(("references", "lite1"),),
        ),
        Stage("popularity", ("popularity",), ("cache/results/popularity",), RESAMPLED),
        Stage(
            "cost",
            ("cost", "lite0"),
            ("cache/cost/lite0.json",),
            FEWER,
            more=(("cost", "lite1"),),
            measures=True,
        ),
        Stage("conditions", ("conditions",), ("cache/conditions.json",), {"conditions.seed": 1}),
        Stage("ablate", ("ablate",), ("cache/ablation.json",), RESAMPLED),
        Stage(
            "swap",
            ("swap", "lite0", "lite1"),
            ("cache/adapters/lite0/lite1.safetensors", "cache/swap/lite0/lite1.json"),
            RESAMPLED,
            readers=("merge",),
        ),
        Stage(
            "merge",
            ("merge", "lite0", "lite1"),
            tuple(f"cache/merged/lite0/lite1/{head}/{part}" for head in HEADS for part in ("checkpoint", "results")),
            RESAMPLED,
        ),
        Stage("gallery", ("gallery",), ("cache/gallery.json",), FEWER),
        Stage("report", ("report",), REPORTS, FEWER),
    )
}
READ_BY_REPORT = ("evaluate", "popularity", "references", "conditions", "cost", "ablate", "swap", "merge", "gallery")
