"""Pools of scores: each image is classified, then a label's scores over the set become one.

A set has a label when one of its images has it, so most of these are forms of "or". `score_pool.py` says what they take
and give; options and parameters: `pipeline/heads/registry.py`.
"""

from pipeline.heads.score_pools.instance_attention import InstanceAttention
from pipeline.heads.score_pools.instance_max import InstanceMax
from pipeline.heads.score_pools.instance_mean import InstanceMean
from pipeline.heads.score_pools.logsumexp import LogSumExp
from pipeline.heads.score_pools.logsumexp_sharp import LogSumExpSharp
from pipeline.heads.score_pools.noisy_or import NoisyOr
from pipeline.heads.score_pools.score_pool import ScorePool

SCORE_POOLS: dict[str, type[ScorePool]] = {
    "instance_max": InstanceMax,
    "noisy_or": NoisyOr,
    "logsumexp": LogSumExp,
    "logsumexp_sharp": LogSumExpSharp,
    "instance_attention": InstanceAttention,
    "instance_mean": InstanceMean,
}
