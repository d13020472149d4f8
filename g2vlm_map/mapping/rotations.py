# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rotations as the map computes with them: exponential, logarithm, cross products.

Turns are axis-angle vectors in rad; poses turn by `exp_rotation(turn) @ R` (about the map's
axes). Vectorised over a leading axis where the name says many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cross_matrix", "exp_rotation", "exp_rotations", "log_rotations", "orthonormal"]

Floats = NDArray[np.float64]


def cross_matrix(v_M3: Floats) -> Floats:
    """(M, 3, 3) matrices of the cross product with v."""
    matrix = np.zeros((len(v_M3), 3, 3))
    matrix[:, 0, 1], matrix[:, 0, 2], matrix[:, 1, 2] = -v_M3[:, 2], v_M3[:, 1], -v_M3[:, 0]
    skew: Floats = matrix - matrix.transpose(0, 2, 1)
    return skew


def exp_rotation(turn_3: Floats) -> Floats:
    """(3, 3) rotation of an axis-angle vector (Rodrigues)."""
    turned: Floats = exp_rotations(np.asarray(turn_3, np.float64)[None])[0]
    return turned


def exp_rotations(turn_M3: Floats) -> Floats:
    """(M, 3, 3) rotations of axis-angle vectors (Rodrigues)."""
    angle = np.linalg.norm(turn_M3, axis=1)
    small = angle < 1e-6
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 1.0 - angle**2 / 6, np.sin(safe) / safe)
    b = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    K = cross_matrix(turn_M3)
    turned: Floats = np.eye(3) + a[:, None, None] * K + b[:, None, None] * (K @ K)
    return turned


def log_rotations(R_M33: Floats) -> Floats:
    """(M, 3) axis-angle vectors of rotations, angle up to pi.

    From the antisymmetric part up to near half a turn; there from the symmetric part, whose
    sign nothing tells.
    """
    sine = 0.5 * np.stack(
        (
            R_M33[:, 2, 1] - R_M33[:, 1, 2],
            R_M33[:, 0, 2] - R_M33[:, 2, 0],
            R_M33[:, 1, 0] - R_M33[:, 0, 1],
        ),
        axis=1,
    )
    length = np.linalg.norm(sine, axis=1)
    angle = np.arctan2(length, 0.5 * (np.trace(R_M33, axis1=1, axis2=2) - 1))
    factor = np.where(length < 1e-7, 1.0, angle / np.maximum(length, 1e-12))
    turn: Floats = sine * factor[:, None]
    for index in np.flatnonzero(angle > np.pi - 1e-4):
        symmetric = 0.5 * (R_M33[index] + np.eye(3))
        column = symmetric[:, int(np.argmax(symmetric.diagonal()))]
        axis = column / np.linalg.norm(column)
        turn[index] = axis * angle[index] * (1.0 if axis @ sine[index] >= 0 else -1.0)
    return turn


def orthonormal(R_33: NDArray[np.floating]) -> Floats:
    """The rotation nearest to a matrix that is nearly one."""
    U, _, Vt = np.linalg.svd(np.asarray(R_33, np.float64))
    U[:, -1] *= np.sign(np.linalg.det(U @ Vt))
    return np.asarray(U @ Vt)
