"""Padding never changes a result: the masked operations that every pool is made of.

Vectors are zeros at padding when they come here. Weights may have further dimensions behind [b, s], such as those of
queries or labels.
"""

from pipeline.heads.lazy import Tensor, torch


def expand_mask(mask: Tensor, x: Tensor) -> Tensor:
    """A mask bool [b, s] with as many dimensions as x [b, s, ...], to be broadcast.

    >>> expand_mask(torch.ones(2, 5, dtype=torch.bool), torch.zeros(2, 5, 8)).shape
    torch.Size([2, 5, 1])
    """
    return mask.reshape(*mask.shape, *[1] * (x.dim() - 2))


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the images of a set; padding gets weight 0, and so does everything in an empty set.

    Args:
        scores: float [b, s, ...].
        mask: bool [b, s], True where there is an image.

    Returns:
        float [b, s, ...], which sums to 1 over the images of each set that is not empty.

    >>> masked_softmax(torch.zeros(2, 3), torch.tensor([[True, True, False], [False, False, False]])).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    scores = scores.masked_fill(~expand_mask(mask, scores), float("-inf"))
    peak = scores.amax(1, keepdim=True).detach()
    weights = torch.exp(scores - torch.where(peak.isfinite(), peak, 0.0))
    return weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def uniform_weights(mask: Tensor) -> Tensor:
    """The same weight for every image of a set: bool [b, s] to float [b, s].

    >>> uniform_weights(torch.tensor([[True, True, False]])).tolist()
    [[0.5, 0.5, 0.0]]
    """
    return mask / mask.sum(1, keepdim=True).clamp_min(1)


def weighted_sum(weights: Tensor, x: Tensor) -> Tensor:
    """Pools vectors: float [b, s] and float [b, s, d] to float [b, d].

    >>> weighted_sum(torch.tensor([[0.5, 0.5]]), torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])).tolist()
    [[2.0, 4.0]]
    """
    return (weights.unsqueeze(1) @ x).squeeze(1)


def fill_with_lowest(x: Tensor, mask: Tensor) -> Tensor:
    """x [b, s, ...] with the lowest number there is at padding, so that no maximum falls on it.

    >>> fill_with_lowest(torch.tensor([[-5.0, 0.0]]), torch.tensor([[True, False]])).amax(1).tolist()
    [-5.0]
    """
    return x.masked_fill(~expand_mask(mask, x), torch.finfo(x.dtype).min)


def zero_if_empty(pooled: Tensor, mask: Tensor) -> Tensor:
    """Pooled vectors [b, d] with zeros for the sets without images.

    >>> zero_if_empty(torch.ones(2, 2), torch.tensor([[True, False], [False, False]])).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    return pooled.masked_fill(~mask.any(1, keepdim=True), 0.0)


def shares(amounts: Tensor, mask: Tensor) -> Tensor:
    """Each image's share of every column of what a set's images bring, averaged over the columns.

    Args:
        amounts: float [b, s, k], at least 0.
        mask: bool [b, s].

    Returns:
        float [b, s]; each row with an image sums to 1. Where none brings anything to a column, all have equal shares.

    >>> shares(torch.tensor([[[3.0, 0.0], [1.0, 0.0]]]), torch.tensor([[True, True]])).tolist()
    [[0.625, 0.375]]
    """
    return column_shares(amounts, mask).mean(-1)


def column_shares(amounts: Tensor, mask: Tensor) -> Tensor:
    """As `shares`, before the average: float [b, s, k], each column of which sums to 1 over a set's images.

    >>> column_shares(torch.tensor([[[3.0, 0.0], [1.0, 0.0]]]), torch.tensor([[True, True]])).tolist()
    [[[0.75, 0.5], [0.25, 0.5]]]
    """
    amounts = amounts.detach().masked_fill(~mask.unsqueeze(-1), 0.0)
    total = amounts.sum(1, keepdim=True)
    share = amounts / total.clamp_min(torch.finfo(amounts.dtype).tiny)
    return torch.where(total > 0, share, uniform_weights(mask).unsqueeze(-1))
