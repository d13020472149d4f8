# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The finished map against ground truth: positions, covariances, scale and loops.

The poses of `pose_metrics` are those that were published at their own time; here are those that
the map holds at the end, after loops closed. Shape letters: M keyframes of one segment.

Three things are asked beside the errors of the positions: whether a robot that takes the
published scale at its word is right (SE(3): only a rotation and a translation are taken from the
ground truth), whether the covariances say how wrong the poses are (the normalised estimation
error squared, whose mean is 6 for an honest covariance of six degrees of freedom; Bar-Shalom, Li
and Kirubarajan 2001, section 5.4), and whether the scale's sigma says how wrong the scale is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from g2vlm_map.mapping.keyframe import PlacedKeyframe
from g2vlm_map.recordings import TruePoses
from g2vlm_map.recordings.transforms import rigid
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.world import World

from .pose_metrics import (
    AlignedSegment,
    PoseReport,
    PoseSegment,
    align_segment,
    match_truth,
    rotation_angle_deg,
    score_poses,
)

Floats = NDArray[np.float64]

WRONG_LOOP_DEG = 10.0
WRONG_LOOP_M = 0.5
MIN_SCALED = 3
# Ground truth has an error of its own; without it the first poses, which are nearly certain,
# would decide the mean.
TRUTH_SIGMA_M = 0.005
TRUTH_SIGMA_RAD = 0.002


@dataclass(frozen=True)
class MapSegment:
    """Keyframes of one connected part of the final map.

    Args:
        poses: number, stamps and (M, 4, 4) camera-to-map, map units.
        covariance_M66: of each pose relative to the first: translation (map units) and rotation
            (rad), both in the map's axes; None where nobody says.
    """

    poses: PoseSegment
    covariance_M66: Floats | None = None


@dataclass(frozen=True)
class ScaleSample:
    """What was said of the scale at one scene.

    Args:
        stamp_ns: of the scene.
        segment: number of its segment.
        metric: whether lengths were called metres.
        metres_per_unit, sigma: of the trajectory; sigma is that of the natural log, infinite
            where nothing is known.
        depth_metres_per_unit, depth_sigma: the same by what measures depth.
        sources: kinds that carry it.
    """

    stamp_ns: int
    segment: int
    metric: bool
    metres_per_unit: float
    sigma: float
    depth_metres_per_unit: float = 1.0
    depth_sigma: float = float("inf")
    sources: tuple[str, ...] = ()

    @staticmethod
    def of(scale: ScaleEstimate, stamp_ns: int, segment: int) -> ScaleSample:
        """A pipeline's estimate at a scene."""
        return ScaleSample(
            stamp_ns,
            segment,
            scale.metric,
            scale.metres_per_unit,
            scale.sigma,
            float(np.exp(scale.log_depth_scale)),
            scale.depth_sigma,
            scale.sources,
        )


@dataclass(frozen=True)
class LoopClosure:
    """An edge between keyframes that are far apart in time, as the map accepted it.

    Args:
        stamp_i_ns, stamp_j_ns: of its keyframes.
        T_i_j: (4, 4) camera j in camera i, map units of its segment.
        segment: that it holds together.
    """

    stamp_i_ns: int
    stamp_j_ns: int
    T_i_j: Floats
    segment: int


@dataclass(frozen=True)
class FinalMap:
    """The map when the recording has ended.

    Args:
        segments: its connected parts.
        loops: that were accepted.
        scale: the last word on it; None where none was said.
        nbytes: of what it keeps.
        before: its segments before the change that moved it furthest, e.g. a loop; empty where
            none did.
        world: what it was made of, for whoever draws it.
    """

    segments: tuple[MapSegment, ...]
    loops: tuple[LoopClosure, ...] = ()
    scale: ScaleSample | None = None
    nbytes: int = 0
    before: tuple[MapSegment, ...] = ()
    world: World | None = None

    @property
    def unit(self) -> str:
        """Of lengths that are shown: "m" where the scale carries for every segment.

        A scale is one of a segment; the units of another have nothing to do with it.
        """
        last = self.scale
        ours = last is not None and all(s.poses.number == last.segment for s in self.segments)
        return "m" if last is not None and last.metric and ours else "map units"

    def path(self) -> list[PoseSegment]:
        """The keyframes' poses by segment, in that unit."""
        metres = self.scale.metres_per_unit if self.scale and self.unit == "m" else 1.0
        return [_scaled(segment.poses, metres) for segment in self.segments]

    @staticmethod
    def of_world(world: World, before: Sequence[MapSegment] = ()) -> FinalMap:
        """The map out of what a pipeline holds."""
        stamps = {placed.keyframe.number: placed.keyframe.stamp_ns for placed in world.keyframes}
        segments = {placed.keyframe.number: placed.segment for placed in world.keyframes}
        newest = max(stamps.values(), default=0)
        return FinalMap(
            segments=segments_of(world),
            loops=tuple(
                LoopClosure(stamps[edge.i], stamps[edge.j], edge.T_i_j, segments[edge.i])
                for edge in world.edges
                if edge.kind == "loop" and edge.i in stamps and edge.j in stamps
            ),
            scale=ScaleSample.of(world.scale, newest, world.segment),
            nbytes=sum(placed.keyframe.nbytes for placed in world.keyframes),
            before=tuple(before),
            world=world,
        )


def segments_of(world: World) -> tuple[MapSegment, ...]:
    """The connected parts of a map."""
    groups: dict[int, list[PlacedKeyframe]] = {}
    for placed in world.keyframes:
        groups.setdefault(placed.segment, []).append(placed)
    return tuple(
        MapSegment(
            PoseSegment(
                number,
                tuple(placed.keyframe.stamp_ns for placed in group),
                rigid(np.stack([placed.T_map_body for placed in group])),
            ),
            np.stack([placed.pose_covariance for placed in group]),
        )
        for number, group in sorted(groups.items())
    )


@dataclass(frozen=True)
class ScaleScore:
    """The scale beside the true one; NaN where nothing could be measured.

    Args:
        error: |published / true - 1| of the last word on it.
        inside: share of the scenes in metres whose true scale lies within two sigma.
        samples: how many those are.
        true_by_segment: metres per map unit, by segment number.
    """

    error: float
    inside: float
    samples: int
    true_by_segment: dict[int, float]


@dataclass(frozen=True)
class MapReport:
    """How good the final map is; NaN or None where nothing could be measured.

    Args:
        poses: after one Sim(3) for each segment.
        before: the same of the map before the change that moved it furthest, empty without one.
        metric: segments in the last metres that were said of each, after one SE(3) each; those
            of which none were said are left out.
        ate_se3_m: root mean square of their position errors.
        nees: mean over keyframes, six degrees of freedom.
        scale: see `ScaleScore`.
        loops_wrong: accepted loops off by more than 10 degrees or 0.5 m; None without a truth
            for any.
    """

    poses: PoseReport | None
    before: tuple[AlignedSegment, ...]
    metric: tuple[AlignedSegment, ...]
    ate_se3_m: float
    nees: float
    scale: ScaleScore
    loops_wrong: int | None


def score_map(final: FinalMap, samples: Sequence[ScaleSample], truth: TruePoses) -> MapReport:
    """Score the final map.

    Args:
        final: the map.
        samples: what was said of the scale while it grew.
        truth: the camera's true poses.
    """
    segments = [segment.poses for segment in final.segments]
    report = score_poses(segments, truth)
    earlier = score_poses([segment.poses for segment in final.before], truth)
    by_segment = {s.number: s.scale for s in report.segments} if report is not None else {}
    metric = _in_metres(final, samples, truth)
    errors = [_distances(segment) for segment in metric]
    return MapReport(
        poses=report,
        before=() if earlier is None else earlier.segments,
        metric=metric,
        ate_se3_m=_rms(errors),
        nees=_mean_nees(final, truth, by_segment),
        scale=_score_scale(final, samples, by_segment),
        loops_wrong=_wrong_loops(final, truth, by_segment),
    )


def nees(poses: PoseSegment, covariance_M66: Floats, truth_M44: Floats, scale: float) -> Floats:
    """Normalised estimation error squared of each pose but the first, whose pose is the origin.

    Args:
        poses: camera-to-map in map units.
        covariance_M66: as in `MapSegment`.
        truth_M44: (M, 4, 4) true poses of the same stamps, metres.
        scale: metres per map unit.

    Returns:
        (M - 1,) float64; chi-square with six degrees of freedom where the covariances are right.
    """
    T_map_cam_M44 = poses.T_seg_cam_M44
    first = T_map_cam_M44[0].copy()
    first[:3, 3] *= scale
    expected = first @ np.linalg.inv(truth_M44[0]) @ truth_M44
    shift = T_map_cam_M44[1:, :3, 3] * scale - expected[1:, :3, 3]
    turned = T_map_cam_M44[1:, :3, :3] @ expected[1:, :3, :3].transpose(0, 2, 1)
    error = np.concatenate([shift, Rotation.from_matrix(turned).as_rotvec()], axis=1)
    units = np.repeat([scale, 1.0], 3)
    covariance = covariance_M66[1:] * units[:, None] * units
    own = np.repeat([2 * TRUTH_SIGMA_M**2, 2 * TRUTH_SIGMA_RAD**2], 3)  # of both true poses
    solved = np.linalg.solve(covariance + np.diag(own), error[..., None])[..., 0]
    return np.asarray((error * solved).sum(1))


def published_nees(
    segments: Sequence[PoseSegment],
    covariances: Mapping[int, Floats],
    truth: TruePoses,
) -> float:
    """Mean NEES of poses as they were published at their own time.

    Each is held against the first pose of its segment and unit, whose own covariance is added; what
    was published in metres is taken at its word, of the rest the scale of the Sim(3) alignment.

    Args:
        segments: as published.
        covariances: see `Outputs.covariances`.
        truth: the camera's true poses.

    Returns:
        NaN where nothing could be measured.
    """
    parts = []
    for segment in segments:
        matched, true_M44, _ = match_truth(segment, truth)
        known = [covariances.get(stamp) for stamp in matched.stamps_ns]
        told = [item for item in known if item is not None]
        if len(told) < len(known) or len(known) < MIN_SCALED:
            continue
        scale = 1.0 if segment.in_metres else align_segment(matched, true_M44).scale
        if scale <= 0:
            continue
        covariance = np.stack(told)
        parts.append(nees(matched, covariance + covariance[0], true_M44, scale))
    return float(np.concatenate(parts).mean()) if parts else float("nan")


def _mean_nees(final: FinalMap, truth: TruePoses, scales: dict[int, float]) -> float:
    """Mean over all keyframes, at the true scale: the scale has a sigma of its own."""
    parts = []
    for segment in final.segments:
        scale = scales.get(segment.poses.number, 0.0)
        if segment.covariance_M66 is None or scale <= 0:
            continue
        matched, true_M44, keep = match_truth(segment.poses, truth)
        if len(keep) >= MIN_SCALED:
            parts.append(nees(matched, segment.covariance_M66[keep], true_M44, scale))
    return float(np.concatenate(parts).mean()) if parts else float("nan")


def _in_metres(
    final: FinalMap, samples: Sequence[ScaleSample], truth: TruePoses
) -> tuple[AlignedSegment, ...]:
    """Each segment at the scale last said of it, turned and shifted onto the ground truth."""
    said = [*samples, final.scale] if final.scale is not None else [*samples]
    metres = {one.segment: one.metres_per_unit for one in said if one.metric}
    if final.scale is not None and not final.scale.metric:  # what was said of it was taken back
        metres.pop(final.scale.segment, None)
    made = []
    for segment in final.segments:
        matched, true_M44, keep = match_truth(segment.poses, truth)
        if len(keep) < MIN_SCALED or segment.poses.number not in metres:
            continue
        in_metres = _scaled(matched, metres[segment.poses.number])
        made.append(align_segment(in_metres, true_M44, with_scale=False))
    return tuple(made)


def _score_scale(
    final: FinalMap, samples: Sequence[ScaleSample], true_by_segment: dict[int, float]
) -> ScaleScore:
    known = {number: scale for number, scale in true_by_segment.items() if scale > 0}
    last = final.scale
    error = float("nan")
    if last is not None and last.metric and last.segment in known:
        error = abs(last.metres_per_unit / known[last.segment] - 1.0)
    inside = [
        abs(np.log(sample.metres_per_unit / known[sample.segment])) <= 2 * sample.sigma
        for sample in samples
        if sample.metric and sample.segment in known
    ]
    share = float(np.mean(inside)) if inside else float("nan")
    return ScaleScore(error, share, len(inside), known)


def _wrong_loops(final: FinalMap, truth: TruePoses, scales: dict[int, float]) -> int | None:
    """Loops that are off; those of stamps without a true pose are not judged."""
    wrong = judged = 0
    for loop in final.loops:
        scale = scales.get(loop.segment, 0.0)
        if scale <= 0:
            continue
        stamps = (loop.stamp_i_ns, loop.stamp_j_ns)
        pair = PoseSegment(0, stamps, np.tile(np.eye(4), (2, 1, 1)))
        _, true_M44, keep = match_truth(pair, truth)
        if len(keep) < 2:
            continue
        judged += 1
        true = np.linalg.inv(true_M44[0]) @ true_M44[1]
        turn = float(rotation_angle_deg(true[:3, :3].T @ loop.T_i_j[:3, :3]))
        shift = float(np.linalg.norm(loop.T_i_j[:3, 3] * scale - true[:3, 3]))
        wrong += turn > WRONG_LOOP_DEG or shift > WRONG_LOOP_M
    return wrong if judged else None


def _scaled(poses: PoseSegment, factor: float) -> PoseSegment:
    scaled_M44 = poses.T_seg_cam_M44.copy()
    scaled_M44[:, :3, 3] *= factor
    return replace(poses, T_seg_cam_M44=scaled_M44)


def _distances(segment: AlignedSegment) -> Floats:
    shift = segment.T_world_cam_M44[:, :3, 3] - segment.truth_T_world_cam_M44[:, :3, 3]
    return np.asarray(np.linalg.norm(shift, axis=1))


def _rms(parts: Sequence[Floats]) -> float:
    return float(np.sqrt(np.mean(np.concatenate(parts) ** 2))) if parts else float("nan")
