"""Encoder tokens of frames on torch; each frame is encoded once (`runtimes/frames.py`).

Shape letters: N frames, P patches per frame, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...model import G2VLM
from ...preprocess import normalise
from ..frames import FrameFeatures, KnownFrames, pictures_of

__all__ = ["TorchFrames", "owned"]


def owned(tokens_NPD: Tensor) -> list[Tensor]:
    """Tokens of each frame, each owning its memory: a view would keep that of all."""
    return [tokens_NPD[0]] if len(tokens_NPD) == 1 else [one.clone() for one in tokens_NPD]


class TorchFrames:
    """Encodes frames with a model.

    Args:
        model: In evaluation mode. In the "compat" attention of the geometric encoder frames
            influence each other; then windows are encoded as a whole and no token is kept.

    Attributes:
        known: The features of the frames.
    """

    def __init__(self, model: G2VLM) -> None:
        self.known = KnownFrames()
        self._model = model
        self._coupled = model.config.dino_attention == "compat"

    def geometric_tokens(self, features: Sequence[FrameFeatures]) -> Tensor:
        """(1, N, P, D) tokens; only frames without tokens are encoded. Uses the device."""
        if self._coupled:
            return self._model.encode_geometry(self._pixels(pictures_of(features)))
        return torch.stack(self.known.encode(features, self._encode))[None]

    def head_pixels(self, features: Sequence[FrameFeatures]) -> Tensor | None:
        """(1, N, 3, H, W) pictures where the model's heads look at them, else None."""
        return self._pixels(pictures_of(features)) if self._model.config.point_refine else None

    def _encode(self, pictures_NHW3: NDArray[np.uint8]) -> list[Tensor]:
        return owned(self._model.encode_geometry(self._pixels(pictures_NHW3))[0])

    def _pixels(self, pictures_NHW3: NDArray[np.uint8]) -> Tensor:
        pictures = torch.from_numpy(pictures_NHW3)
        return normalise(pictures.to(self._model.device))[None]
