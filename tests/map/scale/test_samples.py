# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What sensors said lately is kept by time, each sensor for itself."""

from __future__ import annotations

import numpy as np

from g2vlm_map.scale.samples import Samples
from g2vlm_map.sensing import DepthSample, PointSample

NS = 1_000_000_000
NEAR_NS = NS // 20


def depth(camera: str, stamp_ns: int, width: int = 4) -> DepthSample:
    return DepthSample(stamp_ns, camera, np.ones((width, width), np.float32), np.eye(3), np.eye(4))


def test_two_fast_depth_cameras_do_not_take_each_others_history() -> None:
    """A keyframe is asked about after its pass: 2 s ago is not too long."""
    samples = Samples()
    for k in range(150):
        for camera in ("left", "right"):
            samples.add(depth(camera, NS + k * NS // 30))
    end_ns = NS + 149 * NS // 30
    for ago_s in (0.0, 2.0, 3.5):
        for camera in ("left", "right"):
            assert samples.depth(camera, end_ns - int(ago_s * NS), NEAR_NS) is not None
    assert samples.depth("left", NS, NEAR_NS) is None, "that long ago is forgotten"
    assert samples.depth("rear", end_ns, NEAR_NS) is None
    assert samples.complaints() == []


def test_what_stands_before_a_leap_of_time_goes() -> None:
    samples = Samples()
    samples.add(depth("left", 1000 * NS))
    samples.add(depth("left", 10 * NS))
    assert samples.depth("left", 1000 * NS, NEAR_NS) is None
    assert samples.depth("left", 10 * NS, NEAR_NS) is not None


def test_a_history_that_memory_cuts_short_is_complained_of() -> None:
    samples, cloud = Samples(), np.zeros((20_000, 3), np.float32)
    for k in range(500):
        samples.add(PointSample(NS + k * NS // 1000, cloud, np.eye(4), False))
    (complaint,) = samples.complaints()
    assert "clouds come so fast" in complaint
    kept = sum(size for _, size in samples._points._samples)
    assert kept <= 48_000_000
