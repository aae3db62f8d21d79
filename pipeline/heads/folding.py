"""Folding: a smaller head with the same answers, where algebra allows.

Three steps, each on a head's spec and its state (parameters and buffers by name):

1. The scale of attention scores is multiplied into the queries.
2. A squeeze has nothing between itself and the next linear map, so the two become one: squeeze attention is one-layer
   attention with the query Ws^T q, squeeze-expand is low-rank two-layer attention with the product W Ws, and a squeezed
   pooled vector meets the classifier as W1 Ws.
3. Standardisation, and an adapter before it, are one affine map x A + t. In a score it turns the query q into A q, for
   the constant cancels in the softmax; a layer W x + b becomes (W A^T) x + (b + W t); and weights that sum to one let
   it pass to the classifier's first layer. What can stand in the way: `spec.obstacle`.

An empty set pools to zeros before and after, which are not the same place: VectorPoolClassifier has a buffer for it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.errors import SettingsError
from pipeline.heads.registry import OPTIONS, SCORE
from pipeline.heads.spec import HeadSpec, obstacle, parameter_count

if TYPE_CHECKING:
    from pipeline.heads.classifier import SetClassifier

State = dict[str, Tensor]

# What the images' vectors meet first in a pool: rows whose constant cancels in a softmax, and layers with a bias.
ROWS = {
    "attention": ("query",),
    "multi_query": ("queries",),
    "squeeze_attention": ("squeeze.weight",),
    "squeeze_expand": ("first.squeeze.weight",),
    "low_rank_attention2": ("first.query",),
    "instance_attention": ("scores.weight",),
}
LAYERS = {
    "sum": ("phi",),
    "pma": ("reduction",),
    "soft_dbow": ("assignment",),
    "nextvlad": ("expansion",),
    "low_rank_attention2": ("next_query",),
    "gated_attention": ("scores.features", "scores.gate"),
    "instance_attention": ("scores.features", "scores.gate"),
}
IN_A_SPACE_OF_THEIR_OWN = ("sum", "pma", "soft_dbow", "nextvlad")  # these pool no weighted sums of the vectors
QUERIES = ("pool.query", "pool.queries", "pool.first.query")
EXPAND = "pool.expand.weight"  # its product with the second layer's squeezed query scores the vectors


@dataclass(frozen=True)
class Affine:
    """x to x @ matrix + offset, float64 [d_new, d] and [d]."""

    matrix: Tensor
    offset: Tensor


def fold(head: "SetClassifier", matrix: Tensor | None, offset: Tensor | None) -> tuple[HeadSpec, State]:
    """The smaller head's spec and state, in float64; arguments and Raises as SetClassifier.fold has them."""
    adapted = matrix is not None or offset is not None
    if adapted and (reason := obstacle(head.spec)):
        raise SettingsError(f"no adapter can be merged into a head of this kind ({head.spec.pool}): {reason}")
    state = {name: value.double() for name, value in head.state_dict().items()}
    affine = _affine(head.dim, state, matrix, offset)
    spec = _unscale(head.spec, state)
    spec = _shorten(spec, state, len(affine.matrix), head.classes)
    if obstacle(spec) is None and (adapted or spec.standardised):
        spec = _merge(spec, state, affine)
    if spec.pool not in SCORE and not spec.standardised:
        state.setdefault("empty", torch.zeros(head.classes))
    return spec, state


def _affine(dim: int, state: State, matrix: Tensor | None, offset: Tensor | None) -> Affine:
    """The adapter and the standardisation behind it, as one map."""
    matrix = torch.eye(dim) if matrix is None else matrix
    offset = torch.zeros(dim) if offset is None else offset
    mean, std = state.get("mean", torch.zeros(dim)), state.get("std", torch.ones(dim))
    return Affine(matrix.double() / std, (offset.double() - mean) / std)


def _unscale(spec: HeadSpec, state: State) -> HeadSpec:
    """Multiplies scales into what scores; attention2's second query comes from a tanh, which has no place for one."""
    if not spec.scale_scores or spec.pool == "attention2":
        return spec
    for name in state.keys() & set(QUERIES):
        state[name] = state[name] * state[name].shape[-1] ** -0.5
    if EXPAND in state:
        state[EXPAND] = state[EXPAND] / len(state[EXPAND])
    return spec.model_copy(update={"scale_scores": False})


def _shorten(spec: HeadSpec, state: State, dim: int, classes: int) -> HeadSpec:
    """Multiplies a squeeze into what follows it, where that takes no more parameters."""
    if spec.pool not in ("squeeze_attention", "squeeze_expand") or (spec.project and spec.gate == "context"):
        return spec
    two = spec.pool == "squeeze_expand"
    pool = {"pool": "low_rank_attention2", "rank": spec.squeeze} if two else {"pool": "attention"}
    rest = {key: value for key, value in spec.model_dump().items() if key not in OPTIONS and key != "pool"}
    short = HeadSpec(**pool, **rest, scale_scores=False)
    if parameter_count(short, dim, classes) > parameter_count(spec, dim, classes):
        return spec
    squeeze = state.pop(f"pool.{ROWS[spec.pool][0]}")
    behind = ["pool.first.query", "pool.next_query.weight"] if two else ["pool.query"]
    for name in behind + [f"{_first_layer(spec)}.weight"] * spec.project:
        state[name] = state[name] @ squeeze
    return short


def _merge(spec: HeadSpec, state: State, affine: Affine) -> HeadSpec:
    """Multiplies an affine map of the vectors into all that they meet."""
    layers = _layers(spec, state, affine)  # before the squeeze, whose constant they take, is changed
    for name in ROWS.get(spec.pool, ()):
        if f"pool.{name}" in state:
            state[f"pool.{name}"] = state[f"pool.{name}"] @ affine.matrix.T
    for name, own in layers:
        blocks = state[f"{name}.weight"].unflatten(1, (-1, own.matrix.shape[1]))  # one for each vector concatenated
        state[f"{name}.weight"] = (blocks @ own.matrix.T).flatten(1)
        state[f"{name}.bias"] = state[f"{name}.bias"] + (blocks @ own.offset).sum(1)
    if EXPAND in state:
        state[EXPAND] = affine.matrix @ state[EXPAND]
    for name in state.keys() & {"mean", "std"}:
        del state[name]
    return spec.model_copy(update={"standardised": False})


def _layers(spec: HeadSpec, state: State, affine: Affine) -> list[tuple[str, Affine]]:
    """Layers with a bias that meet the vectors or weighted sums of them, each with the map of what it meets."""
    found = [(f"pool.{name}", affine) for name in LAYERS.get(spec.pool, ()) if f"pool.{name}.weight" in state]
    behind = affine
    if spec.pool in ("squeeze_attention", "squeeze_expand"):
        squeeze = state[f"pool.{ROWS[spec.pool][0]}"]
        squeezed = Affine(torch.eye(len(squeeze), dtype=squeeze.dtype), squeeze @ affine.offset)
        found += [("pool.next_query", squeezed)] if spec.pool == "squeeze_expand" else []
        behind = squeezed if spec.project else affine
    return found if spec.pool in IN_A_SPACE_OF_THEIR_OWN else [*found, (_first_layer(spec), behind)]


def _first_layer(spec: HeadSpec) -> str:
    """The classifier's, by its name in a state."""
    return "classifier" if spec.hidden is None else "classifier.0"
