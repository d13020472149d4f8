# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Two-view geometry of calibrated pictures out of matched features. Nothing is learned.

MAGSAC++ (Barath et al. 2020) finds the essential matrix; `pair_geometry.py` takes it apart and
polishes it, `planes.py` finds what else the matches may mean.

Axes are OpenCV optical axes; `T_i_j` maps coordinates of camera j to camera i.

Shape letters: F features, M matches, K inliers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .features import Features, match, near_expected
from .options import FeatureOptions
from .pair_geometry import PairGeometry, agreeing, polished, rays, taken_apart
from .planes import rivals

__all__ = ["PairGeometry", "Prior", "rays", "tracked_pose", "two_view"]

Floats = NDArray[np.float64]

_MIN_MATCHES = 8
_CONFIDENCE = 0.999
_TRIALS = 2000
_PRIOR_PX, _SLIP_PX = 5.0, 1.5  # inlier distances off a prior's epipolar line, and along it
_DEPTH_OFF = 2.5  # factor by which a prior's depth may be wrong
_LEAST_TRACKS = 16
_TRACK_PARALLAX_DEG, _TRACK_SIGMA = 1.0, 0.15  # rad; of a pose by tracks that counts


@dataclass(frozen=True, eq=False)
class Prior:
    """A pose that something else leads to.

    Args:
        R_i_j, t_3: Of camera j in camera i.
        depth_F: z-depth of i's features in the unit of `t_3`; NaN where it is not known.
    """

    R_i_j: Floats
    t_3: Floats
    depth_F: Floats


def two_view(
    i: Features,
    j: Features,
    K_i33: Floats,
    K_j33: Floats,
    options: FeatureOptions,
    seed: int = 0,
    expected_F2: NDArray[np.float32] | None = None,
    pairs: NDArray[np.int64] | None = None,
    prior: Prior | None = None,
) -> PairGeometry | None:
    """Essential matrix of two pictures by MAGSAC, taken apart into rotation and direction.

    Args:
        i, j: Their features.
        K_i33, K_j33: Intrinsics in pixels of the pictures as given.
        options: Of the features and matches.
        seed: Of the random samples; the outcome is the same for the same seed.
        expected_F2: Where i's features should be found in j, pixels; None: anywhere.
        pairs: (M, 2) indices that are matched already; None: by their descriptors.
        prior: What something else leads to; matches that contradict it clearly are left out
            before a pose is looked for.

    Returns:
        None where fewer than 8 matches agree.
    """
    if pairs is None:
        pairs = match(i, j, options.ratio, expected_F2)
    elif expected_F2 is not None:
        pairs = pairs[near_expected(pairs, j, expected_F2)]
    if len(pairs) < _MIN_MATCHES:
        return None
    ray_i, ray_j = rays(i.pixel_F2[pairs[:, 0]], K_i33), rays(j.pixel_F2[pairs[:, 1]], K_j33)
    focal = 0.5 * (K_i33[0, 0] / i.px + K_j33[0, 0] / j.px)
    px = options.inlier_px / focal
    if prior is not None:
        kept = _like(prior, pairs[:, 0], ray_i, ray_j, px)
        pairs, ray_i, ray_j = pairs[kept], ray_i[kept], ray_j[kept]
        if len(pairs) < _MIN_MATCHES:
            return None
    E, kept = _essential(ray_i, ray_j, px, seed)
    if E is None or int(kept.sum()) < _MIN_MATCHES:
        return None
    R, direction, parallax = taken_apart(E, ray_i[kept], ray_j[kept])
    found = polished(PairGeometry(R, direction, pairs[kept], parallax), ray_i[kept], ray_j[kept])
    return replace(found, rivals=rivals(found, pairs, ray_i, ray_j, px))


def tracked_pose(
    start_M2: Floats, end_M2: Floats, K_i33: Floats, K_j33: Floats, px: float
) -> PairGeometry | None:
    """Relative pose by tracks of a small picture, which repeat nothing but are coarse.

    Args:
        start_M2, end_M2: Where features were and are, pixels.
        K_i33, K_j33: Intrinsics in these pixels.
        px: How far a track may lie from its epipolar line, pixels.

    Returns:
        None where too few agree, or where they show no parallax to speak of.
    """
    if len(start_M2) < _LEAST_TRACKS:
        return None
    ray_i, ray_j = rays(start_M2, K_i33), rays(end_M2, K_j33)
    E, kept = _essential(ray_i, ray_j, px / K_i33[0, 0], 0)
    if E is None or int(kept.sum()) < _LEAST_TRACKS:
        return None
    R, direction, parallax = taken_apart(E, ray_i[kept], ray_j[kept])
    pairs = np.repeat(np.flatnonzero(kept)[:, None], 2, axis=1)
    found = polished(PairGeometry(R, direction, pairs, parallax), ray_i[kept], ray_j[kept])
    sure = found.parallax_deg > _TRACK_PARALLAX_DEG and found.sigma_direction < _TRACK_SIGMA
    return found if sure else None


def _like(
    prior: Prior, feature_M: NDArray[np.int64], ray_i_M3: Floats, ray_j_M3: Floats, px: float
) -> NDArray[np.bool_]:
    """(M,) whether matches may be what a pose makes of points ahead of both cameras.

    A match that is a period off lies on its epipolar line all the same, but too far along it, not
    far enough, or on the side of points behind the cameras.
    """
    direction = prior.t_3 / np.linalg.norm(prior.t_3)
    shift = _along(direction, ray_i_M3, ray_j_M3 @ prior.R_i_j.T)
    slack = _SLIP_PX * px
    depth = prior.depth_F[feature_M]
    known = np.isfinite(depth)
    point = ray_i_M3 * np.where(known, depth, 1.0)[:, None] - prior.t_3
    expected = np.maximum(_along(direction, ray_i_M3, point), 0.0)
    least = np.where(known, expected / _DEPTH_OFF, 0.0) - slack
    most = np.where(known, expected * _DEPTH_OFF + slack, np.inf)
    near = agreeing(prior.R_i_j, direction, ray_i_M3, ray_j_M3, _PRIOR_PX * px)
    return np.asarray(near & (shift > least) & (shift < most))


def _along(direction_3: Floats, ray_i_M3: Floats, turned_M3: Floats) -> Floats:
    """(M,) sine by which rays moved along their epipolar lines; below 0 behind the cameras.

    Args:
        direction_3: Unit vector.
        ray_i_M3, turned_M3: Rays of both cameras in the axes of one.
    """
    line = np.cross(direction_3, turned_M3)
    ahead = (line * np.cross(ray_i_M3, turned_M3)).sum(axis=1)
    size = np.linalg.norm(line, axis=1) * np.linalg.norm(ray_i_M3, axis=1)
    moved: Floats = ahead / np.maximum(size * np.linalg.norm(turned_M3, axis=1), 1e-12)
    return moved


def _essential(
    ray_i_M3: Floats, ray_j_M3: Floats, threshold: float, seed: int
) -> tuple[Floats | None, NDArray[np.bool_]]:
    """E with x_j^T E x_i = 0, and which matches agree with it."""
    how = cv2.UsacParams()
    how.confidence = _CONFIDENCE
    how.maxIterations = _TRIALS
    how.threshold = threshold
    how.randomGeneratorState = seed
    how.sampler = cv2.SAMPLING_UNIFORM
    how.score = cv2.SCORE_METHOD_MAGSAC
    how.loMethod = cv2.LOCAL_OPTIM_SIGMA
    how.loSampleSize = 50
    how.loIterations = 5
    nothing = np.zeros(0)
    E, mask = cv2.findEssentialMat(
        ray_i_M3[:, :2], ray_j_M3[:, :2], np.eye(3), np.eye(3), nothing, nothing, how
    )
    if E is None or E.shape != (3, 3) or mask is None:
        return None, np.zeros(len(ray_i_M3), bool)
    return np.asarray(E, np.float64), np.asarray(mask[:, 0] > 0)
