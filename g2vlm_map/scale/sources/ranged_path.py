# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The camera's path in metres, out of measured depth and the features that edges follow.

A range says how deep the model's depth is at one keyframe, and nothing of the path: the two drift
apart (by 0.28, rms of the log, over drives through synthetic rooms). But matches whose depth was
measured give the step between two keyframes in metres, turn and direction with it
(`metric_step.py`), whatever the map's unit is. Steps chain up to a path, as an RGB-D odometry's do
(Henry et al., "RGB-D mapping", 2012), and chords of it are readings of the trajectory's scale like
those of wheels.

Shape letters: M measured points, F features, H W pixels of the model's picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ...mapping.expected import depth_at
from ...mapping.keyframe import Edge, View
from ...mapping.rotations import exp_rotation, log_rotations
from ...poses import Floats, rigid
from ..kinds import PATH
from ..readings import Measured
from .chords import chord_ends, open_chord
from .depth_ratio import compared
from .metric_step import MetricStep, metric_step
from .sight import Sight

__all__ = ["RangedPath"]

_KEPT = 24  # keyframes that edges lead back to
_REACH_PX = 9  # of the model's picture, within which a measured point corrects its depth
_OUTLYING = 3.0  # spreads of the log ratio over the picture; beyond it a point counts nothing
_DEPTH_SIGMA = 0.08  # of a feature's depth where something was measured next to it
_MODEL_SIGMA = 0.20  # of the model's, with one factor for the picture
_CHORD_FLOOR = 0.03  # of a chord, log
_LEAST_STEP = 0.005  # metres
_MOST_LOST = 2  # keyframes in a row: edges reach back over them
_AGREE = 4.0  # standard deviations between steps to one place


@dataclass(frozen=True, eq=False)
class _Spot:
    """Where a keyframe is on the path.

    Args:
        log_depth_F: Log of metres to its features; NaN where nothing was measured.
        T_piece_cam: (4, 4), metres, from where the path's present piece began.
        variance: Of the way up to there, square metres.
        piece: Places of different pieces have nothing to do with each other.
        depth_m: Median of metres to its features; NaN.
    """

    log_depth_F: Floats
    T_piece_cam: Floats
    variance: float
    piece: int
    depth_m: float


class RangedPath:
    """Chords of the reference camera's path by one sensor's depth.

    Args:
        sensor: Kind of source.
    """

    def __init__(self, sensor: str) -> None:
        self._kind = sensor + PATH
        self.forget()

    def forget(self) -> None:
        """The path begins anew with the next keyframe."""
        self._spots: dict[int, _Spot] = {}
        self._begin: int | None = None
        self._between: list[tuple[int, Floats]] = []
        self._piece = 0
        self._lost = 0  # keyframes in a row that are not on the path

    def add(
        self,
        sight: Sight,
        points: tuple[Floats, Floats] | None,
        log_metric: float | None = None,
    ) -> list[Measured]:
        """Go on to the next keyframe.

        Args:
            sight: Of it, with its edges.
            points: (M, 2) pixels of the model's picture and (M,) metres of z-depth there; None
                where nothing was measured.
            log_metric: Of metres per unit of the depth, for all of the picture, where no points
                say it for their surroundings.

        Returns:
            At most one chord, which ends at this keyframe.
        """
        view, number = sight.placed.keyframe.views[0], sight.placed.keyframe.number
        log_depth_F = np.full(len(view.feature_F2), np.nan)
        sigma_depth = _DEPTH_SIGMA if log_metric is None else _MODEL_SIGMA
        if points is not None:
            log_depth_F = _depth_of_features(view, *points)
        elif log_metric is not None and len(log_depth_F):
            log_depth_F = np.log(depth_at(view, view.feature_F2)) + log_metric
        seen = log_depth_F[np.isfinite(log_depth_F)]
        depth_m = float(np.exp(np.median(seen))) if seen.size else math.nan
        here = self._place(sight, log_depth_F, sigma_depth)
        if here is None:
            self._lost += 1
            if self._spots and self._lost <= _MOST_LOST:  # the next one may go on without it
                return []
            self._piece += 1
            here = np.eye(4), 0.0
        self._lost = 0
        self._spots[number] = _Spot(log_depth_F, *here, self._piece, depth_m)
        for old in list(self._spots)[:-_KEPT]:
            del self._spots[old]
        return self._chord(number)

    def _place(
        self, sight: Sight, log_depth_F: Floats, sigma_depth: float
    ) -> tuple[Floats, float] | None:
        """Where the keyframe is, and the variance of the way there.

        Returns:
            None where no edge leads here, or the steps of most edges contradict each other:
            matches that are a period of a pattern off fit together as well as right ones.
        """
        steps: list[MetricStep] = []
        poses: list[Floats] = []
        before: list[float] = []
        for edge in sight.edges:
            spot = self._spots.get(edge.i)
            if edge.j != sight.placed.keyframe.number or spot is None or spot.piece != self._piece:
                continue
            if edge.kind != "visual" or edge.i not in sight.map_keyframes:
                continue
            step = _step(edge, sight, (spot.log_depth_F, log_depth_F), spot.depth_m, sigma_depth)
            if step is None:
                continue
            steps.append(step)
            poses.append(spot.T_piece_cam @ step.T_i_j)
            before.append(spot.variance)
        most = _agreeing(poses, steps)
        if 2 * len(most) <= len(steps):
            return None
        steps, poses = [steps[row] for row in most], [poses[row] for row in most]
        weight = np.array([step.sigma_m**-2 for step in steps])
        place = np.average([T[:3, 3] for T in poses], axis=0, weights=weight)
        variance = min(before[row] for row in most) + 1.0 / float(weight.sum())
        return rigid(_middle(poses, steps), place), variance

    def _chord(self, number: int) -> list[Measured]:
        here, begin = self._spots[number], self._spots.get(self._begin or 0)
        if self._begin is None or begin is None or begin.piece != here.piece:
            self._begin, self._between = number, []
            return []
        start = self._begin
        chord = float(np.linalg.norm(here.T_piece_cam[:3, 3] - begin.T_piece_cam[:3, 3]))
        sigma_m = math.sqrt(max(0.0, here.variance - begin.variance))
        if not chord_ends(number - start, chord, sigma_m):
            self._between.append((number, here.T_piece_cam[:3, 3]))
            return open_chord(self._kind, (start, begin.T_piece_cam[:3, 3]), self._between)
        self._begin, between = number, tuple(self._between)
        self._between = []
        sigma = math.hypot(sigma_m / chord, _CHORD_FLOOR)
        ends = np.stack((begin.T_piece_cam[:3, 3], here.T_piece_cam[:3, 3]))
        return [Measured(self._kind, start, number, math.log(chord), sigma, ends, between)]


def _step(
    edge: Edge,
    sight: Sight,
    log_depths: tuple[Floats, Floats],
    depth_m: float,
    sigma_depth: float,
) -> MetricStep | None:
    """From i to j; None where nothing says so."""
    if edge.tracks is None:
        still = math.radians(edge.parallax_deg) * depth_m
        if math.isfinite(edge.sigma_direction) or not edge.inliers or not math.isfinite(still):
            return None
        T = rigid(edge.T_i_j[:3, :3], np.zeros(3))
        return MetricStep(T, max(still, _LEAST_STEP), edge.sigma_rotation)
    if edge.tracks.view != 0:
        return None
    views = sight.map_keyframes[edge.i].keyframe.views[0], sight.placed.keyframe.views[0]
    return metric_step(edge, views, log_depths, sigma_depth)


def _agreeing(poses: list[Floats], steps: list[MetricStep]) -> list[int]:
    """Rows of the most steps that lead to one place, of as many the surest."""
    found: list[int] = []
    for middle in sorted(range(len(steps)), key=lambda row: steps[row].sigma_m):
        near = [
            row
            for row, (T, step) in enumerate(zip(poses, steps, strict=True))
            if float(np.linalg.norm(T[:3, 3] - poses[middle][:3, 3]))
            <= _AGREE * math.hypot(step.sigma_m, steps[middle].sigma_m)
        ]
        found = near if len(near) > len(found) else found
    return found


def _middle(poses: list[Floats], steps: list[MetricStep]) -> Floats:
    """(3, 3) rotation in the middle of those that the steps lead to."""
    weight = np.array([max(step.sigma_turn, 1e-4) ** -2 for step in steps])
    best: Floats = poses[int(weight.argmax())][:3, :3]
    off = log_rotations(np.array([best.T @ T[:3, :3] for T in poses]))
    turned: Floats = best @ exp_rotation(np.average(off, axis=0, weights=weight))
    return turned


def _depth_of_features(view: View, pixel_M2: Floats, depth_M: Floats) -> Floats:
    """(F,) log of metres to the features: the model's depth, corrected by what was measured near.

    The model's depth is smooth where a sensor has gaps between its rows; how much it is off by
    changes slowly over the picture.
    """
    nothing = np.full(len(view.feature_F2), np.nan)
    found = compared(view, pixel_M2, depth_M)
    if found is None or not len(nothing):
        return nothing
    row, column, log_ratio = found
    middle = float(np.median(log_ratio))
    spread = 1.4826 * float(np.median(np.abs(log_ratio - middle)))
    near = np.abs(log_ratio - middle) <= _OUTLYING * max(spread, 0.02)
    total, count = np.zeros((2, *view.depth_HW.shape))
    np.add.at(total, (row[near], column[near]), log_ratio[near])
    np.add.at(count, (row[near], column[near]), 1.0)
    size = (_REACH_PX, _REACH_PX)
    total, count = (
        cv2.boxFilter(grid, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
        for grid in (total, count)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        field_HW = np.where(count > 0.5, total / count, np.nan)
        log_model_F = np.log(depth_at(view, view.feature_F2))
    height, width = field_HW.shape
    stretch = np.array([width / view.image_hw[1], height / view.image_hw[0]])
    place = np.floor((view.feature_F2 + 0.5) * stretch).astype(np.int64)
    place = np.clip(place, 0, (width - 1, height - 1))
    log_depth_F: Floats = log_model_F + field_HW[place[:, 1], place[:, 0]]
    return log_depth_F
