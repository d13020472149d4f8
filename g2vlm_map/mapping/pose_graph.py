# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The pose graph: where all keyframes are so that the edges between them agree best.

Levenberg-Marquardt over SE(3) with analytic derivatives and a Cauchy kernel per edge, on numpy
and scipy.sparse. A pose moves by R <- exp(w) R, t <- t + v, both in the map's axes; an edge's
residual, whitened by its own sigmas, is

    rotation    log(R_ij^T R_i^T R_j) / sigma_rotation
    along       d . (R_i^T (t_j - t_i) - t_ij) / (l sigma_along)
    across      a, b . (R_i^T (t_j - t_i) - t_ij) / (l sigma_direction)

with l, d the edge's length and direction, a, b across it, and sigma_along^2 = sigma_log_length^2 +
sigma_direction^4 / 4, as a length along a wrong direction is too long by its cosine; an edge
without a direction has R_i^T (t_j - t_i) / sigma_still in place of the last two. The kernel weighs
an edge by 1 / (1 + s / (c^2 n)), s the squared residual and n its freedoms: an edge that is c
sigmas off in each of them counts half, a wrong loop next to nothing.

Shape letters: N poses, E edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

from .keyframe import Edge
from .options import GraphOptions
from .rotations import cross_matrix, exp_rotations, log_rotations

__all__ = ["Constraints", "Solution", "residuals", "solve_poses"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DENSE = 80  # free poses up to which the normal equations are solved as a dense matrix
_SHORTEST = 1e-6
_MAX_DAMPING = 1e8


@dataclass(frozen=True, eq=False)
class Constraints:
    """Edges as arrays.

    Args:
        i_E, j_E: Indices of the poses.
        R_E33, t_E3: Measured pose of j in i.
        root_E33: Square root of the information of the translation in i's axes.
        turn_E: Inverse sigma of the rotation.
        freedoms_E: How many components an edge measures.
    """

    i_E: Ints
    j_E: Ints
    R_E33: Floats
    t_E3: Floats
    root_E33: Floats
    turn_E: Floats
    freedoms_E: Floats

    def __len__(self) -> int:
        return len(self.i_E)

    @staticmethod
    def of(edges: Sequence[Edge], index: Mapping[int, int]) -> Constraints:
        """Those of edges both of whose keyframes are in the index from number to place."""
        known = [edge for edge in edges if edge.i in index and edge.j in index]
        T = np.array([edge.T_i_j for edge in known], np.float64).reshape(-1, 4, 4)
        sigmas = np.array(
            [
                (e.sigma_rotation, e.sigma_direction, e.sigma_log_length, e.sigma_still)
                for e in known
            ],
            np.float64,
        ).reshape(-1, 4)
        root, measured = _roots(T[:, :3, 3], sigmas[:, 1], sigmas[:, 2], sigmas[:, 3])
        turn = 1 / sigmas[:, 0]
        return Constraints(
            np.array([index[edge.i] for edge in known], np.int64),
            np.array([index[edge.j] for edge in known], np.int64),
            T[:, :3, :3],
            T[:, :3, 3],
            root,
            turn,
            measured + 3.0 * (turn > 0),
        )

    def taken(self, keep_E: NDArray[np.bool_]) -> Constraints:
        """Some of them."""
        return Constraints(*(getattr(self, name)[keep_E] for name in self.__annotations__))


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solve found.

    Args:
        poses_N44: float64.
        weight_E: Kernel weight of each edge: near 0 where it contradicts the others.
        steps: That were taken.
        cost: Robust, at the end.
        covariance_N66: Of (translation, rotation) in the map's axes relative to the fixed
            poses; NaN where not asked for, 0 for fixed poses.
    """

    poses_N44: Floats
    weight_E: Floats
    steps: int
    cost: float
    covariance_N66: Floats


def solve_poses(
    poses_N44: Floats,
    constraints: Constraints,
    free_N: NDArray[np.bool_],
    options: GraphOptions,
    *,
    widen: Sequence[float] = (1.0,),
    covariance_of: Sequence[int] | None = (),
) -> Solution:
    """Minimise the robust cost over the free poses.

    Args:
        poses_N44: First poses.
        constraints: Edges between them.
        free_N: Which may move; of every connected part at least one must not.
        options: Kernel and steps.
        widen: Factors of the kernel, one solve after the other: a wide one first lets a right
            loop that lies far off pull its part of the map over.
        covariance_of: Poses whose covariance is wanted; None for all.

    Raises:
        ValueError: Poses that are not finite.
    """
    if not np.isfinite(poses_N44).all():
        raise ValueError("poses of the graph are not finite")
    poses: Floats = poses_N44.copy()
    columns = np.full(len(poses), -1)
    columns[free_N] = np.arange(int(free_N.sum()))
    touches = (columns[constraints.i_E] >= 0) | (columns[constraints.j_E] >= 0)
    used = constraints.taken(touches)
    system = _System(used, columns)
    steps, cost = 0, 0.0
    if len(used) and free_N.any():
        for factor in widen:
            poses, taken, cost = _minimise(poses, used, system, options, options.kernel * factor)
            steps += taken
    square = residuals(poses, used)[0]
    weight = np.ones(len(constraints))
    weight[touches] = _weights(square, used.freedoms_E, options.kernel)
    wanted = range(len(poses)) if covariance_of is None else covariance_of
    covariance = system.covariances(poses, used, weight[touches], wanted)
    return Solution(poses, weight, steps, cost, covariance)


def residuals(poses_N44: Floats, edges: Constraints) -> tuple[Floats, Floats, Floats, Floats]:
    """Squared whitened residual of each edge, the residual, and its two derivatives.

    Returns:
        (E,), (E, 6) with the translation first, (E, 6, 6) by the pose of i and by that of j:
        by translation, then by rotation.
    """
    R_i, R_j = poses_N44[edges.i_E, :3, :3], poses_N44[edges.j_E, :3, :3]
    apart = poses_N44[edges.j_E, :3, 3] - poses_N44[edges.i_E, :3, 3]
    R_i_T = R_i.transpose(0, 2, 1)
    moved = np.einsum("eab,eb->ea", R_i_T, apart)
    turn = log_rotations(edges.R_E33.transpose(0, 2, 1) @ R_i_T @ R_j)
    residual = np.concatenate(
        (
            np.einsum("eab,eb->ea", edges.root_E33, moved - edges.t_E3),
            turn * edges.turn_E[:, None],
        ),
        axis=1,
    )
    shift = edges.root_E33 @ R_i_T
    twist = edges.turn_E[:, None, None] * (_inverse_right(turn) @ R_j.transpose(0, 2, 1))
    by_i, by_j = np.zeros((len(edges), 6, 6)), np.zeros((len(edges), 6, 6))
    by_i[:, :3, :3], by_j[:, :3, :3] = -shift, shift
    by_i[:, :3, 3:] = shift @ cross_matrix(apart)
    by_i[:, 3:, 3:], by_j[:, 3:, 3:] = -twist, twist
    return (residual**2).sum(axis=1), residual, by_i, by_j


class _System:
    """Normal equations of some edges over the free poses, always of the same pattern."""

    def __init__(self, edges: Constraints, columns: Ints) -> None:
        self._columns = columns
        self.size = 6 * int((columns >= 0).sum())
        pairs = ((edges.i_E, edges.i_E), (edges.i_E, edges.j_E), (edges.j_E, edges.j_E))
        self._rows = [columns[a] for a, _ in pairs]
        self._cols = [columns[b] for _, b in pairs]
        self._keep = [
            (row >= 0) & (col >= 0) for row, col in zip(self._rows, self._cols, strict=True)
        ]
        self.is_dense = self.size <= 6 * _DENSE

    def build(
        self, weight_E: Floats, residual_E6: Floats, by_i_E66: Floats, by_j_E66: Floats
    ) -> tuple[Floats | sparse.csc_matrix, Floats]:
        """J^T W J and J^T W r."""
        scaled_i, scaled_j = by_i_E66 * weight_E[:, None, None], by_j_E66 * weight_E[:, None, None]
        i_T, j_T = scaled_i.transpose(0, 2, 1), scaled_j.transpose(0, 2, 1)
        blocks = (i_T @ by_i_E66, i_T @ by_j_E66, j_T @ by_j_E66)
        right = np.zeros((self.size // 6, 6))
        for transposed, place in ((i_T, self._rows[0]), (j_T, self._cols[2])):
            ahead = place >= 0
            np.add.at(right, place[ahead], np.einsum("eab,eb->ea", transposed, residual_E6)[ahead])
        parts = []
        for block, row, col, keep in zip(blocks, self._rows, self._cols, self._keep, strict=True):
            parts.append((block[keep], row[keep], col[keep]))
        block, row, col = parts[1]
        parts.append((block.transpose(0, 2, 1), col, row))
        data, rows, cols = (np.concatenate([part[k] for part in parts]) for k in range(3))
        if self.is_dense:
            count = self.size // 6
            summed = np.zeros((count, count, 6, 6))
            np.add.at(summed, (rows, cols), data)
            return summed.transpose(0, 2, 1, 3).reshape(self.size, self.size), right.reshape(-1)
        inner = np.arange(6)
        at_row = np.broadcast_to(6 * rows[:, None, None] + inner[:, None], data.shape)
        at_col = np.broadcast_to(6 * cols[:, None, None] + inner[None], data.shape)
        made = sparse.coo_matrix(
            (data.ravel(), (at_row.ravel(), at_col.ravel())), shape=(self.size, self.size)
        )
        return made.tocsc(), right.reshape(-1)

    def covariances(
        self, poses_N44: Floats, edges: Constraints, weight_E: Floats, wanted: Sequence[int] | range
    ) -> Floats:
        """(N, 6, 6) marginal covariances of some poses; NaN for the others, 0 for fixed ones."""
        found = np.full((len(poses_N44), 6, 6), np.nan)
        found[self._columns < 0] = 0.0
        places = [pose for pose in wanted if self._columns[pose] >= 0]
        if not places or not len(edges):
            return found
        _, residual, by_i, by_j = residuals(poses_N44, edges)
        normal, _ = self.build(weight_E, residual, by_i, by_j)
        solve = _factor(_damped(normal, 1e-12))
        for pose in places:
            at = 6 * int(self._columns[pose])
            unit = np.zeros((self.size, 6))
            unit[at : at + 6] = np.eye(6)
            block = solve(unit)[at : at + 6]
            found[pose] = 0.5 * (block + block.T)
        return found


def _minimise(
    poses: Floats, edges: Constraints, system: _System, options: GraphOptions, kernel: float
) -> tuple[Floats, int, float]:
    damping = options.damping
    square, residual, by_i, by_j = residuals(poses, edges)
    cost = _cost(square, edges.freedoms_E, kernel)
    steps = 0
    while steps < options.max_steps and damping < _MAX_DAMPING:
        steps += 1
        weight = _weights(square, edges.freedoms_E, kernel)
        normal, right = system.build(weight, residual, by_i, by_j)
        step = -_factor(_damped(normal, damping))(right)
        moved = _moved(poses, step.reshape(-1, 6), system)
        there = residuals(moved, edges)
        new_cost = _cost(there[0], edges.freedoms_E, kernel)
        if not new_cost < cost:
            damping *= 10
            continue
        gained, size = cost - new_cost, float(np.abs(step).max())
        poses, cost, damping = moved, new_cost, max(damping / 10, 1e-12)
        square, residual, by_i, by_j = there
        if gained < options.least_gain * cost or size < 1e-8:
            break
    return poses, steps, cost


def _moved(poses: Floats, step_F6: Floats, system: _System) -> Floats:
    free = system._columns >= 0
    moved: Floats = poses.copy()
    moved[free, :3, 3] += step_F6[:, :3]
    moved[free, :3, :3] = exp_rotations(step_F6[:, 3:]) @ poses[free, :3, :3]
    return moved


def _damped(normal: Floats | sparse.csc_matrix, damping: float) -> Floats | sparse.csc_matrix:
    """Marquardt's: a share of the diagonal on top, and enough for a component nobody measures."""
    diagonal = normal.diagonal()
    extra = damping * diagonal + 1e-9 * max(float(diagonal.mean()), 1e-12)
    if sparse.issparse(normal):
        return sparse.csc_matrix(normal + sparse.diags(extra))
    made: Floats = np.array(normal)
    made[np.diag_indices_from(made)] += extra
    return made


def _factor(normal: Floats | sparse.csc_matrix):  # type: ignore[no-untyped-def]
    """What solves the equations for a right side: Cholesky, or sparse LU of a symmetric one."""
    if sparse.issparse(normal):
        how = {"SymmetricMode": True}
        return splu(normal, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=how).solve
    factor = linalg.cho_factor(normal, lower=True, check_finite=False)
    return lambda right: linalg.cho_solve(factor, right, check_finite=False)


def _weights(square_E: Floats, freedoms_E: Floats, kernel: float) -> Floats:
    weight: Floats = 1.0 / (1.0 + square_E / (kernel**2 * np.maximum(freedoms_E, 1.0)))
    return weight


def _cost(square_E: Floats, freedoms_E: Floats, kernel: float) -> float:
    width = kernel**2 * np.maximum(freedoms_E, 1.0)
    return float((0.5 * width * np.log1p(square_E / width)).sum())


def _roots(
    t_E3: Floats, direction_E: Floats, log_length_E: Floats, still_E: Floats
) -> tuple[Floats, Floats]:
    """(E, 3, 3) square roots of the translations' information and the freedoms they measure."""
    length = np.linalg.norm(t_E3, axis=1)
    moves = (length > _SHORTEST) & np.isfinite(direction_E)
    safe = np.where(length > _SHORTEST, length, 1.0)
    unit = t_E3 / safe[:, None]
    along = 1 / (safe * np.hypot(log_length_E, 0.5 * np.where(moves, direction_E, 0.0) ** 2))
    across = 1 / (safe * direction_E)
    outer = unit[:, :, None] * unit[:, None, :]
    moving = across[:, None, None] * (np.eye(3) - outer) + along[:, None, None] * outer
    still = np.eye(3) / still_E[:, None, None]
    measured = np.where(moves, 2.0 + (along > 0), 3.0 * (1 / still_E > 0))
    return np.where(moves[:, None, None], moving, still), measured


def _inverse_right(turn_E3: Floats) -> Floats:
    """(E, 3, 3) inverse right Jacobian of SO(3) (Sola et al. 2018, equation 144)."""
    angle = np.linalg.norm(turn_E3, axis=1)
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    factor = 1 / safe**2 - (1 + np.cos(safe)) / (2 * safe * np.sin(np.minimum(safe, np.pi - 1e-6)))
    factor = np.where(small, 1.0 / 12.0, factor)
    K = cross_matrix(turn_E3)
    made: Floats = np.eye(3) + 0.5 * K + factor[:, None, None] * (K @ K)
    return made
