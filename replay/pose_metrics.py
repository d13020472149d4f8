# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Trajectories against ground truth: ATE and RPE by evo, beside a camera that never moves.

Shape letters: M poses of one segment.

The node numbers its segments: the poses of one segment share axes and scale, two segments do
not. So every segment is aligned to the ground truth on its own, by Umeyama's similarity
(rotation, translation and scale: Sim(3)), and the errors are pooled over segments. The scale
of an up-to-scale trajectory is thereby taken from the ground truth; the errors are in metres.

The baseline "identity" says of each segment that the camera did not move. Its best alignment
puts that one point into the middle of the true positions. An alignment with a scale flatters
whatever moves at all, so the ATE also stands beside "line": the straight line at constant speed
that fits the true positions best, and the translation direction beside the one direction, in
camera axes, that fits all pairs best: a camera that always moves sideways needs no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from evo.core import metrics
from evo.core.geometry import GeometryException
from evo.core.trajectory import PosePath3D
from numpy.typing import NDArray

from g2vlm_map.recordings import TruePoses

MIN_POSES = 3
MIN_BASELINE_M = 0.03
DIRECTION_LIMIT_DEG = 30.0


@dataclass(frozen=True)
class PoseSegment:
    """Camera poses that share axes and scale.

    Args:
        number: the node's running number of the segment.
        stamps_ns: (M,) capture times.
        T_seg_cam_M44: (M, 4, 4) float64 camera-to-segment, scene units.
        in_metres: whether these are metres.
    """

    number: int
    stamps_ns: tuple[int, ...]
    T_seg_cam_M44: NDArray[np.float64]
    in_metres: bool = False


def grouped(poses: Iterable[tuple[int, bool, int, NDArray[np.float64]]]) -> list[PoseSegment]:
    """Published poses by segment and unit, each stamp once: its last pose.

    Args:
        poses: number of the segment, whether in metres, stamp, (4, 4) camera to segment.
    """
    placed = {stamp: (number, in_metres, pose) for number, in_metres, stamp, pose in poses}
    groups: dict[tuple[int, bool], list[int]] = {}
    for stamp in sorted(placed):
        groups.setdefault(placed[stamp][:2], []).append(stamp)
    return [
        PoseSegment(
            number, tuple(group), np.stack([placed[stamp][2] for stamp in group]), in_metres
        )
        for (number, in_metres), group in sorted(groups.items())
    ]


@dataclass(frozen=True)
class PoseScore:
    """Pooled errors; NaN where nothing could be measured.

    Args:
        ate_m: root mean square of the position errors after alignment, metres.
        rpe_trans_m: root mean square of the translation errors between neighbours, metres.
        rpe_rot_deg: root mean square of the rotation errors between neighbours, degrees.
        rot_median_deg: median rotation error over all pairs of a segment, degrees.
        direction_30: share of pairs, with a true baseline above 3 cm, whose translation
            direction is off by less than 30 degrees (chance is about 0.07).
    """

    ate_m: float
    rpe_trans_m: float
    rpe_rot_deg: float
    rot_median_deg: float
    direction_30: float


@dataclass(frozen=True)
class AlignedSegment:
    """A segment laid onto the ground truth.

    Args:
        number, stamps_ns: as in PoseSegment, only poses that have a ground truth.
        T_world_cam_M44: (M, 4, 4) estimate after alignment, metres.
        truth_T_world_cam_M44: (M, 4, 4) ground truth, metres.
        scale: metres per scene unit that the alignment chose; 0 where the estimate does not
            move and no scale exists.
    """

    number: int
    stamps_ns: tuple[int, ...]
    T_world_cam_M44: NDArray[np.float64]
    truth_T_world_cam_M44: NDArray[np.float64]
    scale: float


@dataclass(frozen=True)
class PoseReport:
    """A run's trajectory score, the baselines' on the same poses, and what was left out."""

    predicted: PoseScore
    identity: PoseScore
    line_ate_m: float
    constant_direction_30: float
    segments: tuple[AlignedSegment, ...]
    poses: int
    segments_too_short: int
    poses_without_truth: int


def score_poses(segments: Sequence[PoseSegment], truth: TruePoses) -> PoseReport | None:
    """Score a run's segments and the motionless camera.

    Args:
        segments: the estimate.
        truth: an estimate is compared with the nearest true pose within its tolerance.

    Returns:
        The scores, or None where no segment has three poses with a ground truth.
    """
    aligned, identity, short, missing = [], [], 0, 0
    for segment in segments:
        matched, true_M44, _ = match_truth(segment, truth)
        missing += len(segment.stamps_ns) - len(matched.stamps_ns)
        if len(matched.stamps_ns) < MIN_POSES:
            short += 1
            continue
        aligned.append(align_segment(matched, true_M44))
        identity.append(_identity_segment(matched, true_M44))
    if not aligned:
        return None
    return PoseReport(
        predicted=_score(aligned),
        identity=_score(identity),
        line_ate_m=_rms([_line_errors(segment) for segment in aligned]),
        constant_direction_30=_constant_direction(aligned),
        segments=tuple(aligned),
        poses=sum(len(segment.stamps_ns) for segment in aligned),
        segments_too_short=short,
        poses_without_truth=missing,
    )


def align_segment(
    segment: PoseSegment, truth_M44: NDArray[np.float64], *, with_scale: bool = True
) -> AlignedSegment:
    """Lay a segment onto the ground truth by Umeyama's Sim(3).

    Where the estimate does not move there is no scale to find: it becomes the identity.

    Args:
        segment: the estimate.
        truth_M44: (M, 4, 4) true poses of the same stamps.
        with_scale: False leaves the lengths as they are: SE(3).
    """
    estimate = PosePath3D(poses_se3=list(segment.T_seg_cam_M44))
    reference = PosePath3D(poses_se3=list(truth_M44))
    try:
        _, _, scale = estimate.align(reference, correct_scale=with_scale)
    except GeometryException:
        return _identity_segment(segment, truth_M44, segment.T_seg_cam_M44[:, :3, :3])
    return AlignedSegment(
        segment.number,
        segment.stamps_ns,
        np.stack(estimate.poses_se3),
        truth_M44,
        float(scale),
    )


def rotation_angle_deg(R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle of rotations (..., 3, 3) in degrees, exact near 0 and near 180."""
    skew = np.stack(
        [
            R[..., 2, 1] - R[..., 1, 2],
            R[..., 0, 2] - R[..., 2, 0],
            R[..., 1, 0] - R[..., 0, 1],
        ],
        axis=-1,
    )
    cosine_2 = np.trace(R, axis1=-2, axis2=-1) - 1.0
    return np.asarray(np.degrees(np.arctan2(np.linalg.norm(skew, axis=-1), cosine_2)))


def match_truth(
    segment: PoseSegment, truth: TruePoses
) -> tuple[PoseSegment, NDArray[np.float64], list[int]]:
    """The poses of a segment that have a ground truth, that truth (M, 4, 4), and their indices."""
    stamps = np.asarray(segment.stamps_ns, np.int64)
    after = np.searchsorted(truth.stamps_ns, stamps).clip(1, len(truth.stamps_ns) - 1)
    before = after - 1
    nearer = stamps - truth.stamps_ns[before] <= truth.stamps_ns[after] - stamps
    nearest = np.where(nearer, before, after) if len(truth.stamps_ns) > 1 else after * 0
    close = np.abs(truth.stamps_ns[nearest] - stamps) <= truth.tolerance_ns
    keep = [int(index) for index in np.flatnonzero(close)]
    matched = replace(
        segment,
        stamps_ns=tuple(segment.stamps_ns[i] for i in keep),
        T_seg_cam_M44=segment.T_seg_cam_M44[keep],
    )
    return matched, truth.T_world_cam_M44[nearest[keep]], keep


def _identity_segment(
    segment: PoseSegment,
    truth_M44: NDArray[np.float64],
    rotations_M33: NDArray[np.float64] | None = None,
) -> AlignedSegment:
    still_M44 = np.tile(np.eye(4), (len(segment.stamps_ns), 1, 1))
    if rotations_M33 is not None:
        still_M44[:, :3, :3] = rotations_M33
    still_M44[:, :3, 3] = truth_M44[:, :3, 3].mean(0)
    return AlignedSegment(segment.number, segment.stamps_ns, still_M44, truth_M44, 0.0)


def _line_errors(segment: AlignedSegment) -> NDArray[np.float64]:
    """Distances (M,) of the true positions from their best uniform straight motion, metres."""
    seconds = (np.array(segment.stamps_ns) - segment.stamps_ns[0]) / 1e9
    design = np.stack([np.ones_like(seconds), seconds], axis=1)
    positions = segment.truth_T_world_cam_M44[:, :3, 3]
    fitted = design @ np.linalg.lstsq(design, positions, rcond=None)[0]
    return np.asarray(np.linalg.norm(positions - fitted, axis=1))


def _constant_direction(segments: list[AlignedSegment]) -> float:
    """Share of pairs within 30 degrees of the mean true direction; NaN without such pairs."""
    parts = []
    for segment in segments:
        truth = _pairwise(segment.truth_T_world_cam_M44)[:, :3, 3]
        length = np.linalg.norm(truth, axis=1)
        moved = length > MIN_BASELINE_M
        parts.append(truth[moved] / length[moved, None])
    units = np.concatenate(parts)
    mean = units.sum(0)
    if not len(units) or np.linalg.norm(mean) < 1e-9:
        return float("nan") if not len(units) else 0.0
    cosine = units @ (mean / np.linalg.norm(mean))
    return float(np.mean(cosine > np.cos(np.radians(DIRECTION_LIMIT_DEG))))


def _pairwise(T_M44: NDArray[np.float64]) -> NDArray[np.float64]:
    """T_i_j (P, 4, 4) of all pairs i < j: camera j in the axes of camera i."""
    first, second = np.triu_indices(len(T_M44), k=1)
    return np.asarray(np.linalg.inv(T_M44[first]) @ T_M44[second])


def _score(segments: list[AlignedSegment]) -> PoseScore:
    ate: list[NDArray[np.float64]] = []
    rpe_trans: list[NDArray[np.float64]] = []
    rpe_rot: list[NDArray[np.float64]] = []
    pair_rot, pair_direction = [], []
    for segment in segments:
        estimate = PosePath3D(poses_se3=list(segment.T_world_cam_M44))
        reference = PosePath3D(poses_se3=list(segment.truth_T_world_cam_M44))
        ate.append(_errors(metrics.APE(metrics.PoseRelation.translation_part), reference, estimate))
        for relation, errors in (
            (metrics.PoseRelation.translation_part, rpe_trans),
            (metrics.PoseRelation.rotation_angle_deg, rpe_rot),
        ):
            measure = metrics.RPE(relation, delta=1, delta_unit=metrics.Unit.frames)
            errors.append(_errors(measure, reference, estimate))
        rot_deg, direction_deg = _pair_errors(segment)
        pair_rot.append(rot_deg)
        pair_direction.append(direction_deg)
    directions = np.concatenate(pair_direction)
    return PoseScore(
        ate_m=_rms(ate),
        rpe_trans_m=_rms(rpe_trans),
        rpe_rot_deg=_rms(rpe_rot),
        rot_median_deg=float(np.median(np.concatenate(pair_rot))),
        direction_30=float(np.mean(directions < DIRECTION_LIMIT_DEG))
        if directions.size
        else float("nan"),
    )


def _errors(
    measure: metrics.APE | metrics.RPE, reference: PosePath3D, estimate: PosePath3D
) -> NDArray[np.float64]:
    measure.process_data((reference, estimate))
    return np.asarray(measure.error, np.float64)


def _rms(parts: list[NDArray[np.float64]]) -> float:
    return float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))


def _pair_errors(segment: AlignedSegment) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation errors of all pairs, direction errors of those with a baseline, degrees.

    A pair whose estimate does not move has no direction and counts as 90 degrees off.
    """
    estimate = _pairwise(segment.T_world_cam_M44)
    truth = _pairwise(segment.truth_T_world_cam_M44)
    rotation_deg = rotation_angle_deg(np.swapaxes(truth[:, :3, :3], -1, -2) @ estimate[:, :3, :3])
    moved = np.linalg.norm(truth[:, :3, 3], axis=-1) > MIN_BASELINE_M
    a, b = estimate[moved, :3, 3], truth[moved, :3, 3]
    cross = np.linalg.norm(np.cross(a, b), axis=-1)
    direction_deg = np.degrees(np.arctan2(cross, np.sum(a * b, axis=-1)))
    still = np.linalg.norm(a, axis=-1) < 1e-9
    return rotation_deg, np.where(still, 90.0, direction_deg)
