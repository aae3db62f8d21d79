"""Dropout that draws from a generator that no other head shares."""

from pipeline.heads.lazy import Module, Tensor, torch


class Dropout(Module):
    """Leaves out numbers while a head is trained, and scales the rest up.

    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15, 2014. Departure: it has a random generator of its own, seeded from torch's when
    the head is made, so that runs side by side neither disturb nor repeat each other. No parameters.

    Args:
        share: of the numbers that are left out, in [0, 1).

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
        kept = torch.rand(x.shape, generator=self._generator) >= self.share
        return x * kept / (1 - self.share)
