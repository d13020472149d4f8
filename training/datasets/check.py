# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whether depth, poses and intrinsics of a data set belong together, measured on its own frames.

A wrong axis, unit or time shift loads without complaint and ruins a training run. So points of
one frame are carried into a neighbour, and the depth that they should have there is compared
with the depth that is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .base import Clip, FrameSequence

__all__ = ["GOOD_AGREEMENT", "SequenceCheck", "check_sequence", "check_table", "depth_ratios"]

GOOD_AGREEMENT = 0.6
_TOLERANCE = 0.05
_LEAST_OVERLAP = 0.2
_FARTHEST = 30  # frames between the two of a pair


@dataclass(frozen=True)
class SequenceCheck:
    """What was seen of a sequence.

    Args:
        name: Of the sequence.
        frames: With a pose.
        size_hw: Of the pictures.
        fov_deg: Horizontal field of view.
        known: Share of pixels with known depth.
        depth: Median known depth.
        step: Median distance between the cameras of a pair.
        pairs: Pairs of frames that see at least a fifth of each other.
        agreement: Share of their common points whose depth agrees within 5 %, occlusions
            counted as disagreement; NaN without pairs.
    """

    name: str
    frames: int
    size_hw: tuple[int, int]
    fov_deg: float
    known: float
    depth: float
    step: float
    pairs: int
    agreement: float

    @property
    def good(self) -> bool:
        """Whether enough agrees; a sequence without depth or overlap cannot be judged."""
        return not self.agreement < GOOD_AGREEMENT


def check_sequence(sequence: FrameSequence, pairs: int = 8) -> SequenceCheck:
    """Read pairs of frames along a sequence and compare them.

    Raises:
        DataError: A frame cannot be read.
    """
    length = len(sequence)
    apart = max(1, min(_FARTHEST, length // (2 * pairs)))
    starts = np.linspace(0, max(0, length - 1 - apart), pairs).astype(int)
    clips = [
        sequence.read([start, min(start + apart, length - 1)])
        for start in sorted(set(starts.tolist()))
    ]
    agree: list[float] = []
    for clip in clips if length > 1 else []:
        for i, j in ((0, 1), (1, 0)):
            ratios = depth_ratios(clip, i, j)
            if len(ratios) >= _LEAST_OVERLAP * max(1, int((clip.depth[i] > 0).sum())):
                agree.append(float((np.abs(ratios - 1) < _TOLERANCE).mean()))
    depth = np.concatenate([clip.depth.ravel() for clip in clips])
    known = depth[depth > 0]
    K, width = clips[0].K[0], clips[0].size_hw[1]
    left, right = (K[0, 2] + 0.5) / K[0, 0], (width - 0.5 - K[0, 2]) / K[0, 0]
    steps = [np.linalg.norm(np.diff(clip.T_world_cam[:, :3, 3], axis=0)) for clip in clips]
    return SequenceCheck(
        name=sequence.name,
        frames=length,
        size_hw=clips[0].size_hw,
        fov_deg=float(np.degrees(np.arctan(left) + np.arctan(right))),
        known=len(known) / len(depth),
        depth=float(np.median(known)) if len(known) else 0.0,
        step=float(np.median(steps)),
        pairs=len(agree),
        agreement=float(np.mean(agree)) if agree else float("nan"),
    )


def depth_ratios(clip: Clip, i: int, j: int) -> NDArray[np.float64]:
    """(K,) depth that frame j has over the depth that points of frame i should have there.

    Only points that fall into frame j, onto pixels with known depth.
    """
    v, u = np.nonzero(clip.depth[i])
    pixel = np.stack([u, v, np.ones_like(u)], axis=-1)
    local = pixel @ np.linalg.inv(clip.K[i]).T * clip.depth[i][v, u, None]
    T_j_i = np.linalg.inv(clip.T_world_cam[j]) @ clip.T_world_cam[i]
    seen = local @ T_j_i[:3, :3].T + T_j_i[:3, 3]
    seen = seen[seen[:, 2] > 0]
    uv = seen @ clip.K[j].T
    column, row = np.rint(uv[:, :2] / uv[:, 2:]).T
    height, width = clip.size_hw
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    there = clip.depth[j][row[inside].astype(int), column[inside].astype(int)]
    ratios: NDArray[np.float64] = there[there > 0] / seen[inside, 2][there > 0]
    return ratios


def check_table(checks: Sequence[SequenceCheck]) -> str:
    """The checks as text, one line per sequence."""
    lines = [
        f"{'frames':>7}{'size':>11}{'fov':>7}{'known':>7}{'depth':>8}{'step':>8}{'pairs':>6}"
        f"{'agree':>7}  sequence"
    ]
    for check in checks:
        height, width = check.size_hw
        lines.append(
            f"{check.frames:>7}{f'{width}x{height}':>11}{check.fov_deg:>7.1f}{check.known:>7.2f}"
            f"{check.depth:>8.2f}{check.step:>8.3f}{check.pairs:>6}{check.agreement:>7.2f}"
            f"  {check.name}{'' if check.good else '  <- does not belong together'}"
        )
    return "\n".join(lines)
