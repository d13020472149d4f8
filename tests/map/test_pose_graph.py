# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The solver of the pose graph: its derivatives, a loop, outliers, covariances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.mapping.keyframe import Edge
from g2vlm_map.mapping.options import GraphOptions
from g2vlm_map.mapping.pose_graph import Constraints, Solution, residuals, solve_poses
from g2vlm_map.mapping.rotations import exp_rotation, exp_rotations, log_rotations

Floats = NDArray[np.float64]
OPTIONS = GraphOptions(max_steps=50, least_gain=1e-9)


def edge(i: int, j: int, T: Floats, **change: float) -> Edge:
    made = Edge(i, j, "visual", T, 0.01, 0.02, 0.05)
    return replace(made, **change)  # type: ignore[arg-type]


def circle(count: int, radius: float = 3.0) -> Floats:
    """Cameras on a circle, each looking along its way; the last one is next to the first."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    for k in range(count):
        angle = 2 * np.pi * k / count
        poses[k, :3, :3] = exp_rotation(np.array([0, -angle, 0]))
        poses[k, :3, 3] = (radius * np.sin(angle), 0.02 * k, radius * (1 - np.cos(angle)))
    return poses


def noisy(T: Floats, rng: np.random.Generator, one: Edge) -> Floats:
    """A measurement of a relative pose with the noise that the edge claims."""
    made: Floats = T.copy()
    made[:3, :3] = T[:3, :3] @ exp_rotation(rng.normal(scale=one.sigma_rotation, size=3))
    length = float(np.linalg.norm(T[:3, 3]))
    turn = rng.normal(scale=one.sigma_direction, size=3)
    made[:3, 3] = exp_rotation(turn) @ T[:3, 3]
    made[:3, 3] *= 1 + rng.normal(scale=one.sigma_log_length)
    assert length > 0
    return made


def measured(poses: Floats, pairs: list[tuple[int, int]], seed: int) -> list[Edge]:
    rng = np.random.default_rng(seed)
    edges = []
    for i, j in pairs:
        T = np.linalg.inv(poses[i]) @ poses[j]
        one = edge(i, j, T)
        edges.append(replace(one, T_i_j=noisy(T, rng, one)))
    return edges


def chained(edges: list[Edge], count: int) -> Floats:
    poses = np.tile(np.eye(4), (count, 1, 1))
    for k in range(1, count):
        step = next(e for e in edges if (e.i, e.j) == (k - 1, k))
        poses[k] = poses[k - 1] @ step.T_i_j
    return poses


def solved(poses: Floats, edges: list[Edge], **change: object) -> Solution:
    free = np.ones(len(poses), bool)
    free[0] = False
    index = {k: k for k in range(len(poses))}
    return solve_poses(poses, Constraints.of(edges, index), free, OPTIONS, **change)  # type: ignore[arg-type]


def ate(poses: Floats, truth: Floats) -> float:
    return float(np.sqrt(((poses[:, :3, 3] - truth[:, :3, 3]) ** 2).sum(axis=1).mean()))


def test_the_derivatives_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(1)
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, :3, :3] = exp_rotations(rng.normal(scale=1.0, size=(4, 3)))
    poses[:, :3, 3] = rng.normal(size=(4, 3))
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = exp_rotation(rng.normal(size=3)), rng.normal(size=3)
    edges = [
        edge(0, 1, T),
        edge(1, 2, T, sigma_log_length=np.inf),
        edge(2, 3, T, sigma_direction=np.inf, sigma_still=0.3),
        edge(3, 0, T, sigma_rotation=np.inf),
    ]
    constraints = Constraints.of(edges, {k: k for k in range(4)})
    assert constraints.freedoms_E.tolist() == [6, 5, 6, 3]
    _, residual, by_i, by_j = residuals(poses, constraints)
    step = 1e-6
    for e, one in enumerate(edges):
        for pose, derivative in ((one.i, by_i[e]), (one.j, by_j[e])):
            for k in range(6):
                moved = poses.copy()
                if k < 3:
                    moved[pose, k, 3] += step
                else:
                    moved[pose, :3, :3] = (
                        exp_rotation(step * np.eye(3)[k - 3]) @ moved[pose, :3, :3]
                    )
                numeric = (residuals(moved, constraints)[1][e] - residual[e]) / step
                np.testing.assert_allclose(derivative[:, k], numeric, atol=2e-3, rtol=1e-3)


def test_exact_edges_give_the_exact_poses_from_a_bad_start() -> None:
    truth = circle(12)
    pairs = [(k, k + d) for d in (1, 2) for k in range(12 - d)]
    edges = [edge(i, j, np.linalg.inv(truth[i]) @ truth[j]) for i, j in pairs]
    rng = np.random.default_rng(0)
    start = truth.copy()
    start[1:, :3, 3] += rng.normal(scale=0.3, size=(11, 3))
    start[1:, :3, :3] = exp_rotations(rng.normal(scale=0.2, size=(11, 3))) @ start[1:, :3, :3]
    found = solved(start, edges, widen=(8.0, 1.0))
    np.testing.assert_allclose(found.poses_N44, truth, atol=1e-5)
    np.testing.assert_allclose(found.weight_E, 1, atol=1e-6)


def test_a_loop_takes_the_drift_out() -> None:
    """Of the last third of a circle, over five draws."""
    truth = circle(60)
    pairs = [(k, k + d) for d in (1, 2, 3) for k in range(60 - d)]
    without, with_loops = 0.0, 0.0
    for seed in range(5):
        edges = measured(truth, pairs, seed=seed)
        loops = measured(truth, [(0, 59), (1, 58)], seed=100 + seed)
        start = chained(edges, 60)
        without += ate(solved(start, edges).poses_N44[40:], truth[40:]) / 5
        closed = solved(start, edges + loops, widen=(8.0, 1.0)).poses_N44
        with_loops += ate(closed[40:], truth[40:]) / 5
    assert with_loops < 0.5 * without, (with_loops, without)


def test_a_length_along_an_unsure_direction_is_unsure() -> None:
    """A metre to somewhere between ahead and aside, beside half a metre straight ahead."""
    ahead = np.eye(4)
    ahead[2, 3] = 0.5
    far = np.eye(4)
    far[2, 3] = 1.0
    start = np.stack((np.eye(4), ahead))
    edges = [edge(0, 1, ahead), edge(0, 1, far, sigma_direction=1.0, sigma_log_length=0.02)]
    found = solved(start, edges)
    assert found.poses_N44[1, 2, 3] == pytest.approx(0.5, abs=0.05)


def test_wrong_loops_are_told_apart() -> None:
    truth = circle(60)
    pairs = [(k, k + d) for d in (1, 2, 3) for k in range(60 - d)]
    edges = measured(truth, pairs, seed=4)
    loops = measured(truth, [(0, 59), (2, 57)], seed=5)
    rng = np.random.default_rng(6)
    wrong = []
    for _ in range(12):
        i, j = sorted(rng.choice(60, 2, replace=False).tolist())
        T = np.eye(4)
        T[:3, :3] = exp_rotation(rng.normal(scale=1.0, size=3))
        T[:3, 3] = rng.normal(size=3)
        if j - i > 15:
            wrong.append(edge(i, j, T))
    assert len(wrong) > 5
    start = chained(edges, 60)
    clean = ate(solved(start, edges + loops, widen=(8.0, 1.0)).poses_N44, truth)
    found = solved(start, edges + loops + wrong, widen=(8.0, 1.0))
    assert ate(found.poses_N44, truth) < clean + 0.03
    assert found.weight_E[-len(wrong) :].max() < 0.2
    assert found.weight_E[len(edges) : len(edges) + 2].min() > 0.2


def test_fixed_poses_stay_and_parts_without_edges_too() -> None:
    truth = circle(10)
    edges = measured(truth, [(k, k + 1) for k in range(8)], seed=7)
    start = chained([*edges, edge(8, 9, np.eye(4))], 10)
    free = np.ones(10, bool)
    free[:4] = False
    index = {k: k for k in range(10)}
    found = solve_poses(start, Constraints.of(edges, index), free, OPTIONS)
    np.testing.assert_array_equal(found.poses_N44[:4], start[:4])
    np.testing.assert_allclose(found.poses_N44[9], start[9], atol=1e-9)
    with pytest.raises(ValueError, match="not finite"):
        solve_poses(start * np.nan, Constraints.of(edges, index), free, OPTIONS)


def test_dense_and_sparse_solves_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = circle(30)
    pairs = [(k, k + d) for d in (1, 2) for k in range(30 - d)]
    edges = measured(truth, [*pairs, (0, 29)], seed=8)
    start = chained(edges, 30)
    dense = solved(start, edges, covariance_of=None)
    monkeypatch.setattr("g2vlm_map.mapping.pose_graph._DENSE", 0)
    thin = solved(start, edges, covariance_of=[5, 29])
    np.testing.assert_allclose(dense.poses_N44, thin.poses_N44, atol=1e-6)
    np.testing.assert_allclose(dense.covariance_N66[29], thin.covariance_N66[29], rtol=1e-3)
    assert np.isnan(thin.covariance_N66[6]).all()
    assert not dense.covariance_N66[0].any()


def test_the_covariance_is_that_of_the_errors() -> None:
    """Mean NEES of 6 degrees of freedom over many draws; 6 where the claim is exact."""
    truth = circle(15)
    pairs = [(k, k + d) for d in (1, 2) for k in range(15 - d)]
    nees = []
    for seed in range(40):
        found = solved(truth, measured(truth, pairs, seed=seed), covariance_of=[14])
        pose = found.poses_N44[14]
        error = np.empty(6)
        error[:3] = truth[14, :3, 3] - pose[:3, 3]
        error[3:] = log_rotations((truth[14, :3, :3] @ pose[:3, :3].T)[None])[0]
        nees.append(error @ np.linalg.solve(found.covariance_N66[14], error))
    assert 4 < np.mean(nees) < 9, np.mean(nees)
