# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Point clouds and normals: accuracy and completeness after Sim(3) and ICP, angles of normals.

The protocol of the multi-view reconstruction tables of the paper (1a): predicted and true points
of all valid pixels are aligned with Umeyama's similarity, then with rigid ICP on nearest
neighbours; accuracy is the distance from a predicted point to the nearest true one,
completeness the other way round. Points that are the true ones score 0.

Shape letters: N frames, H W pixels, M points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = [
    "PointScore",
    "block_normals",
    "icp",
    "normal_angles_deg",
    "point_score",
    "similarity",
    "umeyama",
]

Floats = NDArray[np.float64]

_ICP_POINTS = 5000
_ICP_STEPS = 10
_ICP_REACH = 0.1
_CONVERGED = 1e-5
_EDGE_RTOL = 0.03


@dataclass(frozen=True)
class PointScore:
    """Distances in units of the truth.

    Args:
        accuracy_mean, accuracy_median: From predicted points to the nearest true point.
        completeness_mean, completeness_median: From true points to the nearest predicted one.
    """

    accuracy_mean: float
    accuracy_median: float
    completeness_mean: float
    completeness_median: float


def umeyama(source_M3: Floats, target_M3: Floats) -> tuple[float, Floats, Floats]:
    """Scale s, rotation R and translation t that minimise sum |s R x + t - y|^2 (Umeyama 1991).

    Raises:
        ValueError: Fewer than 3 points, or all source points in one place.
    """
    if len(source_M3) < 3:
        raise ValueError(f"got {len(source_M3)} points, expected at least 3 to align")
    if float(((source_M3 - source_M3.mean(axis=0)) ** 2).sum()) < 1e-18:
        raise ValueError("all predicted points lie in one place; nothing to align")
    return similarity(source_M3, target_M3)


def similarity(
    source_M3: Floats, target_M3: Floats, with_scale: bool = True
) -> tuple[float, Floats, Floats]:
    """As `umeyama`, for any points; without a scale the best rigid motion, with scale 1.

    Where fewer than three points or points on a line leave the rotation open, it is one of the
    best; points in one place have a scale of about 0.
    """
    centre, goal = source_M3.mean(axis=0), target_M3.mean(axis=0)
    x, y = source_M3 - centre, target_M3 - goal
    U, D, Vt = np.linalg.svd(y.T @ x)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    R = (U * sign) @ Vt
    scale = float((D * sign).sum() / max(float((x**2).sum()), 1e-18)) if with_scale else 1.0
    return scale, R, goal - scale * R @ centre


def icp(source_M3: Floats, target: cKDTree, reach: float = _ICP_REACH) -> tuple[Floats, Floats]:
    """The rigid motion of a cloud onto another by nearest neighbours (Besl and McKay 1992).

    Args:
        source_M3: What is moved.
        target: Tree of the points that stay.
        reach: Neighbours farther away than this are left out.

    Returns:
        Rotation (3, 3) and translation (3,); none where fewer than 3 have a neighbour in reach.
    """
    moved, R_all, t_all = source_M3, np.eye(3), np.zeros(3)
    for _ in range(_ICP_STEPS):
        distance, nearest = target.query(moved, distance_upper_bound=reach)
        near = np.isfinite(distance)
        if near.sum() < 3:
            break
        x, y = moved[near], target.data[nearest[near]]
        _, R, t = similarity(x, y, with_scale=False)
        shifted = moved @ R.T + t
        R_all, t_all = R @ R_all, R @ t_all + t
        step = float(np.abs(shifted - moved).max())
        moved = shifted
        if step < _CONVERGED:
            break
    return R_all, t_all


def point_score(
    predicted_M3: Floats, truth_M3: Floats, icp_points: int = _ICP_POINTS, seed: int = 0
) -> PointScore:
    """Score a cloud whose points belong to those of the truth one by one; all of them count.

    Args:
        predicted_M3: In any world frame and scale.
        truth_M3: The same pixels.
        icp_points: So many random predicted points look for the motion of the ICP, among all
            true ones.
        seed: Of their choice.

    Raises:
        ValueError: See `umeyama`; unequal shapes; numbers that are not finite.
    """
    if predicted_M3.shape != truth_M3.shape:
        raise ValueError(f"points are {predicted_M3.shape} and {truth_M3.shape}, expected equal")
    if not np.isfinite(predicted_M3).all() or not np.isfinite(truth_M3).all():
        raise ValueError("points hold numbers that are not finite")
    scale, R, t = umeyama(predicted_M3, truth_M3)
    aligned = scale * predicted_M3 @ R.T + t
    tree = cKDTree(truth_M3)
    count = len(truth_M3)
    some = np.random.default_rng(seed).choice(count, min(icp_points, count), replace=False)
    R_icp, t_icp = icp(aligned[some], tree)
    moved = aligned @ R_icp.T + t_icp
    accuracy, _ = tree.query(moved)
    completeness, _ = cKDTree(moved).query(truth_M3)
    return PointScore(
        float(accuracy.mean()),
        float(np.median(accuracy)),
        float(completeness.mean()),
        float(np.median(completeness)),
    )


def block_normals(points_NHW3: NDArray[np.floating]) -> Floats:
    """(N, H - 1, W - 1, 3) normals towards the camera of every 2x2 block of a point map.

    The mean of the unit normals of the block's four corner triangles (the cross products of
    the paper's eq. 7); 0 where a triangle has no area.
    """
    p = np.asarray(points_NHW3, np.float64)
    corners = (p[:, :-1, :-1], p[:, :-1, 1:], p[:, 1:, 1:], p[:, 1:, :-1])
    total = np.zeros_like(corners[0])
    for index in range(4):
        here, after, before = corners[index], corners[(index + 1) % 4], corners[index - 1]
        total += _unit(np.cross(before - here, after - here))
    return _unit(total)


def normal_angles_deg(
    predicted_NHW3: NDArray[np.floating],
    truth_NHW3: NDArray[np.floating],
    valid_NHW: NDArray[np.bool_],
    true_normals_NHW3: NDArray[np.floating] | None = None,
) -> Floats:
    """(K,) angles between predicted and true normals of the blocks that lie on one surface.

    Args:
        predicted_NHW3, truth_NHW3: Points in the axes of each camera.
        valid_NHW: Pixels with a known truth.
        true_normals_NHW3: Exact normals, 0 where unknown; None takes those of `truth_NHW3`.
    """
    four = (
        (slice(None, -1), slice(None, -1)),
        (slice(None, -1), slice(1, None)),
        (slice(1, None), slice(1, None)),
        (slice(1, None), slice(None, -1)),
    )
    z = np.stack([truth_NHW3[:, rows, columns, 2] for rows, columns in four])
    keep = np.stack([valid_NHW[:, rows, columns] for rows, columns in four]).all(axis=0)
    keep &= (z.max(axis=0) - z.min(axis=0)) < _EDGE_RTOL * np.maximum(z.max(axis=0), 1e-9)
    if true_normals_NHW3 is None:
        truth = block_normals(truth_NHW3)
    else:
        truth = _unit(np.mean([true_normals_NHW3[:, r, c] for r, c in four], axis=0))
    mine, theirs = block_normals(predicted_NHW3)[keep], truth[keep]
    real = (np.abs(theirs).sum(axis=1) > 0) & np.isfinite(mine).all(axis=1)
    cosine = (mine[real] * theirs[real]).sum(axis=1)
    sine = np.linalg.norm(np.cross(mine[real], theirs[real]), axis=1)
    angles: Floats = np.degrees(np.arctan2(sine, cosine))
    return angles


def _unit(v: NDArray[np.floating]) -> Floats:
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    return np.asarray(v / np.where(length > 0, length, 1.0), np.float64)
