# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whether depth, poses and intrinsics of a data set belong together, measured on its own frames.

A wrong axis, unit or time shift loads without complaint and ruins a training run. So points of
one frame are carried into a neighbour, and the depth that they should have there is compared
with the depth that is there. Where it disagrees, the usual mistakes are tried: what agrees then
is the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .base import Clip, FrameSequence
from .folder import OPENGL_TO_OPENCV

__all__ = ["GOOD_AGREEMENT", "SequenceCheck", "check_sequence", "check_table", "depth_ratios"]

GOOD_AGREEMENT = 0.6
_TOLERANCE = 0.05
_LEAST_OVERLAP = 0.2
_FARTHEST = 30  # frames between the two of a pair
_TRIES = 6  # frames in a row among which one with depth is looked for
_USUAL_M = (0.05, 150.0)  # median depth of anything that a robot's camera sees


def _turned(clip: Clip) -> Clip:
    return dataclasses.replace(clip, T_world_cam=clip.T_world_cam @ OPENGL_TO_OPENCV)


def _inverted(clip: Clip) -> Clip:
    T_cam_world = np.asarray(np.linalg.inv(clip.T_world_cam), np.float64)
    return dataclasses.replace(clip, T_world_cam=T_cam_world)


def _stretched(factor: float) -> Callable[[Clip], Clip]:
    return lambda clip: dataclasses.replace(clip, depth=clip.depth * np.float32(factor))


_MISTAKES: dict[str, Callable[[Clip], Clip]] = {
    "its poses are world-to-camera: invert them": _inverted,
    "its camera axes are y up, z backward (OpenGL): turn them": _turned,
    "its poses are world-to-camera with OpenGL's axes": lambda clip: _turned(_inverted(clip)),
    "its depth is 1000 times too large for its poses": _stretched(1e-3),
    "its depth is 1000 times too small for its poses": _stretched(1e3),
}


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
        lost: Frames that were left out for want of a pose.
        why: What is wrong; "" where nothing is, or nobody knows.
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
    lost: int = 0
    why: str = ""

    @property
    def good(self) -> bool:
        """Whether enough agrees; a sequence without depth or overlap cannot be judged."""
        return not self.why and not self.agreement < GOOD_AGREEMENT


def check_sequence(sequence: FrameSequence, pairs: int = 8) -> SequenceCheck:
    """Read pairs of frames along a sequence and compare them.

    Raises:
        DataError: A frame cannot be read.
    """
    clips = list(_pairs(sequence, pairs))
    agree = _agreements(clips)
    depth = np.concatenate([clip.depth.ravel() for clip in clips])
    known = depth[depth > 0]
    K, width = clips[0].K[0], clips[0].size_hw[1]
    left, right = (K[0, 2] + 0.5) / K[0, 0], (width - 0.5 - K[0, 2]) / K[0, 0]
    steps = [np.linalg.norm(np.diff(clip.T_world_cam[:, :3, 3], axis=0)) for clip in clips]
    agreement = float(np.mean(agree)) if agree else float("nan")
    middle = float(np.median(known)) if len(known) else 0.0
    return SequenceCheck(
        name=sequence.name,
        frames=len(sequence),
        size_hw=clips[0].size_hw,
        fov_deg=float(np.degrees(np.arctan(left) + np.arctan(right))),
        known=len(known) / len(depth),
        depth=middle,
        step=float(np.median(steps)),
        pairs=len(agree),
        agreement=agreement,
        lost=int(getattr(sequence, "dropped", 0)),
        why=(_unit(middle) if clips[0].metric and len(known) else "") or _mistake(clips, agreement),
    )


def _pairs(sequence: FrameSequence, count: int) -> Iterator[Clip]:
    """Pairs of frames along a sequence, of those with depth where some have none."""
    length = len(sequence)
    apart = max(1, min(_FARTHEST, length // (2 * count)))
    starts = np.linspace(0, max(0, length - 1 - apart), count).astype(int)
    for start in sorted(set(starts.tolist())):
        first = _with_depth(sequence, start)
        yield sequence.read([first, _with_depth(sequence, min(first + apart, length - 1))])


def _with_depth(sequence: FrameSequence, start: int) -> int:
    """The first frame from one on that has depth; that one where none has soon."""
    for index in range(start, min(start + _TRIES, len(sequence))):
        if sequence.read([index]).depth.any():
            return index
    return start


def _agreements(clips: Sequence[Clip]) -> list[float]:
    """Of each pair that sees enough of each other, both ways."""
    agree: list[float] = []
    for clip in clips:
        for i, j in ((0, 1), (1, 0)) if clip.all_posed else ():
            ratios = depth_ratios(clip, i, j)
            if len(ratios) >= _LEAST_OVERLAP * max(1, int((clip.depth[i] > 0).sum())):
                agree.append(float((np.abs(ratios - 1) < _TOLERANCE).mean()))
    return agree


def _mistake(clips: Sequence[Clip], agreement: float) -> str:
    """The mistake without which a sequence agrees that does not as it is; "" for none of them."""
    if not agreement < GOOD_AGREEMENT:
        return ""
    for why, undone in _MISTAKES.items():
        found = _agreements([undone(clip) for clip in clips])
        if found and np.mean(found) >= GOOD_AGREEMENT:
            return why
    return ""


def _unit(middle_m: float) -> str:
    """Why a median depth is in no metres."""
    if middle_m < _USUAL_M[0]:
        return f"its median depth is {1000 * middle_m:.2g} mm: metres where millimetres are said"
    if middle_m > _USUAL_M[1]:
        return f"its median depth is {middle_m:.0f} m: millimetres where metres are said"
    return ""


def depth_ratios(clip: Clip, i: int, j: int) -> NDArray[np.float64]:
    """(K,) depth that frame j has over the depth that points of frame i should have there.

    Only points that fall into frame j, onto pixels with known depth.
    """
    if i == j or not clip.depth[i].any():
        return np.zeros(0)
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
        f"{'frames':>7}{'lost':>6}{'size':>11}{'fov':>7}{'known':>7}{'depth':>8}{'step':>8}"
        f"{'pairs':>6}{'agree':>7}  sequence"
    ]
    for check in checks:
        height, width = check.size_hw
        wrong = "" if check.good else f"  <- {check.why or 'does not belong together'}"
        lines.append(
            f"{check.frames:>7}{check.lost:>6}{f'{width}x{height}':>11}{check.fov_deg:>7.1f}"
            f"{check.known:>7.2f}{check.depth:>8.2f}{check.step:>8.3f}{check.pairs:>6}"
            f"{check.agreement:>7.2f}  {check.name}{wrong}"
        )
    return "\n".join(lines)
