# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Lengths of steps by the pictures alone, that wheels are held against."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.poses import Floats, inverse
from g2vlm_map.scale.samples import Samples
from g2vlm_map.scale.sources.odometry import OdometrySource
from g2vlm_map.scale.sources.seen_steps import SeenSteps
from g2vlm_map.scale.sources.sight import Sight
from g2vlm_map.sensing import Extrinsics, OdometrySample
from tests.map.scale.made import T_BASE_CAM, Drive, base_pose, edges_back


def true_step(i: int, j: int) -> Floats:
    """(3,) of camera j in camera i, metres."""
    poses = [base_pose(number) @ T_BASE_CAM for number in (i, j)]
    return (inverse(poses[0]) @ poses[1])[:3, 3]


def shown(count: int) -> SeenSteps:
    steps = SeenSteps()
    for number in range(count):
        steps.add(number, edges_back(number))
    return steps


def test_steps_are_as_long_beside_each_other_as_they_are() -> None:
    """No depth and no wheels: what edges share of features says it."""
    steps = shown(20)
    pairs = [(number, number + 1) for number in range(13, 19)]
    lengths = np.array([steps.log_length(*pair, true_step(*pair)) for pair in pairs])
    true = np.log([np.linalg.norm(true_step(*pair)) for pair in pairs])
    np.testing.assert_allclose(np.diff(lengths), np.diff(true), atol=0.02)


def test_lengths_that_odometry_gave_edges_do_not_matter() -> None:
    steps = SeenSteps()
    for number in range(20):
        edges = edges_back(number)
        for edge in edges:
            edge.T_i_j[:3, 3] *= 1 + number % 3
        steps.add(number, edges)
    step = true_step(18, 19)
    assert steps.log_length(18, 19, step) == pytest.approx(shown(20).log_length(18, 19, step))


@pytest.mark.parametrize(
    "step_3",
    [np.array([0.1, 0.0, 0.0]), -true_step(9, 10), np.zeros(3), np.full(3, math.nan)],
    ids=["aside", "back", "nowhere", "not finite"],
)
def test_a_step_that_leads_elsewhere_by_odometry_is_held_against_nothing(step_3: Floats) -> None:
    assert math.isnan(shown(11).log_length(9, 10, step_3))


def test_what_no_edge_ties_has_no_length() -> None:
    steps = shown(11)
    assert math.isnan(steps.log_length(1, 2, true_step(1, 2)))  # out of the window
    steps.add(11, ())
    assert math.isnan(steps.log_length(10, 11, true_step(10, 11)))
    steps.add(12, [replace(edge, tracks=None) for edge in edges_back(12)])
    assert math.isnan(steps.log_length(11, 12, true_step(11, 12)))
    steps.forget()
    assert math.isnan(steps.log_length(9, 10, true_step(9, 10)))


def test_chords_of_wheels_tell_what_denied_edges_saw() -> None:
    drive, source, samples = Drive(), OdometrySource(), Samples()
    samples.add(Extrinsics("camera", T_BASE_CAM))
    for number in range(8):
        samples.add(OdometrySample(drive.stamp(number), base_pose(number), 0.02))
    found = []
    for number in range(7):
        drive.add(number)
        sight = Sight(drive.placed[number], drive.placed, denied=edges_back(number))
        found += [item for item in source.measure(sight, samples) if not item.open]
    assert [(item.start, item.keyframe) for item in found] == [(0, 3), (3, 6)]
    for item in found:
        assert len(item.seen) == len(item.between) + 1 == 3
        assert np.isfinite(item.seen).all()
