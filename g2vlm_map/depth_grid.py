# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth on the camera's own grid: finer than the model's, with edges where the picture has them.

Between two samples of one surface, inverse depth is interpolated, which is exact on planes. Where
surfaces at two depths meet, plain interpolation invents points in the air between them; there each
sample of the coarse grid knows a near and a far surface with their mean colours (a joint bilateral
upsampling after Kopf et al. 2007, with two candidates in the place of a sum over neighbours), and a
fine pixel takes the one whose colour it has.

Shape letters: h w pixels of the model's picture, H W of the frame.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["bilinear_depth", "guided_depth"]

Floats = NDArray[np.float32]

_RADIUS = 2  # of the neighbourhood in samples
_SIGMA = 0.8  # of its weights, samples
_JUMP = 1.12  # ratio of depths within a neighbourhood that makes two surfaces of it
_COLOR_SIGMA = 14.0  # grey levels a channel
_UNDECIDED = 0.02  # share of either surface that a place far inside the other one keeps
_NOWHERE = np.float32(1e30)
_BEND = 0.05  # second difference of inverse depth over itself that no plane has
_HOLE = 0.08  # a fine pixel needs this share of samples around it, else there is no depth


def bilinear_depth(depth_hw: Floats, size_hw: tuple[int, int]) -> Floats:
    """(H, W) plain interpolation of inverse depth; NaN where a sample beside it has none.

    Args:
        depth_hw: (h, w) z-depth, any unit; NaN: none.
        size_hw: (H, W).
    """
    fine = cv2.resize(1.0 / depth_hw, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(1.0 / fine, np.float32)


def guided_depth(
    depth_hw: Floats, colors_hw3: NDArray[np.uint8], frame_HW3: NDArray[np.uint8]
) -> Floats:
    """(H, W) z-depth of a frame's pixels; NaN where there is none.

    Args:
        depth_hw: (h, w) z-depth, any unit; NaN: none, as the model leaves it along edges. Strips of
            a few samples are filled, larger holes stay.
        colors_hw3: (h, w, 3) uint8, the frame at that size.
        frame_HW3: (H, W, 3) uint8.
    """
    near, far = _surfaces(depth_hw, colors_hw3.astype(np.float32))
    size = (frame_HW3.shape[1], frame_HW3.shape[0])
    inverse = np.asarray(cv2.resize(far[0], size, interpolation=cv2.INTER_LINEAR), np.float32)
    # Two surfaces are rare: the rest of the work is done where there are.
    apart_hw = (np.abs(near[0] - far[0]) > 1e-6 * far[0]).astype(np.uint8)
    around_hw = cv2.dilate(apart_hw, np.ones((3, 3), np.uint8))
    at = np.nonzero(cv2.resize(around_hw, size, interpolation=cv2.INTER_NEAREST))
    if len(at[0]):
        sample = _Sampler(at, depth_hw.shape, (size[1], size[0]))
        color = frame_HW3[at].astype(np.float32)
        cost = []
        for surface in (near, far):
            mean = sample(np.dstack([surface[1], surface[2]]))
            difference = color - mean[:, :3]
            squared = np.einsum("mc,mc->m", difference, difference) / (6 * _COLOR_SIGMA**2)
            cost.append(squared - np.log(mean[:, 3] + np.float32(_UNDECIDED)))
        inverse[at] = np.where(cost[0] < cost[1], sample(near[0])[:, 0], inverse[at])
    known = cv2.resize(_known(depth_hw), size, interpolation=cv2.INTER_LINEAR)
    with np.errstate(divide="ignore"):
        depth = 1.0 / inverse
    depth[(known < _HOLE) | ~(inverse > 0)] = np.nan
    return np.asarray(depth, np.float32)


class _Sampler:
    """Interpolates coarse pictures at some fine pixels.

    Args:
        at: Rows and columns of the M fine pixels.
        coarse_hw, fine_hw: (h, w) and (H, W).
    """

    _ROW = 1024  # OpenCV maps pictures, not lists: the pixels are laid out in rows

    def __init__(
        self,
        at: tuple[NDArray[np.int64], ...],
        coarse_hw: tuple[int, ...],
        fine_hw: tuple[int, int],
    ) -> None:
        self._count = len(at[0])
        rows = -(-self._count // self._ROW)
        self._maps = []
        for index, coarse, fine in zip(at[::-1], coarse_hw[::-1], fine_hw[::-1], strict=True):
            place = np.zeros(rows * self._ROW, np.float32)
            place[: self._count] = (index + 0.5) * (coarse / fine) - 0.5
            self._maps.append(place.reshape(rows, self._ROW))

    def __call__(self, coarse: Floats) -> Floats:
        """(M, channels) of a coarse picture (h, w) or (h, w, channels)."""
        u, v = self._maps
        found = cv2.remap(coarse, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(found, np.float32).reshape(u.size, -1)[: self._count]


def _known(depth_hw: Floats) -> Floats:
    """Share of samples with a depth around each one."""
    known = np.isfinite(depth_hw).astype(np.float32)
    return np.asarray(cv2.blur(known, (3, 3), borderType=cv2.BORDER_REPLICATE), np.float32)


def _broken(
    depth_hw: Floats, usable_hw: NDArray[np.bool_], window: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Where a neighbourhood is no plane: inverse depth bends in it, or samples are missing."""
    inverse = np.where(usable_hw, 1.0 / np.where(usable_hw, depth_hw, 1.0), np.float32(np.nan))
    padded = np.pad(inverse, 1, mode="reflect", reflect_type="odd")
    here = padded[1:-1, 1:-1]
    across = padded[1:-1, 2:] + padded[1:-1, :-2] - 2 * here
    down = padded[2:, 1:-1] + padded[:-2, 1:-1] - 2 * here
    flat = np.maximum(np.abs(across), np.abs(down)) <= _BEND * here  # not so where one is NaN
    broken: NDArray[np.bool_] = cv2.dilate((~flat).astype(np.uint8), window) > 0
    return broken


def _surfaces(
    depth_hw: Floats, colors_hw3: Floats
) -> tuple[tuple[Floats, Floats, Floats], tuple[Floats, Floats, Floats]]:
    """The near and the far surface at each sample: inverse depth, mean colour, share of weight.

    Where the neighbourhood holds one surface only, both are that one.
    """
    usable = np.isfinite(depth_hw) & (depth_hw > 0)
    window = np.ones((2 * _RADIUS + 1,) * 2, np.uint8)
    lowest = cv2.erode(np.where(usable, depth_hw, _NOWHERE), window)
    highest = np.maximum(cv2.dilate(np.where(usable, depth_hw, np.float32(0)), window), 0)
    two_hw = (lowest < _NOWHERE) & (highest > _JUMP * lowest) & _broken(depth_hw, usable, window)
    border_hw = np.sqrt(np.where(two_hw, lowest, 1) * np.where(two_hw, highest, 1))
    inverse_hw = np.where(usable, 1.0 / np.where(usable, depth_hw, 1.0), 0.0).astype(np.float32)
    sums = [np.zeros((*depth_hw.shape, 5), np.float32) for _ in range(2)]
    samples = np.dstack([inverse_hw, colors_hw3, np.ones_like(inverse_hw)])
    padded = cv2.copyMakeBorder(
        np.dstack([samples * usable[..., None], np.where(usable, depth_hw, 0)]).astype(np.float32),
        *(_RADIUS,) * 4, cv2.BORDER_CONSTANT, value=0,
    )  # fmt: skip
    height, width = depth_hw.shape
    for row in range(2 * _RADIUS + 1):
        for column in range(2 * _RADIUS + 1):
            squared = (row - _RADIUS) ** 2 + (column - _RADIUS) ** 2
            weight = np.float32(np.exp(-squared / (2 * _SIGMA**2)))
            there = padded[row : row + height, column : column + width]
            is_near = there[..., 5] <= border_hw
            for total, member in zip(sums, (is_near, ~is_near), strict=True):
                total += there[..., :5] * (weight * member)[..., None]
    both = sums[0] + sums[1]
    single_hw = np.where(usable, inverse_hw, both[..., 0] / np.maximum(both[..., 4], 1e-9))
    near, far = (_surface(total, both[..., 4], two_hw, single_hw) for total in sums)
    return near, far


def _surface(
    total_hw5: Floats, weight_hw: Floats, two_hw: NDArray[np.bool_], single_hw: Floats
) -> tuple[Floats, Floats, Floats]:
    """Inverse depth, mean colour and share of weight of one surface, from its weighted sums."""
    mean_hw5 = total_hw5 / np.maximum(total_hw5[..., 4:], np.float32(1e-9))
    inverse_hw = np.where(two_hw, mean_hw5[..., 0], single_hw)
    share_hw = total_hw5[..., 4] / np.maximum(weight_hw, np.float32(1e-9))
    return (
        np.asarray(inverse_hw, np.float32),
        np.asarray(mean_hw5[..., 1:4], np.float32, order="C"),
        np.asarray(share_hw, np.float32),
    )
