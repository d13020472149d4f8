"""What is computed once per frame: its resized picture and its tokens.

Features live as long as something uses them: the newest window, or a scene that is alive. A
window that shares frames with the one before it encodes only its new frames.

Shape letters: N frames, P patches of a frame, S merged semantic patches, D width, H W pixels.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..interface import Frame, FrameWindow
from ..preprocess import resize_geometric
from .geometry_engine import Array

__all__ = ["FrameFeatures", "KnownFrames", "pictures_of"]


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
        self.geometric_PD: Array | None = None
        self.semantic_SD: Array | None = None


def pictures_of(features: Sequence[FrameFeatures]) -> NDArray[np.uint8]:
    """(N, H, W, 3) pictures, C-contiguous."""
    return np.stack([one.picture for one in features])


class KnownFrames:
    """Finds features of frames that are in use, or makes them."""

    def __init__(self) -> None:
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

    def encode(
        self,
        features: Sequence[FrameFeatures],
        encode: Callable[[NDArray[np.uint8]], Sequence[Array]],
    ) -> list[Array]:
        """Geometric tokens of each frame; only frames without tokens are encoded.

        Args:
            features: From `of_window`.
            encode: Returns the tokens (P, D) of each of (N, H, W, 3) pictures, owning their
                memory: a view would keep that of the whole batch. Uses the device.
        """
        missing = [one for one in features if one.geometric_PD is None]
        if missing:
            for one, tokens_PD in zip(missing, encode(pictures_of(missing)), strict=True):
                one.geometric_PD = tokens_PD
        return [one.geometric_PD for one in features]

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
