"""Backbones without pretrained weights."""

from collections import OrderedDict

from pipeline.embed.backbones.backbone import Backbone

SMALL = "mobilenetv3_small_050"  # 1024 numbers after the head's convolution; timm's num_features says 288


def tiny(size: int = 32, seed: int = 0, dim: int = 16) -> Backbone:
    """A backbone of two layers, for tests of everything around it; its parts have the names that timm gives them."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    parts = {
        "conv_stem": nn.Conv2d(3, 8, 8, 4),
        "bn1": nn.ReLU(),
        "blocks": nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Sequential(nn.Flatten(), nn.Linear(32, dim))),
    }
    net = nn.Sequential(OrderedDict(parts)).eval().requires_grad_(False)
    crop = {"size": size, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}
    fingerprint = {"architecture": "tiny", "weights": f"{seed:064x}", "preprocessing": crop, "dim": dim}
    return Backbone(fingerprint, sum(p.numel() for p in net.parameters()), lambda: net)
