"""Each label attends to the images by itself."""

from typing import Literal

from pipeline.heads.layers.gated_scores import GatedScores, gated_score_parameters
from pipeline.heads.layers.masking import masked_softmax
from pipeline.heads.layers.score_pool import ScorePool
from pipeline.heads.lazy import Module, Tensor, nn
from pipeline.heads.spec import Merging, ScorePoolSpec, Size


class InstanceAttentionSpec(ScorePoolSpec):
    """The head of InstanceAttention.

    Attributes:
        attention_dim: numbers inside gated scores; null: scores that are linear in the vector.
    """

    pool: Literal["instance_attention"] = "instance_attention"
    attention_dim: Size | None = None

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        if self.attention_dim is None:
            return classes * dim
        return gated_score_parameters(dim, self.attention_dim, outputs=classes)

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        if self.attention_dim is None:
            return Merging(rows=("scores.weight",))
        return Merging(layers=("scores.features", "scores.gate"))

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return InstanceAttention(dim, classes, self.attention_dim)


class InstanceAttention(ScorePool):
    """Sum of w(m, c) z(m, c) with w(., c) = softmax over the set of a learnt score of x(m), which differs for each
    label: the decision-level attention of Q. Kong, Y. Xu, W. Wang and M. Plumbley, "Audio Set classification with
    attention model: a probabilistic perspective", ICASSP 2018.

    c d parameters for scores that are linear in x; with L = `attention_dim` they are the gated ones of M. Ilse et al.
    (`gated_scores.py`), and 2 L (d + 1) + L c. Departure: logits are averaged, not probabilities, so that the loss sees
    them unharmed. Scores start small, so that all images count alike at first.

    An image's share of a label is its weight.
    """

    reads_vectors = True

    def __init__(self, dim: int, classes: int, attention_dim: int | None):
        super().__init__()
        self.scores: Module
        if attention_dim is None:
            self.scores = nn.Linear(dim, classes, bias=False)
        else:
            self.scores = GatedScores(dim, attention_dim, classes)

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weights = masked_softmax(self.scores(x), mask)
        return (weights * z).sum(1), weights
