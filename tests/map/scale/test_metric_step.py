# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The step between two keyframes by matches with measured depth, good and bad."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.mapping.keyframe import Edge, View
from g2vlm_map.poses import Floats, inverse, rigid, rotation, rotation_vector
from g2vlm_map.scale.sources.metric_step import MetricStep, _length, _Sides, metric_step
from tests.map.scale.made import T_BASE_CAM, Drive, base_pose, points_seen, tracked_edge

FROM, TO = 10, 15
SIGMA_DEPTH = 0.05


def views(noise_px: float = 0.0, seed: int = 0) -> tuple[View, View]:
    rng, made = np.random.default_rng(seed), []
    for number in (FROM, TO):
        view = Drive().view(number, base_pose(number) @ T_BASE_CAM)
        noisy = view.feature_F2 + rng.normal(0, noise_px, view.feature_F2.shape)
        made.append(replace(view, feature_F2=noisy.astype(np.float32)))
    return made[0], made[1]


def depths(noise: float = 0.0, gross: float = 0.0, seed: int = 0) -> tuple[Floats, Floats]:
    """Log of metres to each point in both cameras, each off by some noise, some by anything."""
    rng, made = np.random.default_rng(seed), []
    for number in (FROM, TO):
        log_depth = np.log(points_seen(base_pose(number) @ T_BASE_CAM)[1])
        log_depth = log_depth + rng.normal(0, noise, log_depth.shape)
        log_depth += (rng.random(log_depth.shape) < gross) * rng.normal(0, 1, log_depth.shape)
        made.append(log_depth)
    return made[0], made[1]


def true_step() -> Floats:
    return inverse(base_pose(FROM) @ T_BASE_CAM) @ base_pose(TO) @ T_BASE_CAM


def mistaken(turn_deg: float = 2.0) -> Edge:
    """A turn that was taken for a step to the side, as two-view geometry does."""
    edge = tracked_edge(FROM, TO)
    T = edge.T_i_j.copy()
    T[:3, :3] = rotation(np.radians([0.0, turn_deg, 0.0])) @ T[:3, :3]
    T[:3, 3] = rotation(np.radians([0.0, 10 * turn_deg, 0.0])) @ T[:3, 3]
    return replace(edge, T_i_j=T)


def errors(found: MetricStep) -> tuple[float, float, float]:
    """Of the turn, rad; of the way, metres; of the log of its length."""
    off = inverse(true_step()) @ found.T_i_j
    way, true = found.T_i_j[:3, 3], true_step()[:3, 3]
    length = float(np.log(np.linalg.norm(way) / np.linalg.norm(true)))
    turn = float(np.linalg.norm(rotation_vector(off[:3, :3])))
    return turn, float(np.linalg.norm(way - true)), length


def test_depth_tells_a_turn_from_a_step_to_the_side() -> None:
    found = metric_step(mistaken(), views(), depths(), SIGMA_DEPTH)
    assert found is not None
    turn, way, length = errors(found)
    assert turn < 1e-4
    assert way < 1e-3
    assert abs(length) < 1e-3


def test_sigmas_hold_what_noise_does_and_the_length_has_no_bias() -> None:
    found = [
        metric_step(mistaken(0.3), views(0.1, seed), depths(0.05, 0.1, seed), SIGMA_DEPTH)
        for seed in range(24)
    ]
    assert all(one is not None for one in found)
    steps = [one for one in found if one is not None]
    turns, ways, lengths = np.array([errors(one) for one in steps]).T
    assert abs(lengths.mean()) < 0.025, lengths
    assert np.mean(ways <= 2.5 * np.array([one.sigma_m for one in steps])) > 0.9
    assert np.mean(turns <= 2.5 * np.array([one.sigma_turn for one in steps])) > 0.9
    assert turns.mean() < np.radians(0.5)


def test_residuals_change_as_their_derivatives_say() -> None:
    rng = np.random.default_rng(4)
    ray_i, ray_j = (np.c_[rng.uniform(-0.5, 0.5, (6, 2)), np.ones(6)] for _ in range(2))
    sides = _Sides(ray_i, ray_j, rng.normal(0.5, 0.3, 6), rng.normal(0.5, 0.3, 6), 1e-3, 0.0)
    T = rigid(rotation(np.array([0.02, -0.05, 0.03])), np.array([0.1, -0.05, 0.2]))
    residual, change = sides.residuals(T)
    for axis in range(6):
        step = np.zeros(6)
        step[axis] = 1e-6
        moved = rigid(rotation(step[:3]), step[3:]) @ T
        # Whitening turns with the pose: compare what whitening does not see, the length.
        size = np.linalg.norm(residual, axis=1)
        after = np.linalg.norm(sides.residuals(moved)[0], axis=1)
        expected = (residual * change[:, :, axis]).sum(axis=1) / size
        np.testing.assert_allclose((after - size) / 1e-6, expected, rtol=2e-3, atol=0.05)


def test_the_length_along_a_wrong_direction_is_another() -> None:
    """What the search mends: where it begins is what the edge and the depths said so far."""
    edge = mistaken()
    assert edge.tracks is not None
    tracks = replace(edge.tracks, log_depth_K2=edge.tracks.log_depth_K2 - 0.2)
    began = _length(
        [one[tracks.feature_K2[:, side]] for side, one in enumerate(depths())],
        replace(edge, tracks=tracks), SIGMA_DEPTH,
    )  # fmt: skip
    assert began == pytest.approx(np.exp(0.2) * np.linalg.norm(true_step()[:3, 3]), rel=0.01)
    found = metric_step(replace(edge, tracks=tracks), views(), depths(), SIGMA_DEPTH)
    assert found is not None
    assert abs(errors(found)[2]) < 1e-3


def test_nothing_is_said_without_depth_or_direction() -> None:
    edge, unknown = tracked_edge(FROM, TO), np.full_like(depths()[0], np.nan)
    assert edge.tracks is not None
    few = unknown.copy()
    seen = edge.tracks.feature_K2[:4, 0]
    few[seen] = depths()[0][seen]
    assert metric_step(edge, views(), (unknown, unknown), SIGMA_DEPTH) is None
    assert metric_step(edge, views(), (few, unknown), SIGMA_DEPTH) is None
    still = replace(edge, T_i_j=rigid(edge.T_i_j[:3, :3], np.zeros(3)))
    assert metric_step(still, views(), depths(), SIGMA_DEPTH) is None
    assert metric_step(replace(edge, tracks=None), views(), depths(), SIGMA_DEPTH) is None


def test_depth_of_one_camera_is_enough() -> None:
    one, unknown = depths()[0], np.full_like(depths()[1], np.nan)
    found = metric_step(mistaken(), views(), (one, unknown), SIGMA_DEPTH)
    assert found is not None
    assert errors(found)[1] < 2e-3
