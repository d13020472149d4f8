# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Textures of a scene in one table, looked up at the size of a pixel's footprint.

Letters: R rays, K textures, Z mip levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Atlas", "to_linear"]

_LEVELS = 10
_CODES = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(
    np.float32
)


def to_linear(encoded: NDArray[np.uint8]) -> NDArray[np.float32]:
    """SRGB bytes to linear light."""
    linear: NDArray[np.float32] = _LINEAR[encoded]
    return linear


class Atlas:
    """All mip levels of all textures, one after the other.

    Args:
        textures: K pictures (S, T, 4) uint8, sides powers of two.
    """

    def __init__(self, textures: Sequence[NDArray[np.uint8]]) -> None:
        count = max(1, len(textures))
        self._start_KZ = np.zeros((count, _LEVELS), np.int64)
        self._size_KZ2 = np.ones((count, _LEVELS, 2), np.int32)  # height, width
        flat, total = [], 0
        for number, picture in enumerate(textures):
            level = picture
            for depth in range(_LEVELS):
                self._start_KZ[number, depth] = total
                self._size_KZ2[number, depth] = level.shape[:2]
                flat.append(level.reshape(-1, 4))
                total += len(flat[-1])
                if max(level.shape[:2]) > 1:
                    half = (max(1, level.shape[1] // 2), max(1, level.shape[0] // 2))
                    level = np.asarray(
                        cv2.resize(level, half, interpolation=cv2.INTER_AREA), np.uint8
                    ).reshape(half[1], half[0], 4)
        self._texels = np.concatenate(flat) if flat else np.full((1, 4), 255, np.uint8)

    def look(
        self,
        texture_R: NDArray[np.int32],
        uv_R2: NDArray[np.float32],
        footprint_R: NDArray[np.float32] | None,
        rng: np.random.Generator | None,
    ) -> NDArray[np.uint8]:
        """(R, 4) sRGB texels with alpha.

        Args:
            texture_R: Numbers.
            uv_R2: Places, v upwards; they repeat.
            footprint_R: Width of a pixel in texture units; None takes the finest level.
            rng: Jitters by half a texel and between levels, so that the mean of many rays is
                filtered; None takes the nearest.
        """
        size = self._size_KZ2[texture_R, 0]
        level = np.zeros(len(texture_R), np.int64)
        if footprint_R is not None:
            wanted = np.log2(np.maximum(footprint_R * size.max(axis=1), 1.0))
            if rng is not None:
                wanted += rng.random(len(wanted), np.float32) - 0.5
            level = np.clip(np.rint(wanted), 0, _LEVELS - 1).astype(np.int64)
            size = self._size_KZ2[texture_R, level]
        height, width = size[:, 0], size[:, 1]
        column = uv_R2[:, 0] * width
        row = (1.0 - uv_R2[:, 1]) * height
        if rng is not None:
            column = column + rng.random(len(column), np.float32) - 0.5
            row = row + rng.random(len(row), np.float32) - 0.5
        # Sides are powers of two: a mask wraps round.
        x = np.floor(column).astype(np.int64) & (width - 1)
        y = np.floor(row).astype(np.int64) & (height - 1)
        texels: NDArray[np.uint8] = self._texels[self._start_KZ[texture_R, level] + y * width + x]
        return texels
