"""Every pool's options, width and number of parameters. Needs no torch.

The pools themselves are in `vector_pools/` and `score_pools/`, under the same names.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.heads.spec import HeadSpec


@dataclass(frozen=True)
class Pool:
    """A pool, without its code.

    Attributes:
        parameters: how many it has, from the spec, d and c.
        width: of the vector that the gate and the classifier see, from the spec and d.
        options: the keys of a spec that not every pool has, with this pool's defaults.
        obstacle: why an affine map of the images' vectors cannot be merged into it; None where it can.
    """

    parameters: Callable[["HeadSpec", int, int], int] = lambda o, d, c: 0
    width: Callable[["HeadSpec", int], int] = lambda o, d: d
    options: dict[str, object] = field(default_factory=dict)
    obstacle: str | None = None


def _gated(width: int, d: int, outputs: int) -> int:
    """Parameters of GatedScores."""
    return 2 * width * (d + 1) + width * outputs


def _squeezed(o: "HeadSpec", d: int) -> int:
    return o.squeeze if o.project else d


_SCORED = {"scale_scores": True}
_SQUEEZED = {"squeeze": 256, "project": False, **_SCORED}
_OWN_SPACE = "it normalises in the vectors' own space"

VECTOR = {
    "mean": Pool(options={"divide_by": None}),
    "max": Pool(obstacle="it takes the largest number of each dimension"),
    "gem": Pool(lambda o, d, c: 1, obstacle="it takes powers of each dimension"),
    "sum": Pool(lambda o, d, c: o.width * (d + 1), lambda o, d: o.width, {"width": 256}),
    "attention": Pool(lambda o, d, c: d, options=_SCORED),
    "attention2": Pool(
        lambda o, d, c: d + d * d + d, options=_SCORED, obstacle="its second query comes straight out of a tanh"
    ),
    "squeeze_attention": Pool(lambda o, d, c: o.squeeze * d + o.squeeze, _squeezed, _SQUEEZED),
    "squeeze_expand": Pool(lambda o, d, c: 2 * o.squeeze * d + o.squeeze * (o.squeeze + 2), _squeezed, _SQUEEZED),
    "low_rank_attention2": Pool(lambda o, d, c: 2 * o.rank * d + d + o.rank, options={"rank": 256, **_SCORED}),
    "gated_attention": Pool(lambda o, d, c: _gated(o.attention_width, d, 1), options={"attention_width": 128}),
    "multi_query": Pool(lambda o, d, c: o.queries * d, lambda o, d: o.queries * d, {"queries": 4, **_SCORED}),
    "pma": Pool(
        lambda o, d, c: o.width * (d + 1 + o.queries + 4 * o.width + 6) + o.feed_forward * o.width * (o.width + 3),
        lambda o, d: o.queries * o.width,
        {"width": 128, "queries": 1, "attention_heads": 4, "feed_forward": True},
    ),
    "soft_dbow": Pool(lambda o, d, c: o.clusters * (d + 1), lambda o, d: o.clusters, {"clusters": 128}),
    "netvlad": Pool(lambda o, d, c: o.clusters * (2 * d + 1), lambda o, d: o.clusters * d, {"clusters": 4}, _OWN_SPACE),
    "netrvlad": Pool(lambda o, d, c: o.clusters * (d + 1), lambda o, d: o.clusters * d, {"clusters": 4}, _OWN_SPACE),
    "nextvlad": Pool(
        lambda o, d, c: (
            o.width * (d + 1) + o.groups * (o.clusters + 1) * (o.width + 1) + o.clusters * (o.width // o.groups)
        ),
        lambda o, d: o.clusters * (o.width // o.groups),
        {"width": 512, "groups": 8, "clusters": 16},
    ),
}

SCORE = {
    "instance_max": Pool(),
    "noisy_or": Pool(),
    "logsumexp": Pool(),
    "logsumexp_sharp": Pool(lambda o, d, c: c),
    "instance_attention": Pool(
        lambda o, d, c: c * d if o.attention_width is None else _gated(o.attention_width, d, c),
        options={"attention_width": None},
    ),
    "instance_mean": Pool(),
}

POOLS = VECTOR | SCORE

# Options that not every pool has, and what a pool does that has them.
OPTIONS = {
    "squeeze": "squeezes",
    "project": "squeezes",
    "rank": "has a low-rank second layer",
    "queries": "has several queries",
    "attention_heads": "has several attention heads",
    "attention_width": "gates its attention",
    "feed_forward": "is a transformer's",
    "width": "maps the vectors to a width of its own",
    "clusters": "has clusters",
    "groups": "divides vectors into groups",
    "divide_by": "averages",
    "scale_scores": "scores vectors by a query",
}


def pools_with(option: str) -> list[str]:
    """Names of the pools that take an option."""
    return [name for name, pool in POOLS.items() if option in pool.options]
