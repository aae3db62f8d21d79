"""What the report reads of other stages beside heads' results: the kinds that it makes sure of.

An entry is a metric value with its interval.
"""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from pipeline.core.handover import Dim, Hex

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
Estimate = Annotated[list[float], Field(min_length=3, max_length=3)]  # value, low, high


class Entry(TypedDict):
    """A metric value."""

    value: float
    interval: Interval


class SplitDescription(TypedDict):
    """What one split's sets are like, on average."""

    sets: Count
    images_a_set: float
    labels_a_set: float
    share_of_images_in_training: Share


class Description(TypedDict):
    """What data/description.json holds: what the data are, and what could not be used."""

    source: str
    simulated: bool
    drawn: bool
    sets_digest: Hex
    items: Count
    items_with_image: Count
    distinct_images: Count
    purchases: Count
    users: Count
    users_above_limit: Count
    users_without_image: Count
    users_without_label: Count
    sets: dict[str, SplitDescription]
    labels: Count
    sets_a_label: dict[str, Count]
    rejects: dict[str, Count]
    unreadable_images: dict[str, Count]


class HeadCost(TypedDict):
    """What one head costs, as it is trained and folded."""

    parameters: Count
    milliseconds: float
    folded_parameters: Count
    folded_milliseconds: float


class Machine(TypedDict):
    """Where times were measured, and with how many threads."""

    processor: str
    threads: Count
    torch: str


class Cost(TypedDict):
    """What cache/cost/BACKBONE.json holds."""

    dim: Dim
    classes: Count
    images: Count
    backbone_parameters: Count
    machine: Machine
    heads: dict[str, HeadCost]


class Ablation(TypedDict):
    """What cache/ablation.json holds.

    A row has a head, a switch, and for each metric estimates by their kind; a ratio has two heads, a switch, and how
    many times as high one head's metric values are as the other's.
    """

    sets_digest: Hex
    backbone: str
    rows: list[dict[str, str | dict[str, Estimate]]]
    ratios: list[dict[str, str | Estimate]]


class HeadInCase(TypedDict):
    """What a head did on one case's simulated users; `behind`: how far validation's choice is ahead of it."""

    validation: float
    micro_ap: Estimate
    micro_f1: Estimate
    behind: Estimate


class CaseRecord(TypedDict):
    """One case: the head that validation prefers, the best one on test, and what each head did."""

    case: str
    preferred: str
    best: str
    heads: dict[str, HeadInCase]


class Conditions(TypedDict):
    """What cache/conditions.json holds."""

    sets_digest: Hex
    backbone: str
    users: Count
    cases: list[CaseRecord]


class MetricKept(TypedDict):
    """One metric with an adapter."""

    adapted: Entry
    retention: Entry | None
    gain: Entry


class Adapted(TypedDict):
    """What a head keeps with one adapter."""

    adapter: str
    pairs: Count
    micro_ap: MetricKept
    micro_f1: MetricKept
    negative_flips: Entry
    overlap: Entry


class SwappedHead(TypedDict):
    """A head with its old backbone and with a new one."""

    obstacle: str | None
    stay: dict[str, Entry]
    unadapted: dict[str, Entry] | None
    retrained: dict[str, Entry] | None
    adapted: Annotated[list[Adapted], Field(min_length=1)]


class Closeness(TypedDict):
    """How close an adapter comes to the old vectors."""

    adapter: str
    pairs: Count
    images: Count
    strength: NotRequired[float]
    rank: NotRequired[Count]
    cosine: Entry
    explained_variance: Entry


class Swap(TypedDict):
    """What cache/swap/OLD/NEW.json holds."""

    sets_digest: Hex
    old: str
    new: str
    k: Count
    test_users: Count
    backbone_parameters: dict[str, Count]
    images: Count
    training_images: Count
    best: str
    adapter_parameters: Count
    compared_on: str
    adapters: Annotated[list[Closeness], Field(min_length=1)]
    refused: dict[str, str]
    floor: dict[str, Entry]
    heads: dict[str, SwappedHead]


class Picture(TypedDict):
    """A small image; where it cannot be read any more, why."""

    item_id: str
    title: str
    jpeg: str
    unusable: NotRequired[str]


class Answer(TypedDict):
    """What a head said of a user."""

    f1: Share
    weights: list[Share | None]
    predicted: list[Count]
    best: list[Count]
    best_scores: list[float]


class User(TypedDict):
    """A user whom the page shows."""

    set_id: str
    why: str
    f1: Share
    images: list[Count]
    true: list[Count]
    answers: list[Answer]


class Gallery(TypedDict):
    """What cache/gallery.json holds."""

    sets_digest: Hex
    labels: list[str]
    pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]]
    missing: list[list[str]]
    images: dict[str, Picture]
    users: list[User]
