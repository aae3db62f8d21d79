"""Small heads, and sets to ask them about."""

import torch

from pipeline.heads.classifier import SetClassifier, build_head
from pipeline.heads.registry import parse, specs
from pipeline.heads.spec import HeadSpec

DIM, CLASSES, LONGEST = 12, 5, 6
LENGTHS = [3, 1, 0, LONGEST, 4]  # images of each set in the batch: a single one, none, as many as there can be
SMALL = {"squeeze": 4, "rank": 4, "queries": 3, "inner_dim": 8, "attention_heads": 2, "attention_dim": 6}
SMALL |= {"clusters": 3, "groups": 2}


def small(pool: str, **parts: object) -> HeadSpec:
    """A spec with small layers."""
    fields = specs()[pool].model_fields
    options = {name: size for name, size in SMALL.items() if name in fields and fields[name].default}
    return parse({"pool": pool, "hidden": 7, **options, **parts})


def made(spec: HeadSpec, seed: int = 5) -> SetClassifier:
    """A head that is standardised by something other than 0 and 1, and whose pool's parameters are far from uniform."""
    torch.manual_seed(seed)
    head = build_head(spec, DIM, CLASSES)
    if spec.standardised:
        head.standardise(torch.randn(DIM), torch.rand(DIM) + 0.5)
    with torch.no_grad():
        for parameter in head.pool.parameters():
            parameter.mul_(2).add_(torch.randn_like(parameter) / 5)
    return head.eval()


def batch(dim: int = DIM) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors and mask of sets of LENGTHS images, zeros at padding."""
    generator = torch.Generator().manual_seed(6)
    mask = torch.arange(LONGEST) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(len(LENGTHS), LONGEST, dim, generator=generator) * 2 * mask.unsqueeze(-1), mask


def answers(head: SetClassifier, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and importance."""
    with torch.no_grad():
        return head(x, mask), head.importance(x, mask)


def close(given: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-5, hint: str = "") -> None:
    """Asserts that two tensors are nearly the same."""
    torch.testing.assert_close(given, wanted, rtol=tolerance, atol=tolerance, msg=lambda text: f"{hint}: {text}")
