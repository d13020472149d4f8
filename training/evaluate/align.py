# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Poses of a window that agree with the matches of all its pairs and with predicted depth.

A matched feature of camera i with depth z becomes a point, and the point is seen by camera j.
How far the feature lies from there is the residual. The predicted depth is right to a share
only, so log z is an unknown of its own with the prediction as its prior, and is eliminated:
at its best value for the present poses the residual, carried back to the prior, has covariance

    S = s^2 I + d^2 g g^T,    g = change of the place in j per change of log z.

Across the epipolar line a match then counts as a pixel does in an essential matrix; along the
line it counts as far as the depth is known. Nothing has to be triangulated beforehand, pure
rotation is no special case, and the lengths are those of the depth. (Were g taken at the
predicted depth instead, its noise would shorten every translation: errors in variables.)
Gauss-Newton on the whitened residuals with Cauchy weights.

Shape letters: N frames, M matches of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["AlignOptions", "Link", "align_poses"]

Floats = NDArray[np.float64]

_NEAREST = 1e-3
_DEPTH_STEPS = 3
_MAX_LOG_STEP = 0.5
_STILL_PIXELS = 1.0
_STILL_DEPTH = 1e-3
_CONVERGED = 1e-6


@dataclass(frozen=True)
class AlignOptions:
    """How pairs are made to agree.

    Args:
        iterations: Upper bound of Gauss-Newton steps; 0 leaves the spanning tree's poses.
        pixel_sigma: Noise of a match, pixels of the searched picture.
        depth_sigma: Noise of the log of a predicted depth, as if errors of neighbouring
            matches were independent (they are not, so take more than AbsRel says).
        cauchy: Whitened residual at which a match counts half.
        damping: Share of the normal matrix's diagonal that is added to it.

    Raises:
        ValueError: A number out of range.
    """

    iterations: int = 15
    pixel_sigma: float = 0.25
    depth_sigma: float = 0.5
    cauchy: float = 2.0
    damping: float = 1e-4

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError(f"iterations is {self.iterations}, expected at least 0")
        for name in ("pixel_sigma", "depth_sigma", "cauchy", "damping"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected above 0")


@dataclass(frozen=True)
class Link:
    """Matches of frames i and j.

    Args:
        i, j: Frames.
        ray_i_M3, ray_j_M3: Rays with z = 1 in each camera's axes.
        depth_i_M, depth_j_M: Predicted z-depth; NaN where unknown.
        px: Size of a pixel of each searched picture on its plane z = 1.
        T_i_j: First relative pose.
        is_still: The matches show no parallax. Depths then count as known, with a wider pixel
            noise: as unknowns they would make room for a translation that nothing shows.
    """

    i: int
    j: int
    ray_i_M3: Floats
    ray_j_M3: Floats
    depth_i_M: Floats
    depth_j_M: Floats
    px: tuple[float, float]
    T_i_j: Floats
    is_still: bool = False


def align_poses(
    T_world_cam_N44: Floats,
    links: Sequence[Link],
    fixed: Sequence[int] = (0,),
    options: AlignOptions | None = None,
) -> Floats:
    """Minimise the residuals of all links over the poses.

    Frames without a link stay where they are. A step turns camera k by exp(w) in its own axes
    and moves its centre by v in world axes.

    Args:
        T_world_cam_N44: First poses.
        links: Matches of pairs of frames.
        fixed: Frames that stay: one of every group that is linked together.
        options: None is the default.
    """
    options = options or AlignOptions()
    poses: Floats = T_world_cam_N44.copy()
    if not links:
        return poses
    unknowns = 6 * len(poses)
    still = replace(options, pixel_sigma=_STILL_PIXELS, depth_sigma=_STILL_DEPTH)
    for _ in range(options.iterations):
        normal, right = np.zeros((unknowns, unknowns)), np.zeros(unknowns)
        for link in links:
            back = (link.j, link.i, link.ray_j_M3, link.ray_i_M3, link.depth_j_M, link.px[0])
            ahead = (link.i, link.j, link.ray_i_M3, link.ray_j_M3, link.depth_i_M, link.px[1])
            noise = still if link.is_still else options
            for one_way in (ahead, back):
                _accumulate(poses, one_way, noise, normal, right)
        free = np.flatnonzero(normal.diagonal() > 0)
        free = free[~np.isin(free // 6, fixed)]
        if not len(free):
            break
        block = normal[np.ix_(free, free)]
        block[np.diag_indices_from(block)] *= 1 + options.damping
        step = np.zeros(unknowns)
        step[free] = -np.linalg.lstsq(block, right[free], rcond=1e-12)[0]
        poses = _moved(poses, step.reshape(-1, 6))
        if np.abs(step).max() < _CONVERGED:
            break
    return poses


def _accumulate(
    poses: Floats,
    one_way: tuple[int, int, Floats, Floats, Floats, float],
    options: AlignOptions,
    normal: Floats,
    right: Floats,
) -> None:
    """Add the normal equations of the matches seen from camera a, carried to camera b."""
    a, b, ray_a, ray_b, depth_a, px_b = one_way
    known = np.isfinite(depth_a)
    if not known.any():
        return
    ray_a, target, prior = ray_a[known], ray_b[known, :2], np.log(depth_a[known])
    R_a, R_b = poses[a, :3, :3], poses[b, :3, :3]
    R_b_a = R_b.T @ R_a
    turned, moved = ray_a @ R_b_a.T, R_b.T @ (poses[a, :3, 3] - poses[b, :3, 3])
    log_z = _best_depth(turned, moved, target, prior, px_b, options)
    z_a = np.exp(log_z)
    point_b = turned * z_a[:, None] + moved
    seen = point_b[:, 2] > _NEAREST * z_a
    if not seen.any():
        return
    point_a, turned, point_b = (ray_a * z_a[:, None])[seen], turned[seen], point_b[seen]
    project = _projection(point_b)
    along = np.einsum("mij,mj->mi", project, turned * z_a[seen, None])
    residual = point_b[:, :2] / point_b[:, 2:] - target[seen]
    residual += along * (prior - log_z)[seen, None]
    whiten = _whitening(along, px_b, options)
    residual = np.einsum("mij,mj->mi", whiten, residual)
    project = np.einsum("mij,mjk->mik", whiten, project)
    weight = 1 / (1 + (residual**2).sum(axis=1) / options.cauchy**2)
    jacobian = np.zeros((len(residual), 2, 12))
    jacobian[:, :, 0:3] = np.einsum("mij,jk,mkl->mil", project, -R_b_a, _cross(point_a))
    jacobian[:, :, 3:6] = project @ R_b.T
    jacobian[:, :, 6:9] = np.einsum("mij,mjk->mik", project, _cross(point_b))
    jacobian[:, :, 9:12] = -jacobian[:, :, 3:6]
    rows = np.r_[6 * a : 6 * a + 6, 6 * b : 6 * b + 6]
    flat = (jacobian * weight[:, None, None]).reshape(-1, 12)
    normal[np.ix_(rows, rows)] += flat.T @ jacobian.reshape(-1, 12)
    right[rows] += flat.T @ residual.reshape(-1)


def _best_depth(
    turned_M3: Floats,
    moved_3: Floats,
    target_M2: Floats,
    prior_M: Floats,
    px: float,
    options: AlignOptions,
) -> Floats:
    """(M,) log z that balances the prior against the place in camera b, for given poses."""
    pixel = options.pixel_sigma * px
    log_z: Floats = prior_M.copy()
    for _ in range(_DEPTH_STEPS):
        z = np.exp(log_z)[:, None]
        point = turned_M3 * z + moved_3
        ahead = point[:, 2] > _NEAREST * z[:, 0]
        safe = np.where(ahead[:, None], point, 1.0)
        along = np.einsum("mij,mj->mi", _projection(safe), turned_M3 * z)
        residual = safe[:, :2] / safe[:, 2:] - target_M2
        pull = (along * residual).sum(axis=1) / pixel**2
        pull += (log_z - prior_M) / options.depth_sigma**2
        push = (along**2).sum(axis=1) / pixel**2 + 1 / options.depth_sigma**2
        step = np.clip(pull / push, -_MAX_LOG_STEP, _MAX_LOG_STEP)
        log_z = np.where(ahead, log_z - step, log_z + _MAX_LOG_STEP)
    return log_z


def _projection(point_M3: Floats) -> Floats:
    """(M, 2, 3) change of the place on the plane z = 1 per change of a point."""
    z = point_M3[:, 2]
    project = np.zeros((len(z), 2, 3))
    project[:, 0, 0] = project[:, 1, 1] = 1 / z
    project[:, :, 2] = -point_M3[:, :2] / z[:, None] ** 2
    return project


def _whitening(along_M2: Floats, px: float, options: AlignOptions) -> Floats:
    """(M, 2, 2) inverse square root of s^2 I + d^2 g g^T."""
    pixel = options.pixel_sigma * px
    length = np.maximum(np.linalg.norm(along_M2, axis=1), 1e-12)
    unit = along_M2 / length[:, None]
    shrink = 1 - pixel / np.hypot(pixel, options.depth_sigma * length)
    outer = unit[:, :, None] * unit[:, None, :]
    white: Floats = (np.eye(2) - shrink[:, None, None] * outer) / pixel
    return white


def _cross(v_M3: Floats) -> Floats:
    """(M, 3, 3) matrices of the cross product with v."""
    matrix = np.zeros((len(v_M3), 3, 3))
    matrix[:, 0, 1], matrix[:, 0, 2], matrix[:, 1, 2] = -v_M3[:, 2], v_M3[:, 1], -v_M3[:, 0]
    skew: Floats = matrix - matrix.transpose(0, 2, 1)
    return skew


def _moved(poses: Floats, step_N6: Floats) -> Floats:
    moved: Floats = poses.copy()
    for index, step in enumerate(step_N6):
        moved[index, :3, :3] = poses[index, :3, :3] @ _exp(step[:3])
        moved[index, :3, 3] += step[3:]
    return moved


def _exp(w_3: Floats) -> Floats:
    """Rotation of an axis-angle vector (Rodrigues)."""
    angle = float(np.linalg.norm(w_3))
    if angle < 1e-12:
        return np.eye(3)
    K = _cross(w_3[None] / angle)[0]
    turn: Floats = np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * (K @ K)
    return turn
