"""What the catalogue and the sets hold, as `visagg sets` has described them: for people, and for programs."""

import json
from typing import Any

from pipeline.core import handover
from pipeline.core.text import printable
from pipeline.project import Project

MOST_LABELS = 10  # that are named


def describe_data(project: Project, *, as_json: bool = False) -> str:
    """The content of data/description.json, as lines or as JSON.

    Raises:
        StageError: when it is missing or damaged.
    """
    known: dict[str, Any] = handover.read_record(project.description, dict, again="run visagg sets")
    if as_json:
        return json.dumps({name: value for name, value in known.items() if name != handover.SEAL}, indent=2)
    simulated = ", simulated" if known["simulated"] else ""
    splits = [
        f"{part['sets']:>12,} {split} sets, of {part['images_a_set']} images and {part['labels_a_set']} labels each; "
        f"training shows {part['share_of_images_in_training']:.0%} of what they show"
        for split, part in known["sets"].items()
    ]
    frequent = sorted(known["sets_a_label"].items(), key=lambda entry: (-entry[1], entry[0]))
    named = ", ".join(f"{printable(name)} ({count:,})" for name, count in frequent[:MOST_LABELS])
    more = f", and {len(frequent) - MOST_LABELS} more" if len(frequent) > MOST_LABELS else ""
    return "\n".join(
        [
            f"source {known['source']}{simulated}: {known['items']:,} items, {known['items_with_image']:,} with an "
            f"image ({known['distinct_images']:,} distinct), {known['purchases']:,} purchases of "
            f"{known['users']:,} users",
            *splits,
            f"{known['labels']:>12,} labels: {named}{more}",
            *(f"{count:>12,} {printable(reason)}" for reason, count in known["rejects"].items()),
        ]
    )
