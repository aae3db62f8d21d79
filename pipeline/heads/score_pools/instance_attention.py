"""Each label attends to the images on its own."""

from torch import Tensor, nn

from pipeline.heads.gated_scores import GatedScores
from pipeline.heads.masking import masked_softmax
from pipeline.heads.score_pools.score_pool import ScorePool


class InstanceAttention(ScorePool):
    """Sum of w(m, c) z(m, c) with w(., c) = softmax over the set of a learnt score of x(m), another one for each label:
    the decision-level attention of Q. Kong, Y. Xu, W. Wang and M. Plumbley, "Audio Set classification with attention
    model: a probabilistic perspective", ICASSP 2018.

    c d parameters for scores that are linear in x; with L = `attention_width` they are the gated ones of M. Ilse et al.
    (`gated_scores.py`), and 2 L (d + 1) + L c. Departure: logits are averaged, not probabilities, so that the loss sees
    them unharmed. Scores start small, so that all images count alike at first.

    An image's share of a label is its weight.
    """

    reads_vectors = True

    def __init__(self, dim: int, classes: int, attention_width: int | None):
        super().__init__()
        gated = attention_width is not None
        self.scores = GatedScores(dim, attention_width, classes) if gated else nn.Linear(dim, classes, bias=False)

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weights = masked_softmax(self.scores(x), mask)
        return (weights * z).sum(1), weights
