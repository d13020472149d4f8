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

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import Frame

from .mapping.keyframe import Edge, Keyframe, View
from .poses import between, inverse, rotation_vector
from .scale.estimate import ScaleEstimate

__all__ = [
    "SeenStep",
    "at_one_instant",
    "edge_of_rigs",
    "metres_per_unit",
    "pose_at",
    "poses_of_views",
    "rigid_poses",
    "seen_step",
]

Floats = NDArray[np.float64]

MAX_CARRIED = 1.0  # steps of the reference that a pose is carried on for
INSTANT_NS = 5_000_000  # what measures a baseline needs exposures no further apart
_NEIGHBOUR_NS = 2_000_000_000  # keyframes further apart say nothing of the motion in between
_STRETCH = 3.0  # times what was seen that a step may be
_SAME_WAY = 0.5  # cosine between the known baseline and the model's
_NO_LEVER_M = 1e-6


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


@dataclass(frozen=True)
class SeenStep:
    """How the motion between two views belongs to the step between their keyframes.

    Args:
        share: Time of the step over that between the views: at a steady speed and turn so much of
            the motion is the step's.
        aside: Time between views and keyframes, both ends, over that of the step. The motion was
            not steady: by so much of it the step may be off.
    """

    share: float = 1.0
    aside: float = 0.0


def seen_step(i: tuple[Keyframe, View], j: tuple[Keyframe, View]) -> SeenStep | None:
    """What two views of one camera see of the step between the keyframes that hold them.

    Returns:
        None where a view was exposed at another time than its keyframe, and the keyframes are too
        far apart, or too close, for the motion to say how the rig went on meanwhile.
    """
    ahead = [view.stamp_ns - keyframe.stamp_ns for keyframe, view in (i, j)]
    if max(map(abs, ahead)) <= INSTANT_NS:
        return SeenStep()
    step_ns = j[0].stamp_ns - i[0].stamp_ns
    seen_ns = step_ns + ahead[1] - ahead[0]
    share = step_ns / seen_ns if seen_ns else 0.0
    if abs(step_ns) > _NEIGHBOUR_NS or not 0 < share <= _STRETCH:
        return None
    return SeenStep(share, sum(map(abs, ahead)) / abs(step_ns))


def edge_of_rigs(edge: Edge, view: View, step: SeenStep, scale: ScaleEstimate) -> Edge:
    """An edge between two views of one camera as one between the bodies of their keyframes.

    Args:
        edge: Of the views, in the camera's axes.
        view: Of the first keyframe.
        step: What the views see of the step between the keyframes.
        scale: Metres in a map unit: the camera sits on a lever in metres.
    """
    seen = _of_body(edge, view, scale)
    if not step.aside:
        return seen
    T = between(np.eye(4), seen.T_i_j, step.share)
    turned = float(np.linalg.norm(rotation_vector(T[:3, :3])))
    return replace(
        seen,
        T_i_j=T,
        sigma_rotation=math.hypot(seen.sigma_rotation, step.aside * turned),
        sigma_direction=math.hypot(seen.sigma_direction, step.aside),
        sigma_log_length=math.hypot(seen.sigma_log_length, step.aside),
        sigma_still=seen.sigma_still * max(1.0, step.share),
        tracks=None,  # they tell the length of what was seen
    )


def _of_body(edge: Edge, view: View, scale: ScaleEstimate) -> Edge:
    """An edge between two cameras as one between their rigs.

    With X = T_body_cam it is X T_i_j X^-1, so the rig moved by R_bc t + (I - R) x: where it turned,
    its camera swung on the lever x, which is known in metres and comes in by the map's scale.
    Without one the edge is a rotation, unless the camera sits where the reference one does.
    """
    R_body_cam, lever_m = view.T_body_cam[:3, :3], view.T_body_cam[:3, 3]
    T = np.eye(4)
    T[:3, :3] = R_body_cam @ edge.T_i_j[:3, :3] @ R_body_cam.T
    T[:3, 3] = R_body_cam @ edge.T_i_j[:3, 3]
    if np.linalg.norm(lever_m) < _NO_LEVER_M:
        return replace(edge, T_i_j=T)
    edge = replace(edge, tracks=None)  # they tell the length of the camera's way
    if not (math.isfinite(scale.sigma) and math.isfinite(edge.sigma_log_length)):
        T[:3, 3] = 0.0
        return replace(edge, T_i_j=T, sigma_direction=math.inf, sigma_log_length=math.inf)
    lever = lever_m / scale.metres_per_unit
    swung = lever - T[:3, :3] @ lever
    spread = _spread(T[:3, 3], edge.sigma_direction, edge.sigma_log_length)
    spread += scale.sigma**2 * np.outer(swung, swung)
    spread += (edge.sigma_rotation * float(np.linalg.norm(lever))) ** 2 * np.eye(3)
    T[:3, 3] += swung
    length = float(np.linalg.norm(T[:3, 3]))
    along = T[:3, 3] / max(length, 1e-12)
    sigma_along = math.sqrt(along @ spread @ along)
    across = np.eye(3) - np.outer(along, along)
    sigma_across = math.sqrt(np.linalg.eigvalsh(across @ spread @ across)[-1])
    if length < 2 * max(sigma_along, sigma_across):  # it turned about where it is
        still = math.sqrt(np.linalg.eigvalsh(spread)[-1])
        T[:3, 3] = 0.0
        still = math.hypot(still, length)
        sigma_across = sigma_along = math.inf
    else:
        still = edge.sigma_still
        sigma_across, sigma_along = sigma_across / length, sigma_along / length
    return replace(
        edge,
        T_i_j=T,
        sigma_direction=sigma_across,
        sigma_log_length=sigma_along,
        sigma_still=still,
    )


def _spread(t_3: Floats, sigma_direction: float, sigma_log_length: float) -> Floats:
    """(3, 3) covariance of a translation whose direction and log length have these sigmas."""
    outer = np.outer(t_3, t_3)
    across = float(t_3 @ t_3) * np.eye(3) - outer
    spread: Floats = sigma_direction**2 * across + sigma_log_length**2 * outer
    return spread


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
