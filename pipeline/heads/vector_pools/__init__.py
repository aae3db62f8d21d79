"""Pools of vectors: a set of images to one vector, which a head then classifies.

Each takes vectors x float [b, s, d], zeros at padding, and a mask bool [b, s], and gives the pooled vectors float
[b, w] and how much each image counted in them, float [b, s], which sums to 1 over a set's images and is 0 at padding.
An empty set pools to zeros. Widths, options and parameters: `pipeline/heads/registry.py`.
"""

from torch import nn

from pipeline.heads.vector_pools.attention import AttentionPool
from pipeline.heads.vector_pools.attention2 import TwoLayerAttentionPool
from pipeline.heads.vector_pools.gated_attention import GatedAttentionPool
from pipeline.heads.vector_pools.gem import GeneralisedMeanPool
from pipeline.heads.vector_pools.low_rank_attention2 import LowRankTwoLayerAttentionPool
from pipeline.heads.vector_pools.max import MaxPool
from pipeline.heads.vector_pools.mean import MeanPool
from pipeline.heads.vector_pools.multi_query import MultiQueryPool
from pipeline.heads.vector_pools.netrvlad import NetRVLADPool
from pipeline.heads.vector_pools.netvlad import NetVLADPool
from pipeline.heads.vector_pools.nextvlad import NeXtVLADPool
from pipeline.heads.vector_pools.pma import AttentionBlockPool
from pipeline.heads.vector_pools.soft_dbow import SoftBagOfWordsPool
from pipeline.heads.vector_pools.squeeze_attention import SqueezeAttentionPool
from pipeline.heads.vector_pools.squeeze_expand import SqueezeExpandPool
from pipeline.heads.vector_pools.sum import SumPool

VECTOR_POOLS: dict[str, type[nn.Module]] = {
    "mean": MeanPool,
    "max": MaxPool,
    "gem": GeneralisedMeanPool,
    "sum": SumPool,
    "attention": AttentionPool,
    "attention2": TwoLayerAttentionPool,
    "squeeze_attention": SqueezeAttentionPool,
    "squeeze_expand": SqueezeExpandPool,
    "low_rank_attention2": LowRankTwoLayerAttentionPool,
    "gated_attention": GatedAttentionPool,
    "multi_query": MultiQueryPool,
    "pma": AttentionBlockPool,
    "soft_dbow": SoftBagOfWordsPool,
    "netvlad": NetVLADPool,
    "netrvlad": NetRVLADPool,
    "nextvlad": NeXtVLADPool,
}
