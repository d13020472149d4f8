# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Cameras of a rig as one rigid body, also where they do not expose at the same time.

The model places every frame by itself; frames that share nothing, such as those of four cameras
that look in four directions, it can only guess. Where the extrinsics are known, a camera is where
the reference camera carries it: at the reference's own pose of that instant, interpolated between
its frames, or carried on for the part of a step that a frame is ahead of or behind them.

Shape letters: N frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import Frame

from .mapping.keyframe import Keyframe, View
from .poses import between, inverse

__all__ = ["at_one_instant", "metres_per_unit", "pose_at", "poses_of_views", "rigid_poses"]

Floats = NDArray[np.float64]

MAX_CARRIED = 1.0  # steps of the reference that a pose is carried on for
INSTANT_NS = 5_000_000  # what measures a baseline needs exposures no further apart
_NEIGHBOUR_NS = 2_000_000_000  # keyframes further apart say nothing of the motion in between
_SAME_WAY = 0.5  # cosine between the known baseline and the model's


def rigid_poses(
    T_world_cam_N44: Floats,
    frames: Sequence[Frame],
    T_base_cams: Mapping[str, Floats],
    reference: str,
    metres: float | None = None,
) -> Floats:
    """Poses of a window's frames with the rig's cameras where the rig holds them.

    Args:
        T_world_cam_N44: (N, 4, 4) of the model, any unit.
        frames: Of the window.
        T_base_cams: Extrinsics by camera, (4, 4), metres. Cameras that are not in there, and all
            where the reference is not, stay where the model has them.
        reference: Name of the reference camera.
        metres: Metres in one unit; None: as the model's own baselines say, and where they
            contradict the known ones, all cameras sit at the reference's centre.

    Returns:
        (N, 4, 4) float64; those of the reference are unchanged.
    """
    placed: Floats = np.array(T_world_cam_N44, np.float64)
    own = [number for number, frame in enumerate(frames) if frame.camera == reference]
    if reference not in T_base_cams or not own:
        return placed
    own.sort(key=lambda number: frames[number].stamp_ns)
    stamps_ns = [frames[number].stamp_ns for number in own]
    poses = [placed[number] for number in own]
    T_ref_base = inverse(T_base_cams[reference])
    carriers, known = {}, {}
    for number, frame in enumerate(frames):
        if frame.camera != reference and frame.camera in T_base_cams:
            carriers[number] = pose_at(stamps_ns, poses, frame.stamp_ns)
            known[number] = T_ref_base @ T_base_cams[frame.camera]
    if metres is None:
        modelled = {n: inverse(carriers[n]) @ placed[n] for n in carriers}
        metres = metres_per_unit(list(modelled.values()), list(known.values()))
    for number, T_world_ref in carriers.items():
        T_ref_cam = known[number].copy()
        T_ref_cam[:3, 3] *= 0.0 if metres is None else 1.0 / metres
        placed[number] = T_world_ref @ T_ref_cam
    return placed


def pose_at(stamps_ns: Sequence[int], poses: Sequence[Floats], stamp_ns: int) -> Floats:
    """(4, 4) pose at an instant: between two that are known, or carried on with the last step.

    Args:
        stamps_ns: Increasing, at least one.
        poses: (4, 4) each, of those instants.
        stamp_ns: The instant; further out than `MAX_CARRIED` steps the pose stays.
    """
    if len(stamps_ns) == 1:
        return poses[0]
    after = int(np.clip(np.searchsorted(stamps_ns, stamp_ns, side="right"), 1, len(stamps_ns) - 1))
    start, end = stamps_ns[after - 1], stamps_ns[after]
    share = (stamp_ns - start) / max(1, end - start)
    return between(
        poses[after - 1], poses[after], float(np.clip(share, -MAX_CARRIED, 1 + MAX_CARRIED))
    )


def at_one_instant(view: View, other: View) -> bool:
    """Whether two cameras of a keyframe exposed together, so that their baseline is the rig's."""
    return abs(view.stamp_ns - other.stamp_ns) <= INSTANT_NS


def poses_of_views(
    keyframes: Sequence[Keyframe], T_map_bodies: Sequence[Floats]
) -> list[list[Floats]]:
    """Where the rig was when each view of each keyframe was exposed.

    Args:
        keyframes: Neighbours in the order of their numbers.
        T_map_bodies: (4, 4) of each, any unit.

    Returns:
        (4, 4) by keyframe and view: the keyframe's own for what was exposed with it, else on the
        way to the neighbour on that side.
    """
    placed = list(zip(keyframes, T_map_bodies, strict=True))
    found = []
    for number, (keyframe, T_map_body) in enumerate(placed):
        poses = []
        for view in keyframe.views:
            ahead_ns = view.stamp_ns - keyframe.stamp_ns
            at = number + (1 if ahead_ns > 0 else -1)
            pose = T_map_body
            if ahead_ns and 0 <= at < len(placed):
                beside, T_map_beside = placed[at]
                step_ns = beside.stamp_ns - keyframe.stamp_ns
                if abs(ahead_ns) <= abs(step_ns) <= _NEIGHBOUR_NS and ahead_ns * step_ns > 0:
                    pose = between(T_map_body, T_map_beside, ahead_ns / step_ns)
            poses.append(pose)
        found.append(poses)
    return found


def metres_per_unit(T_ref_cams: Sequence[Floats], known: Sequence[Floats]) -> float | None:
    """Metres in one unit by the baselines of a rig; None where they do not fit the known ones.

    Args:
        T_ref_cams: (4, 4) of the model, its unit.
        known: (4, 4) of the same frames by the extrinsics, metres.
    """
    ratios = []
    for T_model, T_known in zip(T_ref_cams, known, strict=True):
        unit, metre = T_model[:3, 3], T_known[:3, 3]
        lengths = np.linalg.norm(unit), np.linalg.norm(metre)
        if min(lengths) > 0 and unit @ metre > _SAME_WAY * lengths[0] * lengths[1]:
            ratios.append(float(metre @ metre / (unit @ metre)))
    return float(np.median(ratios)) if ratios else None
