# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Two cameras of a rig whose distance is known: features that both see, triangulated.

The extrinsics give the epipolar geometry; it is held against the matches before it is believed,
and so is the turn between the two pictures by an essential matrix that knows nothing of it.
"""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from ...mapping.features import Features, match
from ...mapping.keyframe import View
from ...poses import Floats, inverse, rotation_vector
from ...rig import at_one_instant
from ..readings import Measured
from ..samples import Samples
from .depth_ratio import DepthRatio, compare
from .ranged_path import RangedPath
from .sight import Sight

__all__ = ["RigSource", "triangulated_ratio"]

_LEAST_MATCHES = 20
_RATIO = 0.8  # best distance over second best (Lowe)
_EPIPOLAR_PX = 1.5
_LEAST_AGREEING = 0.4  # share of the matches that fit the extrinsics
_MOST_TURN_DEG = 3.0  # between the extrinsics' rotation and the pictures' own
_LEAST_PARALLAX_DEG = 0.7
_LEAST_BASELINE = 0.005  # metres
_TRIANGULATION_PX = 0.5  # of a feature's place


class RigSource:
    """Sparse depth from pairs of cameras that see the same things."""

    def __init__(self) -> None:
        self._path = RangedPath("rig")

    def forget(self) -> None:
        """The path begins anew."""
        self._path.forget()

    def measure(self, sight: Sight, samples: Samples) -> list[Measured]:
        """At most one measurement of depth, by all pairs that agree, and one of the path."""
        found = []
        for near, far in combinations(sight.placed.keyframe.views, 2):
            if not at_one_instant(near, far):
                continue
            try:
                ratio = triangulated_ratio(near, far)
            except ValueError as error:
                samples.complain(f"cameras {near.camera!r} and {far.camera!r}: {error}; left out")
                continue
            if ratio is not None:
                found.append(ratio)
        if not found:
            return self._path.add(sight, None)
        number = sight.placed.keyframe.number
        log_metric = float(np.median([item.log_metric for item in found]))
        sigma = float(np.median([item.sigma for item in found]))
        chords = self._path.add(sight, None, log_metric)
        return [Measured("rig", number, number, log_metric, sigma), *chords]


def triangulated_ratio(view: View, other: View) -> DepthRatio | None:
    """Metres per unit of a view's depth, from what another camera of the rig sees too.

    Returns:
        None where the two share too little.

    Raises:
        ValueError: The matches contradict the extrinsics.
    """
    T_other_view = inverse(other.T_body_cam) @ view.T_body_cam
    if np.linalg.norm(T_other_view[:3, 3]) < _LEAST_BASELINE:
        return None
    i, j = (Features(one.feature_F2, one.descriptor_FE, 1.0, one.image_hw) for one in (view, other))
    pairs = match(i, j, _RATIO)
    if len(pairs) < _LEAST_MATCHES:
        return None
    ray_M3 = _rays(view, pairs[:, 0])
    other_M3 = _rays(other, pairs[:, 1])
    pixel = 1.0 / (0.5 * (view.K_image[0, 0] + other.K_image[0, 0]))
    fits = _epipolar_distance(ray_M3, other_M3, T_other_view) < _EPIPOLAR_PX * pixel
    if fits.mean() < _LEAST_AGREEING or fits.sum() < _LEAST_MATCHES:
        raise ValueError(
            f"{int(fits.sum())} of {len(pairs)} matches fit the extrinsics between them"
        )
    _check_rotation(ray_M3, other_M3, T_other_view[:3, :3], pixel)
    depth_M, sine_M = _triangulate(ray_M3, other_M3, T_other_view)
    good = fits & (depth_M > 0) & (sine_M > np.sin(np.radians(_LEAST_PARALLAX_DEG)))
    ray_M3, depth_M, sine_M = ray_M3[good], depth_M[good], sine_M[good]
    found = compare(view, ray_M3 @ view.K[:2].T, depth_M)
    if found is None:
        return None
    own = _TRIANGULATION_PX * pixel / float(np.median(sine_M)) / np.sqrt(found.pixels)
    return DepthRatio(found.log_metric, float(np.hypot(found.sigma, own)), *_rest(found))


def _rest(found: DepthRatio) -> tuple[int, float]:
    return found.pixels, found.spread


def _rays(view: View, features: NDArray[np.int64]) -> Floats:
    """(M, 3) rays with z = 1 of features."""
    pixel = view.feature_F2[features].astype(np.float64)
    homogeneous = np.concatenate((pixel, np.ones((len(pixel), 1))), axis=1)
    return np.asarray(homogeneous @ np.linalg.inv(view.K_image).T)


def _epipolar_distance(ray_M3: Floats, other_M3: Floats, T_other_view: Floats) -> Floats:
    """(M,) symmetric distance (Sampson) of matches to their epipolar lines, at focal length 1."""
    x, y, z = T_other_view[:3, 3] / np.linalg.norm(T_other_view[:3, 3])
    E = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ T_other_view[:3, :3]
    line, back = ray_M3 @ E.T, other_M3 @ E
    error = np.abs((line * other_M3).sum(axis=1))
    return np.asarray(error / np.sqrt((line[:, :2] ** 2).sum(1) + (back[:, :2] ** 2).sum(1)))


def _check_rotation(ray_M3: Floats, other_M3: Floats, R_33: Floats, pixel: float) -> None:
    """Refuse extrinsics whose rotation the pictures contradict."""
    E, mask = cv2.findEssentialMat(
        ray_M3[:, :2], other_M3[:, :2], np.eye(3),
        method=cv2.USAC_MAGSAC, prob=0.999, threshold=_EPIPOLAR_PX * pixel,
    )  # fmt: skip
    if E is None or E.shape != (3, 3) or int(mask.sum()) < _LEAST_MATCHES:
        return
    first, second, _ = cv2.decomposeEssentialMat(E)
    off = min(float(np.linalg.norm(rotation_vector(R @ R_33.T))) for R in (first, second))
    if off > np.radians(_MOST_TURN_DEG):
        raise ValueError(
            f"their pictures are turned by {np.degrees(off):.1f} deg from what the extrinsics say"
        )


def _triangulate(ray_M3: Floats, other_M3: Floats, T_other_view: Floats) -> tuple[Floats, Floats]:
    """Depth (M,) in the view's axes, and the sine of the angle between the rays.

    The point of each ray that is nearest to the other: least squares in two unknowns.
    """
    a = ray_M3 @ T_other_view[:3, :3].T
    b, t = other_M3, T_other_view[:3, 3]
    aa, bb, ab = (a * a).sum(1), (b * b).sum(1), (a * b).sum(1)
    at, bt = a @ t, b @ t
    determinant = aa * bb - ab * ab
    depth = (ab * bt - bb * at) / np.maximum(determinant, 1e-12)
    return depth, np.sqrt(np.maximum(determinant, 0) / (aa * bb))
