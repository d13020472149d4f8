# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The bytes of a cloud, units of answers: pure geometry."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks.instant_runtime import InstantScene, wall
from g2vlm_map.clouds import cloud, depth_image
from g2vlm_map.options import CloudOptions
from g2vlm_map.poses import quaternion_xyzw
from g2vlm_map.scenes import SceneRecord, SceneStore
from g2vlm_model.interface import (
    AnswerStatus,
    Frame,
    FrameWindow,
    GeometryPrediction,
    SpatialAnswer,
)

HEIGHT, WIDTH = 48, 64


def test_quaternions() -> None:
    for rotation in [*Rotation.random(50, random_state=3), Rotation.from_euler("y", np.pi)]:
        expected = rotation.as_quat()
        found = np.array(quaternion_xyzw(rotation.as_matrix()))
        assert found[3] >= 0
        np.testing.assert_allclose(abs(found @ expected), 1.0, atol=1e-12)


def geometry_with_holes() -> GeometryPrediction:
    base = wall((0.0, 0.5), HEIGHT, WIDTH)
    generator = np.random.default_rng(4)
    return dataclasses.replace(
        base,
        confidence=generator.random(base.valid.shape, np.float32),
        valid=generator.random(base.valid.shape) > 0.2,
        colors=generator.integers(0, 256, base.colors.shape, np.uint8),
    )


@pytest.mark.parametrize("decimation", [1, 3])
def test_cloud_against_the_plain_way(decimation: int) -> None:
    geometry = geometry_with_holes()
    rules = CloudOptions(decimation=decimation, min_confidence=0.3, min_range=2.1, max_range=4.5)
    scale = 2.0
    found = cloud(geometry, slice(1, 2), None, scale, rules)
    expected = []
    for v in range(0, HEIGHT, decimation):
        for u in range(0, WIDTH, decimation):
            point = geometry.local_points[1, v, u] * scale
            distance = np.linalg.norm(point)
            confidence = geometry.confidence[1, v, u]
            if geometry.valid[1, v, u] and confidence >= 0.3 and 2.1 <= distance <= 4.5:
                red, green, blue = (int(c) for c in geometry.colors[1, v, u])
                expected.append((*point, red << 16 | green << 8 | blue, confidence))
    assert 0 < len(expected) < HEIGHT * WIDTH / decimation**2
    assert len(found) == len(expected)
    rows = np.array(expected)
    for index, name in enumerate("xyz"):
        np.testing.assert_allclose(found[name], rows[:, index], rtol=1e-6)
    np.testing.assert_array_equal(found["rgb"].copy().view(np.uint32), rows[:, 3].astype(np.uint32))
    assert not np.isnan(found["rgb"]).any()
    np.testing.assert_allclose(found["confidence"], rows[:, 4], rtol=1e-6)


def test_organised_cloud_is_the_same_with_gaps() -> None:
    geometry = geometry_with_holes()
    rules = CloudOptions(min_confidence=0.3)
    plain = cloud(geometry, slice(0, 1), None, 1.0, rules)
    rows = cloud(geometry, slice(0, 1), None, 1.0, dataclasses.replace(rules, organized=True))
    assert rows.shape == (HEIGHT, WIDTH)
    assert rows[~np.isnan(rows["x"])].tobytes() == plain.tobytes()


def test_whole_window_lands_in_the_newest_camera() -> None:
    geometry = geometry_with_holes()
    T = np.linalg.inv(geometry.T_world_cam[1].astype(np.float64))
    found = cloud(geometry, slice(None), T, 3.0, CloudOptions(min_confidence=0.0))
    world = geometry.world_points[geometry.valid]
    expected = (world @ T[:3, :3].T + T[:3, 3]) * 3.0
    np.testing.assert_allclose(np.stack([found[n] for n in "xyz"], -1), expected, atol=1e-5)


def test_depth() -> None:
    geometry = geometry_with_holes()
    depth = depth_image(geometry, 0, 1.5, 0.5)
    keep = geometry.valid[0] & (geometry.confidence[0] >= 0.5)
    np.testing.assert_array_equal(np.isnan(depth), ~keep)
    np.testing.assert_allclose(depth[keep], 3.0)
    assert depth.dtype == np.float32


def record(scale: float = 1.0, stamp_ns: int = 1) -> SceneRecord:
    image = np.zeros((20, 30, 3), np.uint8)
    frames = tuple(Frame(image, stamp_ns + i, "optical", "cam", f"{stamp_ns}#{i}") for i in (0, 1))
    geometry = wall((0.0, 0.5), HEIGHT, WIDTH)
    return SceneRecord(InstantScene(FrameWindow(frames), geometry, {}), 1, scale, 1)


def test_answers_in_map_units() -> None:
    turn = Rotation.from_euler("xyz", [20, 30, 40], degrees=True).as_matrix()
    scene = record(scale=2.0)
    scene.scene.geometry.T_world_cam[1, :3, :3] = turn
    point = np.array([[1.0, 2.0, 3.0]], np.float32)
    answer = SpatialAnswer(
        AnswerStatus.OK, value=3.0, unit="scene_unit", sigma=0.5, measured_value=2.5, points=point
    )
    found = scene.in_map_units(answer)
    assert (found.value, found.sigma, found.measured_value) == (6.0, 1.0, 5.0)
    expected = turn.T @ (point[0] - [0.5, 0, 0]) * 2.0
    np.testing.assert_allclose(found.points[0], expected, rtol=1e-5)
    count = scene.in_map_units(dataclasses.replace(answer, unit=""))
    assert count.value == 3.0


def test_scenes_are_closed_once_and_not_while_in_use() -> None:
    store = SceneStore(keep=1)
    first, second = record(stamp_ns=10), record(stamp_ns=20)
    store.add(first)
    assert store.hold(0) is first
    store.add(second)
    assert not first.scene.closed  # type: ignore[attr-defined]
    store.release(first)
    assert first.scene.closed  # type: ignore[attr-defined]
    store.clear()
    assert second.scene.closed  # type: ignore[attr-defined]
    assert len(store) == 0
