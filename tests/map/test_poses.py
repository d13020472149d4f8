# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Stamped poses: what lies between two, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from g2vlm_map.poses import StampedPoses, between, inverse, rotation, rotation_vector
from tests.map.placed import NS, pose


def test_between_two_poses_is_the_straight_line_and_the_shortest_arc() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        a, b = (pose(rng.normal(size=3), rng.normal(size=3)) for _ in range(2))
        turns = Rotation.from_matrix([a[:3, :3], b[:3, :3]])
        for share in (0.0, 0.3, 1.0):
            found = between(a, b, share)
            np.testing.assert_allclose(
                found[:3, :3], Slerp([0, 1], turns)(share).as_matrix(), atol=1e-12
            )
            np.testing.assert_allclose(found[:3, 3], (1 - share) * a[:3, 3] + share * b[:3, 3])


def test_rotation_vectors_and_inverses_go_back() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        vector = rng.normal(size=3)
        vector *= rng.uniform(0.0, 3.1) / np.linalg.norm(vector)
        np.testing.assert_allclose(rotation_vector(rotation(vector)), vector, atol=1e-9)
        T = pose(vector, rng.normal(size=3))
        np.testing.assert_allclose(inverse(T) @ T, np.eye(4), atol=1e-12)


def test_lookups_interpolate_and_never_go_beyond_what_is_known() -> None:
    poses = StampedPoses()
    for second in range(1, 4):
        assert poses.add(second * NS // 4, pose(shift=(second, 0, 0))) == ""
    found = poses.at(3 * NS // 8)
    assert found is not None
    assert found[0, 3] == pytest.approx(1.5)
    assert poses.at(NS // 4 - 1) is None
    assert poses.at(3 * NS // 4 + 1) is None
    assert poses.add(2 * NS, pose(shift=(4, 0, 0))) == ""
    assert poses.at(NS) is None, "within a gap"
    assert poses.at(2 * NS) is not None


@pytest.mark.parametrize(
    ("stamp_ns", "T", "cause"),
    [
        (10 * NS, pose(), "order"),  # the same instant again
        (10 * NS - 1, pose(), "order"),
        (11 * NS, np.full((4, 4), np.nan), "value"),
        (11 * NS, np.eye(3), "value"),
        (11 * NS, np.diag([2.0, 2.0, 2.0, 1.0]), "value"),  # no rotation
        (11 * NS, np.diag([1.0, 1.0, -1.0, 1.0]), "value"),  # a mirror
    ],
)
def test_what_cannot_be_true_is_refused(stamp_ns: int, T: np.ndarray, cause: str) -> None:
    poses = StampedPoses()
    poses.add(9 * NS, pose())
    poses.add(10 * NS, pose(shift=(1, 0, 0)))
    assert poses.add(stamp_ns, T) == cause
    assert poses.refused[cause] == 1
    assert len(poses) == 2


@pytest.mark.parametrize(
    ("stamp_ns", "T", "cause"),
    [
        (2 * NS, pose(), "loop"),  # a bag that starts again
        (10 * NS + NS // 50, pose(shift=(5, 0, 0)), "leap"),  # an odometry that was reset
        (10 * NS + NS // 50, pose(turn=(0, 0, 2.0)), "leap"),
    ],
)
def test_nothing_is_interpolated_across_a_leap(stamp_ns: int, T: np.ndarray, cause: str) -> None:
    poses = StampedPoses()
    poses.add(9 * NS, pose())
    poses.add(10 * NS, pose())
    assert poses.add(stamp_ns, T) == cause
    assert poses.refused[cause] == 1
    assert len(poses) == 1
    assert poses.at((10 * NS + stamp_ns) // 2) is None
    assert poses.add(stamp_ns + NS // 10, T) == ""
    assert poses.at(stamp_ns + NS // 20) is not None


def test_memory_is_bounded() -> None:
    poses = StampedPoses(keep_s=1.0)
    for number in range(5000):
        poses.add(number * NS // 100, pose())
    assert len(poses) < 200
    assert poses.at(4999 * NS // 100 - NS // 2) is not None
