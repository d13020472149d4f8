# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pictures of a plane: two relative poses explain them equally well, and one of them is wrong.

A homography comes apart into two rotations, directions and normals (Faugeras and Lustman 1988;
Malis and Vargas 2007), so matches that lie on a wall or a facade do not tell how the camera
moved: the other pose may be off by tens of degrees with every match an inlier. `rivals` finds
all poses that the matches allow; `flatness` measures one of them against depths that somebody
else knows: the wrong pose puts the plane at another slant. And a floor or a wall may show the same
pattern again and again: `off_plane` says how much of a match does not rest on one surface.

Shape letters: M matches, K inliers.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .pair_geometry import (
    PairGeometry,
    agreeing,
    essential_of,
    polished,
    taken_apart,
    unit_depths,
)

__all__ = ["flatness", "off_plane", "rivals"]

Floats = NDArray[np.float64]

_ALLOWED = 0.95  # of the inliers found: the right pose is not short of any but by noise
_SAME_DEG = 3.0  # two poses whose rotations differ by less are one
_STANDS = 1e-3  # of the plane's distance: whoever moved less has no direction
_FEW = 12  # matches that a plane is looked for in
_PLANES = 100  # that are tried
_THICK = 0.05  # of the depth: what is nearer lies on a plane
_AHEAD = 0.6  # of the points lie ahead of both cameras: far ones do by chance


def rivals(
    found: PairGeometry, pairs_M2: NDArray[np.int64], ray_i_M3: Floats, ray_j_M3: Floats, px: float
) -> tuple[PairGeometry, ...]:
    """Other poses that explain nearly as many matches; none where the scene is no plane.

    Args:
        found: What the search for an essential matrix gave.
        pairs_M2: All matches.
        ray_i_M3, ray_j_M3: Their rays with z = 1.
        px: Distance at which a match agrees, as a share of the focal length.
    """
    if len(pairs_M2) < _FEW:
        return ()
    H, _ = cv2.findHomography(ray_i_M3[:, :2], ray_j_M3[:, :2], cv2.RANSAC, 2 * px)
    if H is None or not np.isfinite(H).all():
        return ()
    made: list[PairGeometry] = []
    _, turns, shifts, _ = cv2.decomposeHomographyMat(H, np.eye(3))
    for turn, shift in zip(turns, shifts, strict=True):
        R_j_i, t = np.asarray(turn, np.float64), np.asarray(shift[:, 0], np.float64)
        if np.linalg.norm(t) < _STANDS:
            continue
        kept = agreeing(R_j_i.T, -(R_j_i.T @ t), ray_i_M3, ray_j_M3, px)
        if kept.sum() < _ALLOWED * len(found.inliers):
            continue
        apart = taken_apart(essential_of(R_j_i, t), ray_i_M3[kept], ray_j_M3[kept])
        R, direction, parallax = apart
        pair = PairGeometry(R, direction, pairs_M2[kept], parallax)
        pair = polished(pair, ray_i_M3[kept], ray_j_M3[kept])
        if all(_apart_deg(pair, other) > _SAME_DEG for other in (found, *made)):
            made.append(pair)
    return tuple(made)


def flatness(pair: PairGeometry, ray_i_K3: Floats, ray_j_K3: Floats, depth_K2: Floats) -> float:
    """Spread of the log of known over triangulated depths; infinite where a pose is impossible.

    Args:
        pair: The pose.
        ray_i_K3, ray_j_K3: Of its inliers, z = 1.
        depth_K2: Their z-depths in i and in j as a model says, NaN where it does not.
    """
    unit_K2, _ = unit_depths(pair.R_i_j, pair.direction_3, ray_i_K3, ray_j_K3)
    ahead = (unit_K2 > 0).all(axis=1)
    known = ahead & np.isfinite(depth_K2).all(axis=1)
    if ahead.mean() < _AHEAD or known.sum() < _FEW // 2:
        return float("inf")
    logs = np.log(depth_K2[known]) - np.log(unit_K2[known])
    return float(np.median(np.abs(logs - np.median(logs, axis=0)), axis=0).mean())


def off_plane(ray_K3: Floats, depth_K: Floats) -> int:
    """How many points lie off the plane that holds most of them (Fischler and Bolles 1981).

    Args:
        ray_K3: Their rays, z = 1.
        depth_K: z-depth; NaN where unknown: these points lie as the others do. Where hardly any
            depth is known, none is known to lie on a plane.
    """
    known = np.isfinite(depth_K)
    point = ray_K3[known] * depth_K[known, None]
    if len(point) < _FEW // 2:
        return len(ray_K3)
    drawn = np.random.default_rng(len(point)).integers(0, len(point), (_PLANES, 3))
    a, b, c = (point[drawn[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    away = np.abs(np.einsum("pn,kn->pk", normal, point) - (normal * a).sum(axis=1)[:, None])
    on = (away < _THICK * point[:, 2]).sum(axis=1)
    spans = np.linalg.norm(normal, axis=1) > 0.5  # three points on a line span no plane
    return round(len(ray_K3) * (1 - int(on[spans].max(initial=0)) / len(point)))


def _apart_deg(a: PairGeometry, b: PairGeometry) -> float:
    turn = a.R_i_j.T @ b.R_i_j
    return float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1.0, 1.0))))
