"""What each pool computes, in numpy and float64, for one set at a time.

Of a pool of vectors: from its spec, its parameters p by their names in the state, and the images x [m, d], to the
pooled vector and the images' importance [m]. Of a pool of scores: also from the images' scores z [m, c], to the set's
scores [c] and the images' shares [m, c].
"""

import math
from typing import Any

import numpy as np

from pipeline.heads.layers.normalisation import TINY
from tests.support.heads import DIM

Array = np.ndarray
Parameters = dict[str, Array]
Answer = tuple[Array, Array]


def softmax(z: Array) -> Array:
    """Over the first dimension."""
    return np.exp(z) / np.exp(z).sum(0)


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def linear(p: Parameters, name: str, v: Array) -> Array:
    return v @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def unit(v: Array) -> Array:
    """A vector with a mean square of 1, unless it is all but zero."""
    return v / np.sqrt((v**2).mean() + TINY)


def shared(amounts: Any) -> Array:
    """The mean over columns of each image's share: [m, k] to [m]."""
    amounts = np.array(amounts)
    return (amounts / amounts.sum(0)).mean(1)


def scale(spec: Any, numbers: float) -> float:
    return numbers if spec.scale_scores else 1.0


def mean(spec: Any, p: Parameters, x: Array) -> Answer:
    return x.sum(0) / (spec.divide_by or len(x)), np.full(len(x), 1 / len(x))


def attention(spec: Any, p: Parameters, x: Array, prefix: str = "") -> Answer:
    weights = softmax(x @ p[f"{prefix}query"] / scale(spec, math.sqrt(DIM)))
    return weights @ x, weights


def two_layers(spec: Any, p: Parameters, x: Array) -> Answer:
    """With and without a narrow layer that makes the second query."""
    query = np.tanh(linear(p, "next_query", attention(spec, p, x, "first.")[0]))
    query = p["expand.weight"] @ query if "expand.weight" in p else query
    weights = softmax(x @ query / scale(spec, DIM))
    return weights @ x, weights


def squeeze_attention(spec: Any, p: Parameters, x: Array) -> Answer:
    squeezed = x @ p["squeeze.weight"].T
    weights = softmax(squeezed @ p["query"] / scale(spec, math.sqrt(spec.squeeze)))
    return weights @ (squeezed if spec.project else x), weights


def squeeze_expand(spec: Any, p: Parameters, x: Array) -> Answer:
    squeeze = p["first.squeeze.weight"]
    first = softmax(x @ squeeze.T @ p["first.query"] / scale(spec, math.sqrt(spec.squeeze)))
    query = p["expand.weight"] @ np.tanh(linear(p, "next_query", squeeze @ (first @ x)))
    weights = softmax(x @ query / scale(spec, DIM))
    return squeeze @ (weights @ x) if spec.project else weights @ x, weights


def gated_scores(p: Parameters, x: Array) -> Array:
    gated = np.tanh(linear(p, "scores.features", x)) * sigmoid(linear(p, "scores.gate", x))
    return gated @ p["scores.score.weight"].T


def gated_attention(spec: Any, p: Parameters, x: Array) -> Answer:
    weights = softmax(gated_scores(p, x)[:, 0])
    return weights @ x, weights


def multi_query(spec: Any, p: Parameters, x: Array) -> Answer:
    weights = [softmax(x @ query / scale(spec, math.sqrt(DIM))) for query in p["queries"]]
    return np.concatenate([column @ x for column in weights]), np.mean(weights, 0)


def largest(spec: Any, p: Parameters, x: Array) -> Answer:
    return x.max(0), np.array([(x.argmax(0) == image).mean() for image in range(len(x))])


def generalised_mean(spec: Any, p: Parameters, x: Array) -> Answer:
    power = math.exp(p["log_power"].item())
    y = np.log1p(np.exp(x)) ** power
    return np.log(np.expm1(y.mean(0) ** (1 / power))), (y / y.sum(0)).mean(1)


def sum_of_features(spec: Any, p: Parameters, x: Array) -> Answer:
    features = np.maximum(linear(p, "phi", x), 0)
    return np.log1p(features.sum(0)), features.sum(1) / features.sum()


def soft_dbow(spec: Any, p: Parameters, x: Array) -> Answer:
    words = [softmax(linear(p, "assignment", v)) for v in x]
    return unit(np.sum(words, 0)), shared(words)


def netvlad(spec: Any, p: Parameters, x: Array) -> Answer:
    clusters, lengths = np.zeros_like(p["centres"]), np.zeros((len(x), len(p["centres"])))
    for image, v in enumerate(x):
        for k, assigned in enumerate(softmax(linear(p, "assignment", v))):
            clusters[k] += assigned * (v - p["centres"][k])
            lengths[image, k] = assigned * np.linalg.norm(v - p["centres"][k])
    return np.concatenate([unit(cluster) for cluster in clusters]), shared(lengths)


def netrvlad(spec: Any, p: Parameters, x: Array) -> Answer:
    assigned = np.array([softmax(linear(p, "assignment", v)) for v in x])
    lengths = assigned * np.linalg.norm(x, axis=1)[:, None]
    return np.concatenate([unit(column @ x) for column in assigned.T]), shared(lengths)


def nextvlad(spec: Any, p: Parameters, x: Array) -> Answer:
    clusters, lengths = np.zeros_like(p["centres"]), np.zeros((len(x), spec.clusters))
    for image, v in enumerate(x):
        y = linear(p, "expansion", v)
        attention, assignment = sigmoid(linear(p, "attention", y)), linear(p, "assignment", y)
        for g, (part, z) in enumerate(zip(np.split(y, spec.groups), np.split(assignment, spec.groups), strict=True)):
            for k, assigned in enumerate(softmax(z) * attention[g]):
                clusters[k] += assigned * (part - p["centres"][k])
                lengths[image, k] += assigned * np.linalg.norm(part - p["centres"][k])
    return np.concatenate([unit(cluster) for cluster in clusters]), shared(lengths)


def layer_norm(p: Parameters, name: str, v: Array) -> Array:
    return (v - v.mean()) / np.sqrt(v.var() + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def multi_head(p: Parameters, query: Array, z: Array, heads: int) -> Answer:
    """Attention of one query over vectors [m, k], head by head: what it brings, and the mean of the weights."""
    weights = np.split(p["attention.in_proj_weight"], 3)
    biases = np.split(p["attention.in_proj_bias"], 3)
    q, k, v = (rows @ weight.T + bias for rows, weight, bias in zip((query, z, z), weights, biases, strict=True))
    brought, shares_of_heads = [], []
    for part in np.split(np.arange(len(query)), heads):
        shares_of_heads.append(softmax(k[:, part] @ q[part] / math.sqrt(len(part))))
        brought.append(shares_of_heads[-1] @ v[:, part])
    return linear(p, "attention.out_proj", np.concatenate(brought)), np.mean(shares_of_heads, 0)


def pma(spec: Any, p: Parameters, x: Array) -> Answer:
    z, vectors, weights = np.maximum(linear(p, "reduction", x), 0), [], []
    for seed in p["seeds"]:
        brought, shares_of_images = multi_head(p, seed, z, spec.attention_heads)
        h = layer_norm(p, "norm", seed + brought)
        if spec.feed_forward:
            h = layer_norm(p, "last_norm", h + np.maximum(linear(p, "feed_forward", h), 0))
        vectors.append(h)
        weights.append(shares_of_images)
    return np.concatenate(vectors), np.mean(weights, 0)


# Pools of scores


def noisy_or(spec: Any, p: Parameters, x: Array, z: Array) -> Answer:
    chance = 1 - np.prod(1 - sigmoid(z), 0)
    return np.log(chance / (1 - chance)), np.log(1 - sigmoid(z)) / np.log(1 - chance)


def logsumexp(spec: Any, p: Parameters, x: Array, z: Array) -> Answer:
    sharpness = np.log1p(np.exp(p["sharpness"])) if "sharpness" in p else 1.0
    return np.log(np.exp(sharpness * z).sum(0)) / sharpness, softmax(sharpness * z)


def best_image(spec: Any, p: Parameters, x: Array, z: Array) -> Answer:
    return z.max(0), z == z.max(0)


def average_image(spec: Any, p: Parameters, x: Array, z: Array) -> Answer:
    return z.mean(0), np.full_like(z, 1 / len(z))


def attended_image(spec: Any, p: Parameters, x: Array, z: Array) -> Answer:
    weights = softmax(gated_scores(p, x) if spec.attention_dim else x @ p["scores.weight"].T)
    return (weights * z).sum(0), weights


FORMULAS = {
    "attention": attention,
    "attention2": two_layers,
    "gated_attention": gated_attention,
    "gem": generalised_mean,
    "instance_attention": attended_image,
    "instance_max": best_image,
    "instance_mean": average_image,
    "logsumexp": logsumexp,
    "logsumexp_sharp": logsumexp,
    "low_rank_attention2": two_layers,
    "max": largest,
    "mean": mean,
    "multi_query": multi_query,
    "netrvlad": netrvlad,
    "netvlad": netvlad,
    "nextvlad": nextvlad,
    "noisy_or": noisy_or,
    "pma": pma,
    "soft_dbow": soft_dbow,
    "squeeze_attention": squeeze_attention,
    "squeeze_expand": squeeze_expand,
    "sum": sum_of_features,
}
