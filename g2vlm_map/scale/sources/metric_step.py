# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The step between two keyframes in metres, out of matches whose depth was measured.

Two-view geometry takes a turn for a step to the side where the picture is small: its directions
are 6 deg off on drives through synthetic rooms (median) and its turns .9 deg, and a step that is
measured along a wrong direction comes out too long (by .10, mean of the log). Depth tells the two
apart. A match (x, y) with depth z puts a point before camera i, which camera j should see at y;
the reprojection is off by the noise of the match, and along the epipolar line also by what an
error of z moves it (d its shift per change of log z):

    covariance = sigma_px^2 I + sigma_z^2 d d^T,

so that far from the truth of z only the epipolar constraint counts, and with good depth all of it.
Both cameras' depths take part; least squares over the six degrees of freedom with Cauchy weights
(Gauss-Newton on SE(3), the pose moved from the left).

Shape letters: K matches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...mapping.edges import weighted_median
from ...mapping.keyframe import Edge, View
from ...mapping.pair_geometry import rays
from ...mapping.rotations import cross_matrix, exp_rotation
from ...poses import Floats, rigid

__all__ = ["MetricStep", "metric_step"]

_LEAST_MATCHES = 8
_PIXEL = 1 / 512  # of the picture's longer side: noise of a match
_ALIKE = 4  # matches that err together
_STEPS = 15
_SETTLED = 1e-4  # rad, and share of the way
_MOST_TURN = 0.1  # rad in one step of the search
_CAUCHY = 2.0  # standard deviations
_MEDIAN_SQUARE = 2 * math.log(2.0)  # of two normal numbers; more, and the sigmas were too small
_CONTRADICTION = 0.3  # between the lengths by the depth of i and of j, log: one is wrong
_LEAST_STEP = 0.005  # metres
_FLOOR = 0.03  # of a step: K, depths that err together
_TURN_FLOOR = 0.002  # rad


@dataclass(frozen=True, eq=False)
class MetricStep:
    """Where keyframe j is to keyframe i.

    Args:
        T_i_j: (4, 4), metres.
        sigma_m: Standard deviation of its translation in the worst direction, metres.
        sigma_turn: Of its rotation about the worst axis, rad.
    """

    T_i_j: Floats
    sigma_m: float
    sigma_turn: float


def metric_step(
    edge: Edge, views: tuple[View, View], log_depths: tuple[Floats, Floats], sigma_depth: float
) -> MetricStep | None:
    """Turn and way between two keyframes.

    Args:
        edge: Between them, with tracks; where the search begins.
        views: Of i and j, that the tracks are of.
        log_depths: (F,) log of metres to all features of i and of j; NaN where unknown.
        sigma_depth: Standard deviation of those of a feature.

    Returns:
        None where fewer than eight matches have depth, or the edge no direction, or the depths
        of i and of j contradict each other.
    """
    tracks = edge.tracks
    size = float(np.linalg.norm(edge.T_i_j[:3, 3]))
    if tracks is None or not size > 0:
        return None
    depth = [log_depths[side][tracks.feature_K2[:, side]] for side in (0, 1)]
    length = _length(depth, edge, sigma_depth)
    if length is None:
        return None
    ray_i, ray_j = (
        rays(view.feature_F2[tracks.feature_K2[:, side]], view.K_image)
        for side, view in enumerate(views)
    )
    sigma_px = _PIXEL * max(views[0].image_hw) / float(views[0].K_image[0, 0])
    sides = _Sides(ray_i, ray_j, depth[0], depth[1], sigma_px, sigma_depth)
    found = _settled(sides, edge.T_i_j[:3, :3], edge.T_i_j[:3, 3] * (length / size))
    if found is None:
        return None
    T, covariance = found
    by_place = np.concatenate((-cross_matrix(T[None, :3, 3])[0], np.eye(3)), axis=1)
    place = _ALIKE * by_place @ covariance @ by_place.T
    sigma_m = math.hypot(_worst(place), _FLOOR * float(np.linalg.norm(T[:3, 3])), _LEAST_STEP)
    return MetricStep(T, sigma_m, math.hypot(_worst(_ALIKE * covariance[:3, :3]), _TURN_FLOOR))


def _length(depth: list[Floats], edge: Edge, sigma_depth: float) -> float | None:
    """Metres along the edge's own direction: measured depth over that at length 1."""
    tracks = edge.tracks
    assert tracks is not None
    value = np.concatenate([depth[side] - tracks.log_depth_K2[:, side] for side in (0, 1)])
    sigma = np.hypot(np.concatenate((tracks.sigma_K, tracks.sigma_K)), sigma_depth)
    good = np.isfinite(value) & np.isfinite(sigma)
    if good.sum() < _LEAST_MATCHES:
        return None
    first, second = (np.isfinite(one) for one in np.split(value, 2))
    if min(first.sum(), second.sum()) >= _LEAST_MATCHES:
        apart = np.median(value[: len(first)][first]) - np.median(value[len(first) :][second])
        if abs(float(apart)) > _CONTRADICTION:
            return None
    return math.exp(weighted_median(value[good].astype(np.float64), sigma[good] ** -2.0))


@dataclass(frozen=True, eq=False)
class _Sides:
    """What both cameras see, and how well.

    Args:
        ray_i_K3, ray_j_K3: With z = 1.
        log_z_i_K, log_z_j_K: Log of metres; NaN unknown.
        sigma_px: Of a match, at focal length 1.
        sigma_z: Of a log depth.
    """

    ray_i_K3: Floats
    ray_j_K3: Floats
    log_z_i_K: Floats
    log_z_j_K: Floats
    sigma_px: float
    sigma_z: float

    def residuals(self, T_i_j: Floats) -> tuple[Floats, Floats]:
        """(M, 2) whitened reprojections and their (M, 2, 6) change as the pose moves."""
        R, t = T_i_j[:3, :3], T_i_j[:3, 3]
        in_i, in_j = np.isfinite(self.log_z_i_K), np.isfinite(self.log_z_j_K)
        point_i = self.ray_i_K3[in_i] * np.exp(self.log_z_i_K[in_i, None])
        point_j = self.ray_j_K3[in_j] * np.exp(self.log_z_j_K[in_j, None])
        carried = point_j @ R.T
        first = self._whitened((point_i - t) @ R, point_i @ R, -R.T, point_i, self.ray_j_K3[in_i])
        there = carried + t
        second = self._whitened(there, carried, np.eye(3), there, self.ray_i_K3[in_j])
        return np.concatenate((first[0], second[0])), np.concatenate((first[1], second[1]))

    def _whitened(
        self,
        at_M3: Floats,
        by_depth_M3: Floats,
        turned_33: Floats,
        moved_M3: Floats,
        ray_M3: Floats,
    ) -> tuple[Floats, Floats]:
        """Of one camera.

        Args:
            at_M3: The points in its axes.
            by_depth_M3: Their change per change of log depth.
            turned_33: Axes of i to its own, with the sign that the pose's motion has there.
            moved_M3: The points in i's axes.
            ray_M3: Where it sees them.
        """
        ahead = at_M3[:, 2] > 1e-3 * np.abs(by_depth_M3[:, 2])
        at, ray = at_M3[ahead], ray_M3[ahead]
        flat = at[:, :2] / at[:, 2:]
        project = np.zeros((len(at), 2, 3))
        project[:, [0, 1], [0, 1]] = 1 / at[:, 2:]
        project[:, :, 2] = -flat / at[:, 2:]
        shift = np.einsum("mij,mj->mi", project, by_depth_M3[ahead])
        size = np.maximum(np.linalg.norm(shift, axis=1), 1e-12)
        along = shift / size[:, None]
        across = np.stack((-along[:, 1], along[:, 0]), axis=1)
        sigma_along = np.hypot(self.sigma_px, self.sigma_z * size)
        whiten = np.stack((along / sigma_along[:, None], across / self.sigma_px), axis=1)
        motion = np.concatenate(
            (-cross_matrix(moved_M3[ahead]), np.broadcast_to(np.eye(3), (len(at), 3, 3))), axis=2
        )
        change = whiten @ project @ (turned_33 @ motion)
        return np.einsum("mij,mj->mi", whiten, flat - ray[:, :2]), change


def _settled(sides: _Sides, R_33: Floats, t_3: Floats) -> tuple[Floats, Floats] | None:
    """(4, 4) pose that fits best and its (6, 6) covariance (turn, way; axes of i)."""
    R, t = R_33, t_3
    for _ in range(_STEPS):
        residual, change = sides.residuals(rigid(R, t))
        if len(residual) < _LEAST_MATCHES:
            return None
        square = (residual**2).sum(axis=1)
        excess = max(1.0, float(np.median(square)) / _MEDIAN_SQUARE)
        weight = 1 / (1 + square / (_CAUCHY**2 * excess))
        normal = np.einsum("mki,m,mkj->ij", change, weight, change)
        normal[np.diag_indices(6)] *= 1 + 1e-9
        try:
            covariance = np.linalg.inv(normal)
        except np.linalg.LinAlgError:  # matches on one line
            return None
        step = -covariance @ np.einsum("mki,m,mk->i", change, weight, residual)
        step *= min(1.0, _MOST_TURN / max(float(np.linalg.norm(step[:3])), 1e-12))
        turn = exp_rotation(step[:3])
        R, t = turn @ R, turn @ t + step[3:]
        if np.linalg.norm(step) < _SETTLED * max(1.0, float(np.linalg.norm(t))):
            break
    good = bool(np.isfinite(t).all() and np.isfinite(covariance).all())
    return (rigid(R, t), covariance * excess) if good else None


def _worst(covariance_33: NDArray[np.float64]) -> float:
    return math.sqrt(max(0.0, float(np.linalg.eigvalsh(covariance_33)[-1])))
