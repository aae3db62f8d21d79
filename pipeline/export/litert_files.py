"""A backbone and a head for LiteRT, the runtime of TensorFlow Lite: for applications of one's own on a phone.

Its files have fixed shapes: one photo, and one set of PHOTOS, of which a mask says how many there are. Weights are
float32. What converts takes two gigabytes when it is installed, so it is an extra of its own.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from pipeline.core.errors import StageError
from pipeline.embed.engines.engine import Engine, Normalised
from pipeline.export.onnx_files import Interests, quiet
from pipeline.export.predict.model import Model
from pipeline.heads.classifier import SetClassifier

if TYPE_CHECKING:
    from pipeline.embed.backbones.backbone import Backbone

PHOTOS = 32
BACKBONE, HEAD = "backbone.tflite", "head.tflite"
INSTALL = "litert-torch is not installed: pip install 'visagg[litert]' (two gigabytes)"


def write_litert(folder: Path, backbone: "Backbone", head: SetClassifier) -> None:
    """Writes both files.

    Args:
        folder: where.
        backbone: which one.
        head: in evaluation mode.

    Raises:
        StageError: when what converts is not installed, or cannot convert them.
    """
    preprocessing = backbone.preprocessing
    pixels = torch.zeros(1, preprocessing.size, preprocessing.size, 3, dtype=torch.uint8)
    _convert(folder / BACKBONE, Normalised(backbone.model, preprocessing).eval(), (pixels,))
    vectors, mask = torch.zeros(1, PHOTOS, head.dim), torch.ones(1, PHOTOS, dtype=torch.bool)
    _convert(folder / HEAD, Interests(head).eval(), (vectors, mask))


def _convert(path: Path, model: nn.Module, example: tuple) -> None:
    try:
        import litert_torch
    except ImportError:
        raise StageError(INSTALL) from None
    try:
        with quiet():
            litert_torch.convert(model, example).export(str(path))
    except Exception as error:  # the converter raises of many kinds
        raise StageError(f"{path.name}: LiteRT cannot have it ({str(error).partition(chr(10))[0][:200]})") from None


def open_litert(folder: Path, exported: Model) -> Model:
    """The same model by LiteRT: what else it needs is taken from the one by ONNX Runtime."""
    backbone, head = _open(folder / BACKBONE), _open(folder / HEAD)

    def embed(pixels: np.ndarray) -> np.ndarray:
        return backbone(args_0=pixels)["output_0"]

    def answer(vectors: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        photos = mask.shape[1]
        rest = (0, PHOTOS - photos)
        x, visible = np.pad(vectors, ((0, 0), rest, (0, 0))), np.pad(mask, ((0, 0), rest))
        sets = [head(args_0=x[one : one + 1], args_1=visible[one : one + 1]) for one in range(len(mask))]
        probabilities = np.concatenate([one["output_0"] for one in sets])
        return probabilities, np.concatenate([one["output_2"] for one in sets])[:, :photos]

    return replace(exported, engine=Engine(embed, "litert cpu", 1, 1), head=answer)


def _open(path: Path) -> Any:
    """A file, ready to run: a function of arrays by name, which answers with arrays by name."""
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(path)).get_signature_runner()
