# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which frames of a recording are trained on, and which are for validation.

Frames are taken at a rate, not while the camera stands, and cut into clips that have no hole in
time. The last part of a recording is for validation; between the two lie some seconds that nobody
sees. What is left out is counted with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from g2vlm_map.recordings import NS

from ..ranges import CHANCE, COUNT, POSITIVE, WEIGHT, check_range
from ..synthetic import Split
from .recording import Recorded, RecordingChoice

__all__ = ["LEAST", "BagPlan", "Run", "planned"]

Floats = NDArray[np.float64]

LEAST = 2  # frames of a clip
_STILL_M, _STILL_DEG = 0.005, 0.5  # less since the last frame: the camera stands
_HOLE_S = 2.0  # in time, or four times the usual step: a clip ends


@dataclass(frozen=True)
class Run:
    """Frames of a clip.

    Args:
        split: Whose.
        posed: Whether their poses are known; of all of them or of none.
        frames: Their numbers in the recording, in order of time.
    """

    split: Split
    posed: bool
    frames: tuple[int, ...]


@dataclass(frozen=True)
class BagPlan:
    """What is taken of recordings.

    Args:
        choice: Topics, poses, depth.
        rate_hz: Frames a second at most.
        width: Of pictures at most, pixels; larger ones become smaller.
        frames: Of a clip at most.
        val_share: Of each recording's frames, the last ones, for validation.
        gap_s: Between frames to train on and frames to validate with, at least.
        unposed: Take frames with depth whose pose nobody says, in clips of their own.
        exact_depth: Depth is a simulator's: good enough for normals.

    Raises:
        ValueError: A number out of range.
    """

    choice: RecordingChoice = field(default_factory=RecordingChoice)
    rate_hz: float = 5.0
    width: int = 640
    frames: int = 48
    val_share: float = 0.1
    gap_s: float = 2.0
    unposed: bool = False
    exact_depth: bool = False

    def __post_init__(self) -> None:
        check_range(self, POSITIVE, "rate_hz", part="bag")
        check_range(self, COUNT, "width", "frames", part="bag")
        check_range(self, CHANCE, "val_share", part="bag")
        check_range(self, WEIGHT, "gap_s", part="bag")
        if self.frames < LEAST:
            raise ValueError(f"a clip has {self.frames} frames at most, expected {LEAST} or more")


def planned(
    recorded: Recorded, plan: BagPlan, val_share: float, left_out: Counter[str]
) -> list[Run]:
    """The clips of a recording.

    Args:
        recorded: The recording.
        plan: What is taken.
        val_share: Of its frames for validation; 1: all.
        left_out: Counts the other frames by reason.
    """
    kept = _thinned(recorded, plan, left_out)
    return [
        Run(split, posed, tuple(clip))
        for split, part in _split(recorded, kept, plan, val_share, left_out)
        for posed, run in _in_a_row(recorded, part, plan)
        for clip in _cut(run, plan.frames, left_out)
    ]


def _thinned(recorded: Recorded, plan: BagPlan, left_out: Counter[str]) -> list[int]:
    """Frames at the rate at most, in order of time, with a pose or, where asked for, depth."""
    kept: list[int] = []
    metric = recorded.path_of_camera is not None and recorded.path_of_camera.metric
    step_ns = NS / plan.rate_hz * 0.9  # stamps tremble
    last_ns, last_pose = None, None
    for index in np.argsort(recorded.stamps_ns, kind="stable").tolist():
        stamp_ns, pose = int(recorded.stamps_ns[index]), recorded.poses[index]
        if pose is None and not (plan.unposed and recorded.depth):
            left_out["no pose"] += 1
        elif last_ns is not None and stamp_ns - last_ns < step_ns:
            left_out[f"above {plan.rate_hz:g} Hz"] += 1
        elif metric and pose is not None and last_pose is not None and _still(last_pose, pose):
            left_out["the camera stood"] += 1
        else:
            kept.append(index)
            last_ns, last_pose = stamp_ns, pose
    return kept


def _still(before: Floats, now: Floats) -> bool:
    turn = Rotation.from_matrix(before[:3, :3].T @ now[:3, :3]).magnitude()
    moved = float(np.linalg.norm(now[:3, 3] - before[:3, 3]))
    return moved < _STILL_M and np.degrees(turn) < _STILL_DEG


def _split(
    recorded: Recorded, kept: list[int], plan: BagPlan, share: float, left_out: Counter[str]
) -> list[tuple[Split, list[int]]]:
    """The frames to train on, then those to validate with; between them some seconds of none."""
    if share >= 1:
        return [("val", kept)]
    count = round(share * len(kept))
    if share == 0 or count < LEAST:
        return [("train", kept)]
    val = kept[-count:]
    begins_ns = int(recorded.stamps_ns[val[0]])
    before = kept[:-count]
    train = [i for i in before if begins_ns - recorded.stamps_ns[i] >= plan.gap_s * NS]
    left_out["between training and validation"] += len(before) - len(train)
    return [("train", train), ("val", val)]


def _in_a_row(
    recorded: Recorded, frames: list[int], plan: BagPlan
) -> Iterator[tuple[bool, list[int]]]:
    """Frames without a hole in time, all with poses or all without."""
    hole_ns = max(_HOLE_S, 4 / plan.rate_hz) * NS
    run: list[int] = []
    for index in frames:
        if run:
            before = run[-1]
            alike = (recorded.poses[before] is None) == (recorded.poses[index] is None)
            if not alike or recorded.stamps_ns[index] - recorded.stamps_ns[before] > hole_ns:
                yield recorded.poses[before] is not None, run
                run = []
        run.append(index)
    if run:
        yield recorded.poses[run[-1]] is not None, run


def _cut(run: list[int], most: int, left_out: Counter[str]) -> Iterator[list[int]]:
    """Equal parts of at most so many frames; windows of a batch come from clips of one length."""
    parts = -(-len(run) // most)
    size = len(run) // parts
    if size < LEAST:
        left_out["alone in time"] += len(run)
        return
    for part in range(parts):
        yield run[part * size : (part + 1) * size]
    left_out["rest of a clip"] += len(run) - parts * size
