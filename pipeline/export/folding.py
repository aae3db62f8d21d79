"""Folding: a smaller head with the same answers, where algebra allows.

Three steps, each on a head's spec and its state (parameters and buffers by name):

1. The scale of attention scores is multiplied into the queries.
2. A squeeze has nothing between itself and the next linear map, so the two become one: squeeze attention is one-layer
   attention with the query Ws^T q, squeeze-expand is low-rank two-layer attention with the product W Ws, and a squeezed
   pooled vector meets the classifier as W1 Ws.
3. Standardisation, and an adapter before it, are one affine map x A + t. In a score it turns the query q into A q, for
   the constant cancels in the softmax; a layer W x + b becomes (W A^T) x + (b + W t); and weights that sum to one let
   it pass to the classifier's first layer. What a pool has for this, and what can prevent it: `Merging` in its spec.

An empty set pools to zeros before and after. In the new space zeros mean something else, and the buffer `empty` of
VectorPoolClassifier makes up for it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.core.errors import SettingsError
from pipeline.heads.classifier import SetClassifier, VectorPoolClassifier, build_head
from pipeline.heads.pools.attention import AttentionSpec
from pipeline.heads.pools.low_rank_attention2 import LowRankAttentionSpec
from pipeline.heads.pools.squeeze_attention import SqueezeAttentionSpec
from pipeline.heads.pools.squeeze_expand import SqueezeExpandSpec
from pipeline.heads.spec import HeadSpec, QueryPoolSpec, VectorPoolSpec

State = dict[str, Tensor]
SqueezeSpec = SqueezeAttentionSpec | SqueezeExpandSpec


@dataclass(frozen=True)
class Affine:
    """x to x @ matrix + offset, float64 [d_new, d] and [d]."""

    matrix: Tensor
    offset: Tensor


def fold(head: SetClassifier, matrix: Tensor | None = None, offset: Tensor | None = None) -> SetClassifier:
    """A head with the same logits and importance, and no more parameters where algebra allows.

    Where it does not, what can be folded is, and the rest stays.

    Args:
        head: the head, which stays as it is.
        matrix: of an adapter that is merged in, from new vectors to those that the head takes, float [d_new, d]; the
            folded head takes the new ones. None: the identity.
        offset: of the adapter, float [d]: old = new @ matrix + offset. None: zeros.

    Raises:
        SettingsError: when there is an adapter, and a head of this kind cannot take it in.

    >>> from pipeline.heads.presets import preset
    >>> head = build_head(preset("squeeze_fc"), dim=1024, classes=1000)
    >>> head.parameter_count(), fold(head).parameter_count()
    (781800, 520424)
    """
    adapted = matrix is not None or offset is not None
    if adapted and (reason := head.spec.obstacle()):
        raise SettingsError(f"no adapter can be merged into a head of this kind ({head.spec.pool}): {reason}")
    state = {name: value.double() for name, value in head.state_dict().items()}
    affine = _affine(head.dim, state, matrix=matrix, offset=offset)
    spec = _unscale(head.spec, state)
    if isinstance(spec, SqueezeSpec):
        spec = _shorten(spec, state, dim=len(affine.matrix), classes=head.classes)
    if spec.obstacle() is None and (adapted or spec.standardised):
        spec = _merge(spec, state, affine)
    if isinstance(spec, VectorPoolSpec) and not spec.standardised:
        state.setdefault("empty", torch.zeros(head.classes))
    folded = build_head(spec, len(affine.matrix), head.classes)
    folded.load_state_dict(state)
    if isinstance(head, VectorPoolClassifier) and isinstance(folded, VectorPoolClassifier) and not spec.standardised:
        with torch.no_grad():
            folded.empty += head.logits_of_nothing() - folded.logits_of_nothing()
    return folded.train(head.training)


def _affine(dim: int, state: State, *, matrix: Tensor | None, offset: Tensor | None) -> Affine:
    """The adapter and the standardisation behind it, as one map."""
    matrix = torch.eye(dim) if matrix is None else matrix
    offset = torch.zeros(dim) if offset is None else offset
    mean, std = state.get("mean", torch.zeros(dim)), state.get("std", torch.ones(dim))
    return Affine(matrix.double() / std, (offset.double() - mean) / std)


def _unscale(spec: HeadSpec, state: State) -> HeadSpec:
    """Multiplies the scales of scores (`QueryPoolSpec`) into what scores; not where the pool cannot be merged."""
    merging = spec.merging()
    if not isinstance(spec, QueryPoolSpec) or not spec.scale_scores or merging.obstacle is not None:
        return spec
    for name in merging.queries:
        state[f"pool.{name}"] = state[f"pool.{name}"] * state[f"pool.{name}"].shape[-1] ** -0.5
    for name in merging.columns:
        state[f"pool.{name}"] = state[f"pool.{name}"] / len(state[f"pool.{name}"])
    return spec.model_copy(update={"scale_scores": False})


def _shorten(spec: SqueezeSpec, state: State, *, dim: int, classes: int) -> HeadSpec:
    """Multiplies a squeeze into what follows it, where that takes no more parameters."""
    short = _without_squeeze(spec)
    longer = short.parameter_count(dim, classes) > spec.parameter_count(dim, classes)
    if longer or (spec.project and spec.gate == "context"):
        return spec
    squeeze = state.pop(f"pool.{_squeeze(spec)}")
    behind = (
        ["pool.query"] if isinstance(spec, SqueezeAttentionSpec) else ["pool.first.query", "pool.next_query.weight"]
    )
    for name in behind + [f"{_first_layer(spec)}.weight"] * spec.project:
        state[name] = state[name] @ squeeze
    return short


def _without_squeeze(spec: SqueezeSpec) -> HeadSpec:
    """The head that does the same with the squeeze multiplied into what follows it."""
    shared = {name: getattr(spec, name) for name in QueryPoolSpec.model_fields if name != "pool"}
    if isinstance(spec, SqueezeAttentionSpec):
        return AttentionSpec(**shared)
    return LowRankAttentionSpec(rank=spec.squeeze, **shared)


def _merge(spec: HeadSpec, state: State, affine: Affine) -> HeadSpec:
    """Multiplies an affine map of the vectors into all that they meet."""
    merging = spec.merging()
    layers = _layers(spec, state, affine)  # before the squeeze, whose constant they take, is changed
    for name in merging.rows:
        state[f"pool.{name}"] = state[f"pool.{name}"] @ affine.matrix.T
    for name, met in layers.items():
        blocks = state[f"{name}.weight"].unflatten(1, (-1, met.matrix.shape[1]))  # each meets one vector of several
        state[f"{name}.weight"] = (blocks @ met.matrix.T).flatten(1)
        state[f"{name}.bias"] = state[f"{name}.bias"] + (blocks @ met.offset).sum(1)
    for name in merging.columns:
        state[f"pool.{name}"] = affine.matrix @ state[f"pool.{name}"]
    for name in ("mean", "std"):
        state.pop(name, None)
    return spec.model_copy(update={"standardised": False})


def _layers(spec: HeadSpec, state: State, affine: Affine) -> dict[str, Affine]:
    """Layers with a bias that meet the vectors or weighted sums of them, each with the map of what it meets."""
    merging = spec.merging()
    layers = {f"pool.{name}": affine for name in merging.layers}
    behind = affine
    if isinstance(spec, SqueezeSpec):  # the squeeze takes the matrix; behind it, only a constant is left
        squeeze = state[f"pool.{_squeeze(spec)}"]
        squeezed = Affine(torch.eye(len(squeeze), dtype=squeeze.dtype), squeeze @ affine.offset)
        if isinstance(spec, SqueezeExpandSpec):
            layers["pool.next_query"] = squeezed
        behind = squeezed if spec.project else affine
    return {**layers, _first_layer(spec): behind} if merging.keeps_space else layers


def _squeeze(spec: SqueezeSpec) -> str:
    """The squeeze's matrix, by its name in the pool's state."""
    return spec.merging().rows[0]


def _first_layer(spec: HeadSpec) -> str:
    """The classifier's, by its name in a state."""
    return "classifier" if spec.hidden is None else "classifier.0"
