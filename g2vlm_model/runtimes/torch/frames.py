"""What is computed once per frame: its resized picture and its tokens.

Features live as long as something uses them: the newest window, or a scene that is alive. A
window that shares frames with the one before it encodes only its new frames.

Shape letters: N frames, P patches per frame, S merged semantic patches, D width.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...interface import Frame, FrameWindow
from ...model import G2VLM
from ...preprocess import SemanticRows, normalise, resize_geometric, smart_size

__all__ = ["FrameFeatures", "FrameStore"]


class FrameFeatures:
    """Of one frame at one size of the model's picture.

    Attributes:
        picture: (H, W, 3) uint8, resized.
        geometric_PD: Tokens of the geometric encoder, on the device; None until encoded.
        semantic_SD: Tokens of the semantic encoder, on the device; None until a question.
    """

    __slots__ = ("__weakref__", "geometric_PD", "picture", "semantic_SD")

    def __init__(self, picture: NDArray[np.uint8]) -> None:
        self.picture = picture
        self.geometric_PD: Tensor | None = None
        self.semantic_SD: Tensor | None = None


class FrameStore:
    """Finds or computes features.

    Args:
        model: In evaluation mode. In the "compat" attention of the geometric encoder frames
            influence each other; then windows are encoded as a whole and no token is kept.
    """

    def __init__(self, model: G2VLM) -> None:
        config = model.config
        self._model = model
        self._coupled = config.dino_attention == "compat"
        vit = config.vit
        block = vit.patch_size * vit.spatial_merge_size
        height, width = smart_size(config.vit_size, config.vit_size, block)
        self.semantic_merged_hw = (height // block, width // block)
        self._lock = threading.Lock()
        self._known: weakref.WeakValueDictionary[object, FrameFeatures] = (
            weakref.WeakValueDictionary()
        )
        self._newest: tuple[FrameFeatures, ...] = ()

    def of_window(self, window: FrameWindow, size_hw: tuple[int, int]) -> list[FrameFeatures]:
        """Features of a window's frames, with their pictures; needs no device.

        Args:
            window: Becomes the newest window.
            size_hw: Of the model's picture.
        """
        features = [self._of_frame(frame, size_hw) for frame in window.frames]
        with self._lock:
            self._newest = tuple(features)
        return features

    def geometric_tokens(self, features: Sequence[FrameFeatures]) -> Tensor:
        """(1, N, P, D) tokens; only frames without tokens are encoded. Uses the device."""
        missing = [one for one in features if one.geometric_PD is None]
        if missing:
            tokens_NPD = self._model.encode_geometry(self._pixels(missing))[0]
            if self._coupled:
                return tokens_NPD[None]
            for one, tokens_PD in zip(missing, tokens_NPD, strict=True):
                # A copy of its own: a view would keep the whole batch in memory.
                one.geometric_PD = tokens_PD.clone() if len(missing) > 1 else tokens_PD
        tokens = [one.geometric_PD for one in features]
        return torch.stack([token for token in tokens if token is not None])[None]

    def head_pixels(self, features: Sequence[FrameFeatures]) -> Tensor | None:
        """(1, N, 3, H, W) pictures where the model's heads look at them, else None."""
        return self._pixels(features) if self._model.config.point_refine else None

    def _pixels(self, features: Sequence[FrameFeatures]) -> Tensor:
        pictures = torch.from_numpy(np.stack([one.picture for one in features]))
        return normalise(pictures.to(self._model.device))[None]

    def semantic_tokens(self, rows: SemanticRows) -> Tensor:
        """(S, D) tokens of one picture. Uses the device."""
        rows_1RC = rows.rows_NRC.to(self._model.device)
        return self._model.encode_semantic(rows_1RC[None], rows.grid_hw)[0, 0]

    def _of_frame(self, frame: Frame, size_hw: tuple[int, int]) -> FrameFeatures:
        # Stamp and size stand beside the key, so that a key used twice is no wrong picture.
        name = (frame.key, frame.stamp_ns, frame.image.shape, size_hw)
        with self._lock:
            found = self._known.get(name)
        if found is not None:
            return found
        features = FrameFeatures(resize_geometric(frame.image, size_hw))
        with self._lock:
            return self._known.setdefault(name, features)
