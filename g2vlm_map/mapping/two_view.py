# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Two-view geometry of calibrated pictures out of matched features. Nothing is learned.

MAGSAC++ (Barath et al. 2020) finds the essential matrix; `pair_geometry.py` takes it apart and
polishes it, `planes.py` finds what else the matches may mean.

Axes are OpenCV optical axes; `T_i_j` maps coordinates of camera j to camera i.

Shape letters: F features, M matches, K inliers.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .features import Features, match, near_expected
from .options import FeatureOptions
from .pair_geometry import PairGeometry, polished, rays, taken_apart
from .planes import rivals

__all__ = ["PairGeometry", "rays", "two_view"]

Floats = NDArray[np.float64]

_MIN_MATCHES = 8
_CONFIDENCE = 0.999
_TRIALS = 2000


def two_view(
    i: Features,
    j: Features,
    K_i33: Floats,
    K_j33: Floats,
    options: FeatureOptions,
    seed: int = 0,
    expected_F2: NDArray[np.float32] | None = None,
    pairs: NDArray[np.int64] | None = None,
) -> PairGeometry | None:
    """Essential matrix of two pictures by MAGSAC, taken apart into rotation and direction.

    Args:
        i, j: Their features.
        K_i33, K_j33: Intrinsics in pixels of the pictures as given.
        options: Of the features and matches.
        seed: Of the random samples; the outcome is the same for the same seed.
        expected_F2: Where i's features should be found in j, pixels; None: anywhere.
        pairs: (M, 2) indices that are matched already; None: by their descriptors.

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
    E, kept = _essential(ray_i, ray_j, px, seed)
    if E is None or int(kept.sum()) < _MIN_MATCHES:
        return None
    R, direction, parallax = taken_apart(E, ray_i[kept], ray_j[kept])
    found = polished(PairGeometry(R, direction, pairs[kept], parallax), ray_i[kept], ray_j[kept])
    return replace(found, rivals=rivals(found, pairs, ray_i, ray_j, px))


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
