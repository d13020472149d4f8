# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Relative pose of two calibrated pictures: essential matrix, its parts, their polish.

Rotation and direction are polished on the inliers: least squares of the Sampson error (Hartley
and Zisserman, 11.4.3) over the five degrees of freedom with Cauchy weights, or of the angles
between the rays where there is no parallax, which a direction cannot be had from. The polish
says how sure it is.

Axes are OpenCV optical axes; `T_i_j` maps coordinates of camera j to camera i.

Shape letters: M matches, K inliers.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .rotations import cross_matrix, exp_rotation

__all__ = [
    "PairGeometry", "agreeing", "essential_of", "polished", "rays", "taken_apart", "unit_depths",
]  # fmt: skip

Floats = NDArray[np.float64]

_POLISH_STEPS = 6
_CAUCHY = 2.0  # in robust standard deviations
_STILL_DEG = 0.4  # parallax below which the polish keeps the direction


@dataclass(frozen=True)
class PairGeometry:
    """Relative pose of two calibrated pictures.

    Args:
        R_i_j: Rotation of camera j in camera i.
        direction_3: Unit vector from camera i to camera j in camera i's axes.
        inliers: Indices (K, 2) into the features of i and of j.
        parallax_deg: Median angle between the inliers' rays once the rotation is taken out;
            close to 0 the direction means nothing.
        sigma_rotation: Standard deviation of the rotation about its worst axis, rad, as far as
            the scatter of the matches shows it.
        sigma_direction: The same of the direction, rad; infinite where there is no parallax.
        rivals: Other poses that explain nearly as many matches, as a plane's do.
    """

    R_i_j: Floats
    direction_3: Floats
    inliers: NDArray[np.int64]
    parallax_deg: float
    sigma_rotation: float = 0.0
    sigma_direction: float = np.inf
    rivals: tuple[PairGeometry, ...] = ()


def rays(pixel_M2: NDArray[np.floating], K_33: Floats) -> Floats:
    """(M, 3) rays with z = 1 of pixels."""
    homogeneous = np.concatenate((pixel_M2, np.ones((len(pixel_M2), 1))), axis=1)
    return np.asarray(homogeneous @ np.linalg.inv(K_33).T, np.float64)


def essential_of(R_j_i: Floats, t_j_i: Floats) -> Floats:
    """E with x_j^T E x_i = 0 of x_j = R x_i + t."""
    E: Floats = cross_matrix(t_j_i[None] / np.linalg.norm(t_j_i))[0] @ R_j_i
    return E


def agreeing(
    R_i_j: Floats, direction_3: Floats, ray_i_M3: Floats, ray_j_M3: Floats, px: float
) -> NDArray[np.bool_]:
    """(M,) whether a match's Sampson error is at most `px`, a share of the focal length."""
    t = direction_3 / np.linalg.norm(direction_3)
    return np.asarray(np.abs(_sampson(R_i_j, t, ray_i_M3, ray_j_M3)[0]) < px)


def taken_apart(E: Floats, ray_i_M3: Floats, ray_j_M3: Floats) -> tuple[Floats, Floats, float]:
    """R_i_j, direction and parallax in deg of an essential matrix, also where nothing moved.

    OpenCV's own `recoverPose` asks for points ahead of both cameras at a bounded distance, of
    which a pure rotation has none. The rotation is here the one that lays the rays upon each
    other, the other one being half a turn away; the sign of the direction puts most points
    ahead, each with the weight of its parallax.
    """
    R_a, R_b, t = cv2.decomposeEssentialMat(E)
    options = []
    for R_j_i in (R_a, R_b):
        turned = ray_j_M3 @ R_j_i
        options.append((_median_angle_deg(ray_i_M3, turned), R_j_i, turned))
    parallax_deg, R_j_i, turned = min(options, key=lambda option: option[0])
    direction = -R_j_i.T @ t[:, 0]
    across = np.cross(ray_i_M3, turned)
    votes = (np.cross(direction, turned) * across).sum(axis=1)
    square = (across**2).sum(axis=1)
    if (votes / np.sqrt(np.maximum(square, 1e-24))).sum() < 0:
        direction = -direction
    return R_j_i.T, direction, parallax_deg


def unit_depths(
    R_i_j: Floats, direction_3: Floats, ray_i_K3: Floats, ray_j_K3: Floats
) -> tuple[Floats, Floats]:
    """z-depths of matches where the cameras lie one unit apart, and how far their rays part.

    Returns:
        (K, 2) in the cameras of i and of j, not positive behind them; (K,) sine of the parallax.
    """
    turned = ray_j_K3 @ R_i_j.T
    across = np.cross(ray_i_K3, turned)
    square = np.maximum((across**2).sum(axis=1), 1e-18)
    sides = [(np.cross(direction_3, ray) * across).sum(axis=1) for ray in (turned, ray_i_K3)]
    sine = np.sqrt(square / ((ray_i_K3**2).sum(axis=1) * (turned**2).sum(axis=1)))
    return np.stack(sides, axis=1) / square[:, None], sine


def polished(found: PairGeometry, ray_i_K3: Floats, ray_j_K3: Floats) -> PairGeometry:
    """The pair with rotation and direction that fit all inliers best, and their sigmas."""
    if found.parallax_deg < _STILL_DEG:
        R, sigma = _polished_rotation(found.R_i_j, ray_i_K3, ray_j_K3)
        parallax = _median_angle_deg(ray_i_K3, ray_j_K3 @ R.T)
        return PairGeometry(R, found.direction_3, found.inliers, parallax, sigma)
    R, t = found.R_i_j, found.direction_3
    covariance = np.eye(5)
    for _ in range(_POLISH_STEPS):
        residual, jacobian = _sampson(R, t, ray_i_K3, ray_j_K3)
        weight, spread = _cauchy(residual, 5)
        normal = (jacobian * weight[:, None]).T @ jacobian
        normal[np.diag_indices(5)] *= 1 + 1e-9
        try:
            covariance = np.linalg.inv(normal) * spread**2
        except np.linalg.LinAlgError:  # matches on one line: what MAGSAC said stands
            return found
        step = -covariance / spread**2 @ (jacobian.T @ (weight * residual))
        size = float(np.linalg.norm(step))
        step *= min(1.0, 0.1 / max(size, 1e-12))
        R = exp_rotation(step[:3]) @ R
        t = t + _tangent(t) @ step[3:]
        t = t / np.linalg.norm(t)
        if size < 1e-7:
            break
    parallax = _median_angle_deg(ray_i_K3, ray_j_K3 @ R.T)
    rotation = float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1]))
    direction = float(np.sqrt(np.linalg.eigvalsh(covariance[3:, 3:])[-1]))
    return PairGeometry(R, t, found.inliers, parallax, rotation, direction)


def _sampson(R: Floats, t: Floats, ray_i_K3: Floats, ray_j_K3: Floats) -> tuple[Floats, Floats]:
    """(K,) Sampson errors and their (K, 5) change by a turn (left) and a shift of t's tangent."""
    y = ray_j_K3 @ R.T
    line_i = np.cross(t, y)
    across = np.cross(ray_i_K3, t)
    line_j = across @ R
    square = (line_i[:, :2] ** 2).sum(1) + (line_j[:, :2] ** 2).sum(1)
    scale = 1.0 / np.sqrt(np.maximum(square, 1e-24))
    residual = (ray_i_K3 * line_i).sum(1) * scale
    by_turn = np.cross(y, across) * scale[:, None]
    by_shift = np.cross(y, ray_i_K3) @ _tangent(t) * scale[:, None]
    return residual, np.concatenate((by_turn, by_shift), axis=1)


def _polished_rotation(R: Floats, ray_i_K3: Floats, ray_j_K3: Floats) -> tuple[Floats, float]:
    """The rotation alone that lays rays upon rays, and its sigma."""
    a = ray_i_K3 / np.linalg.norm(ray_i_K3, axis=1, keepdims=True)
    b = ray_j_K3 / np.linalg.norm(ray_j_K3, axis=1, keepdims=True)
    covariance = np.eye(3)
    for _ in range(_POLISH_STEPS):
        y = b @ R.T
        residual = (y - a).reshape(-1)
        jacobian = -cross_matrix(y).reshape(-1, 3)
        weight, spread = _cauchy(residual, 3)
        normal = (jacobian * weight[:, None]).T @ jacobian
        covariance = np.linalg.inv(normal + 1e-12 * np.eye(3)) * spread**2
        R = exp_rotation(-covariance / spread**2 @ (jacobian.T @ (weight * residual))) @ R
    return R, float(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))


def _cauchy(residual_K: Floats, freedoms: int) -> tuple[Floats, float]:
    """Weights of a Cauchy kernel, and the robust standard deviation that it is wide in."""
    spread = 1.4826 * float(np.median(np.abs(residual_K)))
    spread = max(spread * (1 + freedoms / len(residual_K)), 1e-9)
    return 1.0 / (1.0 + (residual_K / (_CAUCHY * spread)) ** 2), spread


def _tangent(t: Floats) -> Floats:
    """(3, 2) orthonormal directions across a unit vector."""
    axis = np.eye(3)[int(np.argmin(np.abs(t)))]
    first = np.cross(t, axis)
    first /= np.linalg.norm(first)
    return np.stack((first, np.cross(t, first)), axis=1)


def _median_angle_deg(a_M3: Floats, b_M3: Floats) -> float:
    sine = np.linalg.norm(np.cross(a_M3, b_M3), axis=1)
    return float(np.median(np.degrees(np.arctan2(sine, (a_M3 * b_M3).sum(axis=1)))))
