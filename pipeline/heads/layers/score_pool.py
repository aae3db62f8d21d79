"""What every pool of scores has in common: the answer to an empty set, and nothing at padding."""

from abc import abstractmethod

from pipeline.heads.lazy import Module, Tensor, torch

EMPTY_LOGIT = -30.0  # a probability of 1e-13, finite in every type


class ScorePool(Module):
    """Scores of the images of a set to one score for each label.

    Attributes:
        reads_vectors: whether it needs the images' vectors beside their scores.

    A set without images has EMPTY_LOGIT for every label: nothing was seen, so nothing is claimed.
    """

    reads_vectors = False

    def forward(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pools scores.

        Args:
            z: the images' logits, float [b, s, c].
            x: their vectors, float [b, s, d], zeros at padding.
            mask: bool [b, s].

        Returns:
            The sets' logits, float [b, c], and each image's share in them, float [b, s, c], which sums to 1 over the
            images of a set and is 0 at padding.
        """
        seen = mask.any(1, keepdim=True)
        logits, share = self._pool(z, x, mask | ~seen)  # a maximum of nothing has no finite gradient
        return torch.where(seen, logits, EMPTY_LOGIT), share.masked_fill(~mask.unsqueeze(-1), 0.0)

    @abstractmethod
    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As forward, for sets that have at least one image each; what shares padding has does not matter."""
