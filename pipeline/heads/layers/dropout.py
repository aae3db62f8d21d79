"""Dropout that draws from a generator that no other head shares."""

from pipeline.heads.lazy import Module, Tensor, torch

LEVELS = 1 << 16  # of what is drawn for a number


class Dropout(Module):
    """Leaves out numbers while a head is trained, and scales the rest up.

    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15, 2014. Departures: it has a random generator of its own, seeded from torch's
    when the head is made, so that runs side by side neither disturb nor repeat each other; and 16 random bits decide
    whether a number stays, which takes half the time of drawing a float. No parameters.

    Args:
        share: of the numbers that are left out, in [0, 1); rounded to a multiple of 2^-16.

    >>> sorted(Dropout(0.5)(torch.ones(1000)).unique().tolist()), Dropout(0.5).eval()(torch.ones(2)).tolist()
    ([0.0, 2.0], [1.0, 1.0])
    """

    def __init__(self, share: float):
        super().__init__()
        self.share = share
        self._generator = torch.Generator().manual_seed(int(torch.randint(2**62, ()))) if share else None

    def forward(self, x: Tensor) -> Tensor:
        """float [...] to float [...]; as it is, in evaluation mode."""
        if not self.training or self._generator is None:
            return x
        left_out = min(round(self.share * LEVELS), LEVELS - 1)
        drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        drawn = drawn.random_(-(2**63), None, generator=self._generator).view(torch.int16)
        kept = drawn[: x.numel()].view(x.shape) >= left_out - LEVELS // 2
        return x * (kept * (LEVELS / (LEVELS - left_out)))
