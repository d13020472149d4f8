"""Poses between stamps."""

from __future__ import annotations

import numpy as np

from g2vlm_map.pose_buffer import NS, PoseBuffer
from tests.map.keyframes_made import pose, turn_between_deg


def test_poses_between_two_stamps_are_interpolated() -> None:
    buffer = PoseBuffer()
    buffer.add(NS, pose((0, 0, 0), (0, 0, 0)))
    buffer.add(NS + NS // 2, pose((0, 0, 60), (1, 2, 0)))
    middle = buffer.at(NS + NS // 4)
    assert middle is not None
    np.testing.assert_allclose(middle[:3, 3], (0.5, 1, 0))
    assert turn_between_deg(middle, pose((0, 0, 30), (0, 0, 0))) < 1e-9
    across = buffer.between(NS, NS + NS // 4)
    np.testing.assert_allclose(across, middle)


def test_nothing_is_known_outside_and_in_gaps() -> None:
    buffer = PoseBuffer(max_gap_s=0.5)
    assert buffer.at(0) is None
    for stamp in (NS, 3 * NS):
        buffer.add(stamp, np.eye(4))
    assert buffer.at(NS) is not None
    assert buffer.at(2 * NS) is None, "a gap of 2 s"
    assert buffer.at(NS - 1) is None
    assert buffer.at(3 * NS + 1) is None
    assert buffer.between(NS, 2 * NS) is None
    buffer.clear()
    assert buffer.at(NS) is None


def test_late_and_double_poses_fall_into_place_and_old_ones_fall_out() -> None:
    buffer = PoseBuffer(keep=100, max_gap_s=10)
    for stamp in (3, 1, 2, 2):
        buffer.add(stamp, pose((0, 0, 0), (10.0 * stamp, 0, 0)))
    assert len(buffer) == 3
    found = buffer.at(2)
    assert found is not None
    assert found[0, 3] == 20
    for stamp in range(10, 1000):
        buffer.add(stamp, np.eye(4))
    assert 100 <= len(buffer) <= 125
    assert buffer.at(900) is not None
    assert buffer.at(20) is None
