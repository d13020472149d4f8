# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Points in a sparse grid: a sorted table of the voxels that hold any.

A voxel's place is packed into one int64, so that tables are merged and looked up by sorting
(numpy.unique, numpy.searchsorted) and the same points in the same order always make the same
table. A point weighs 1 / z^2 of its depth, as the error of a depth grows with it.

Shape letters: P points, V voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..clouds import POINT_DTYPE

__all__ = ["VoxelTable", "merged_voxels", "packed", "unpacked", "voxels_of"]

Floats = NDArray[np.float64]
Keys = NDArray[np.int64]
_BITS = 21  # of a coordinate: a voxel of 5 cm reaches 52 km to either side
_HALF = 1 << (_BITS - 1)
_MASK = (1 << _BITS) - 1
_NEAREST_M = 0.2  # nearer points weigh no more than those at this depth


def packed(cells_P3: NDArray[np.int64]) -> Keys:
    """(P,) keys of whole coordinates; what lies outside of 21 bits is put at the border."""
    shifted = np.clip(cells_P3 + _HALF, 0, _MASK)
    keys: Keys = (shifted[:, 0] << (2 * _BITS)) | (shifted[:, 1] << _BITS) | shifted[:, 2]
    return keys


def unpacked(keys_P: Keys) -> NDArray[np.int64]:
    """(P, 3) whole coordinates of keys."""
    parts = (keys_P >> (2 * _BITS), (keys_P >> _BITS) & _MASK, keys_P & _MASK)
    cells: NDArray[np.int64] = np.stack(parts, axis=-1) - _HALF
    return cells


@dataclass(frozen=True, eq=False)
class VoxelTable:
    """Voxels that hold points, by rising key.

    Args:
        size: Edge, metres.
        key_V: int64, see `packed`.
        mean_V3: float32 weighted mean of the points, level axes, metres.
        color_V3: uint8 RGB, weighted mean.
        confidence_V: uint8, weighted mean; 255 is 1.
        weight_V: float32 sum of the points' weights.
        count_V: int32 points.
    """

    size: float
    key_V: Keys
    mean_V3: NDArray[np.float32]
    color_V3: NDArray[np.uint8]
    confidence_V: NDArray[np.uint8]
    weight_V: NDArray[np.float32]
    count_V: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.key_V)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(getattr(self, item.name).nbytes for item in fields(self)[1:])

    def chosen(self, keep_V: NDArray[np.bool_]) -> VoxelTable:
        """The voxels that are marked."""
        arrays = (getattr(self, item.name)[keep_V] for item in fields(self)[1:])
        return VoxelTable(self.size, *arrays)

    def records(self) -> NDArray[np.void]:
        """(V,) points as a cloud's records of `POINT_DTYPE`."""
        records: NDArray[np.void] = np.empty(len(self), POINT_DTYPE)
        for axis, name in enumerate("xyz"):
            records[name] = self.mean_V3[:, axis]
        red, green, blue = self.color_V3.T.astype(np.uint32)
        records["rgb"] = (red << 16 | green << 8 | blue).view(np.float32)
        records["confidence"] = self.confidence_V / np.float32(255)
        return records

    def distances(self, centre_3: Floats) -> Floats:
        """(V,) distances of the points from a place (level axes), metres."""
        distances: Floats = np.linalg.norm(self.mean_V3 - centre_3, axis=1).astype(np.float64)
        return distances


def voxels_of(
    points_P3: Floats,
    depth_P: NDArray[np.float32],
    color_P3: NDArray[np.uint8],
    confidence_P: NDArray[np.uint8],
    size: float,
) -> VoxelTable:
    """The table of some points.

    Args:
        points_P3: Level axes, metres.
        depth_P: Their z-depth in the cameras that saw them, metres.
        color_P3: RGB.
        confidence_P: 255 is 1.
        size: Edge of a voxel, metres.
    """
    keys_P = packed(np.floor(points_P3 / size).astype(np.int64))
    weight_P = 1.0 / np.maximum(depth_P, _NEAREST_M).astype(np.float64) ** 2
    return _summed(size, keys_P, points_P3, color_P3, confidence_P, weight_P, np.ones(len(keys_P)))


def merged_voxels(tables: Sequence[VoxelTable], size: float) -> VoxelTable:
    """One table of several; its numbers are those of all points together, to rounding."""
    if not tables:
        empty3 = np.zeros((0, 3))
        return _summed(size, np.zeros(0, np.int64), empty3, empty3, *[np.zeros(0)] * 3)
    if len(tables) == 1:
        return tables[0]
    columns = (
        np.concatenate([getattr(table, item.name) for table in tables])
        for item in fields(VoxelTable)[1:]
    )
    return _summed(size, *columns)


def _summed(
    size: float,
    keys_P: Keys,
    mean_P3: NDArray[np.floating],
    color_P3: NDArray[np.floating] | NDArray[np.uint8],
    confidence_P: NDArray[np.floating] | NDArray[np.uint8],
    weight_P: NDArray[np.floating],
    count_P: NDArray[np.floating] | NDArray[np.int32],
) -> VoxelTable:
    key_V, voxel_P = np.unique(keys_P, return_inverse=True)
    total = len(key_V)
    weight_V = np.bincount(voxel_P, weight_P, total)

    def mean(values_P: NDArray[np.floating] | NDArray[np.uint8]) -> Floats:
        means_V: Floats = np.bincount(voxel_P, values_P * weight_P, total) / weight_V
        return means_V

    def means(values_P3: NDArray[np.floating] | NDArray[np.uint8]) -> Floats:
        return np.stack([mean(values_P3[:, axis]) for axis in range(3)], axis=-1)

    return VoxelTable(
        size=size,
        key_V=key_V,
        mean_V3=means(mean_P3).astype(np.float32),
        color_V3=np.rint(means(color_P3)).astype(np.uint8),
        confidence_V=np.rint(mean(confidence_P)).astype(np.uint8),
        weight_V=weight_V.astype(np.float32),
        count_V=np.rint(np.bincount(voxel_P, count_P, total)).astype(np.int32),
    )
