# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the geometric expert says of a window, in words that stand between question and answer.

The paper's interleaved reasoning (abstract, figure 1, section 3.3): poses, depths and points are
put into the sequence, and the answer is written behind them. In training (`reason` of the config)
as at inference (`SpatialQuery.reason`) the words are those of `geometry_in_words`; a model that
was not trained with them has never read such lines.

    at frame 2 right 0.12 up 0.03 forward 0.40 turn right 12 up 3
    A depth 1.93 right 0.40 down 0.22 forward 1.93

A line for each frame but the first says where its camera is and how it is turned, a line for each
mark its depth (along its own camera's axis) and its point; all but the depth are in the axes of the
first camera. Lengths are multiples of the window's median depth, because the model's own unit means
nothing; angles are degrees.

Shape letters: N frames, H W pixels of the model's picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .interface import PixelMark

__all__ = ["geometry_in_words"]


def geometry_in_words(
    local_NHW3: NDArray[np.float32],
    T_first_cam_N44: NDArray[np.float32],
    marks: Sequence[PixelMark],
    sizes_hw: Sequence[tuple[int, int]],
) -> str:
    """Poses of the frames and points of the marks, a line each; "" where there is neither.

    Args:
        local_NHW3: Points in the axes of their camera, any unit.
        T_first_cam_N44: Camera to first camera, the same unit.
        marks: On the frames.
        sizes_hw: (height, width) of each frame's original picture, in which the marks count.
    """
    depth_NHW = local_NHW3[..., 2]
    known = depth_NHW[np.isfinite(depth_NHW) & (depth_NHW > 0)]
    unit = float(np.median(known)) if len(known) else 1.0
    lines = [
        f"at frame {number} {_pose(T_first_cam_44, unit)}"
        for number, T_first_cam_44 in enumerate(T_first_cam_N44[1:], start=2)
    ]
    height, width = depth_NHW.shape[1:]
    for mark in marks:
        original_h, original_w = sizes_hw[mark.frame_index]
        row = _cell(mark.v, original_h, height)
        column = _cell(mark.u, original_w, width)
        local_3 = local_NHW3[mark.frame_index, row, column]
        name = mark.label or "mark"
        if not (np.isfinite(local_3).all() and local_3[2] > 0):
            lines.append(f"{name} depth unknown")
            continue
        T = T_first_cam_N44[mark.frame_index]
        point_3 = T[:3, :3] @ local_3 + T[:3, 3]
        lines.append(f"{name} depth {local_3[2] / unit:.2f} {_place(point_3, unit)}")
    return "\n".join(lines)


def _pose(T_first_cam_44: NDArray[np.float32], unit: float) -> str:
    """Where a camera is, and where its optical axis points."""
    x, y, z = (float(value) for value in T_first_cam_44[:3, 2])
    turn, tilt = np.degrees(np.arctan2(x, z)), np.degrees(np.arctan2(-y, np.hypot(x, z)))
    place = _place(T_first_cam_44[:3, 3], unit)
    return (
        f"{place} turn {_side(turn, 'right', 'left')} {abs(turn):.0f} "
        f"{_side(tilt, 'up', 'down')} {abs(tilt):.0f}"
    )


def _place(point_3: NDArray[np.float32], unit: float) -> str:
    x, y, z = (float(value) / unit for value in point_3)
    return (
        f"{_side(x, 'right', 'left')} {abs(x):.2f} {_side(-y, 'up', 'down')} {abs(y):.2f} "
        f"{_side(z, 'forward', 'backward')} {abs(z):.2f}"
    )


def _side(value: float, positive: str, negative: str) -> str:
    return positive if value >= 0 else negative


def _cell(pixel: float, original: int, side: int) -> int:
    """The row or column of the model's picture that shows a pixel of the original one."""
    return min(side - 1, max(0, int((pixel + 0.5) / original * side)))
