# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Up, the base, the covariance of its pose, and what lies between map and odom."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from g2vlm_map.axes import LevelAxes, base_pose, floor_normal, map_to_odom, pose_covariance
from g2vlm_map.mapping.keyframe import PlacedKeyframe
from g2vlm_map.sensing import Extrinsics, Gravity
from g2vlm_map.world import World
from tests.map.placed import NS, Floats, floor_depth, mounted, placed, pose

SCALE = 2.5  # metres per map unit


def drive(
    T_base_cam: Floats, count: int = 8, units: float = SCALE
) -> tuple[list[Floats], list[PlacedKeyframe]]:
    """T_level_base of a drive in metres that starts at the origin, and its keyframes in units."""
    truth = [pose((0, 0, 0.1 * k), (0.4 * k, 0.02 * k * k, 0.0)) for k in range(count)]
    T_cam0 = truth[0] @ T_base_cam
    keyframes = []
    for number, T in enumerate(truth, start=1):
        T_map_body = np.linalg.inv(T_cam0) @ T @ T_base_cam
        T_map_body[:3, 3] /= units
        keyframes.append(placed(number, T_map_body))
    return truth, keyframes


def test_the_base_starts_at_the_origin_with_z_up_and_drives_level() -> None:
    T_base_cam = mounted(tilt=0.3)
    truth, keyframes = drive(T_base_cam)
    axes = LevelAxes("camera")
    axes.take(Extrinsics("other", pose()))
    axes.take(Extrinsics("camera", T_base_cam))
    T_level_map, source = axes.level(1, keyframes, SCALE)
    assert source == "base"
    for T, item in zip(truth, keyframes, strict=True):
        found = base_pose(T_level_map, item.T_map_body, T_base_cam, SCALE)
        np.testing.assert_allclose(found, T, atol=1e-9)


def test_segments_that_the_map_lets_go_are_forgotten() -> None:
    """Stamps that leap begin segments without end; the map keeps those within its bound."""
    axes = LevelAxes("camera")
    kept: list[PlacedKeyframe] = []
    for segment in range(1, 101):
        kept = [*kept[-4:], placed(segment, pose(), segment=segment)]
        axes.level(segment, kept, None)
    held = [one for one in gc.get_referents(axes.__dict__["_levels"]) if not isinstance(one, int)]
    assert len(held) == len(kept)


def test_without_a_scale_the_first_camera_is_the_origin_and_the_lever_is_left_out() -> None:
    T_base_cam = mounted(tilt=0.3)
    _, keyframes = drive(T_base_cam)
    axes = LevelAxes("camera")
    axes.take(Extrinsics("camera", T_base_cam))
    T_level_map, _ = axes.level(1, keyframes, None)
    np.testing.assert_allclose((T_level_map @ keyframes[0].T_map_body)[:3, 3], 0.0, atol=1e-12)
    np.testing.assert_allclose(
        (T_level_map @ keyframes[0].T_map_body)[:3, :3], T_base_cam[:3, :3], atol=1e-12
    )


def test_an_imu_corrects_the_tilt_of_a_base_that_started_on_a_ramp() -> None:
    T_base_cam = mounted()
    ramp = Rotation.from_euler("y", 0.2).as_matrix()  # the base's nose points down
    _, keyframes = drive(T_base_cam)
    axes = LevelAxes("camera")
    axes.take(Extrinsics("camera", T_base_cam))
    up_base_first = ramp.T @ [0.0, 0.0, 1.0]
    for item in keyframes:
        yaw = Rotation.from_rotvec([0, 0, 0.1 * (item.keyframe.number - 1)]).as_matrix()
        axes.take(Gravity(item.keyframe.stamp_ns + NS // 20, yaw.T @ up_base_first, 0.02))
    T_level_map, source = axes.level(1, keyframes, SCALE)
    assert source == "imu"
    first = base_pose(T_level_map, keyframes[0].T_map_body, T_base_cam, SCALE)
    np.testing.assert_allclose(first[:3, :3], ramp, atol=1e-9)
    np.testing.assert_allclose(first[:3, 3], 0.0, atol=1e-9)


def test_an_imu_is_heard_once_and_then_only_where_it_knows_more() -> None:
    T_base_cam = mounted()
    _, keyframes = drive(T_base_cam)
    axes = LevelAxes("camera")
    rng = np.random.default_rng(0)
    changes = 0
    before = None
    for count, item in enumerate(keyframes, start=1):
        up = T_base_cam[:3, :3].T @ [0.0, 0.0, 1.0] + rng.normal(0, 0.05, 3)
        axes.take(Gravity(item.keyframe.stamp_ns, up / np.linalg.norm(up), 0.05))
        T_level_map, _ = axes.level(1, keyframes[:count], SCALE)
        changes += before is not None and not np.array_equal(before, T_level_map)
        before = T_level_map
    assert changes == 1, "at the fourth keyframe"


def test_gravity_of_another_time_says_nothing() -> None:
    _, keyframes = drive(mounted())
    axes = LevelAxes("camera")
    axes.take(Gravity(keyframes[-1].keyframe.stamp_ns + NS, np.array([0.0, 0.0, 1.0]), 0.02))
    assert axes.level(1, keyframes, SCALE)[1] == ""


@pytest.mark.parametrize("tilt", [0.1, 0.5])
def test_the_floor_says_up_where_nobody_else_does(tilt: float) -> None:
    depth = floor_depth(0.8, tilt)
    keyframes = [placed(n, pose(shift=(0, 0, 0.1 * n)), depth_HW=depth) for n in (1, 2)]
    axes = LevelAxes("camera")
    assert axes.level(1, keyframes[:1], None)[1] == "", "one keyframe is not believed"
    T_level_map, source = axes.level(1, keyframes, None)
    assert source == "floor"
    up_camera = np.array([0.0, -np.cos(tilt), -np.sin(tilt)])
    off = np.degrees(np.arccos(T_level_map[2, :3] @ up_camera))
    assert off < 1.0, f"{off:.2f} deg"
    assert (T_level_map[:3, :3] @ [0.0, 0.0, 1.0])[0] > 0.8, "x looks forward"


def test_a_wall_is_no_floor() -> None:
    wall = np.full((48, 64), 2.0, np.float16)
    assert floor_normal(placed(1, pose(), depth_HW=wall)) is None
    assert floor_normal(placed(1, pose())) is None, "no depth at all"
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.5, 5.0, (48, 64)).astype(np.float16)
    assert floor_normal(placed(1, pose(), depth_HW=noise)) is None


def test_a_better_source_takes_over_and_is_told() -> None:
    depth = floor_depth(0.8, 0.1)
    keyframes = tuple(placed(n, pose(shift=(0, 0, 0.1 * n)), depth_HW=depth) for n in (1, 2))
    axes = LevelAxes("camera")
    world, told = axes.apply(World(segment=1, keyframes=keyframes))
    assert (world.up_source, told) == ("floor", "")
    assert axes.apply(world)[1] == "", "nothing new"
    axes.take(Extrinsics("camera", mounted(tilt=0.1)))
    world, told = axes.apply(world)
    assert world.up_source == "base"
    assert "up is by base now" in told
    assert world.T_base_body is not None
    axes.forget()
    assert axes.apply(world)[1] == "", "a new start"


def test_map_to_odom_composes_to_the_pose() -> None:
    T_map_base, T_odom_base = pose((0, 0, 0.3), (1, 2, 0)), pose((0, 0, -0.1), (0.5, 0, 0))
    np.testing.assert_allclose(map_to_odom(T_map_base, T_odom_base) @ T_odom_base, T_map_base)


def test_the_covariance_is_that_of_poses_drawn_from_it() -> None:
    """6,000 drawn errors of body and scale, taken through `base_pose`."""
    rng = np.random.default_rng(1)
    T_base_cam = mounted((0.5, 0.1, 0.8), tilt=0.2)
    T_level_map = pose((0.4, -0.2, 1.1))  # a rotation: the first base is the origin nearly
    T_map_body = pose((0.1, 0.5, -0.3), (1.0, -0.4, 2.0))
    root = rng.normal(0, 1, (6, 6)) * [[0.01]] * 3 + rng.normal(0, 0.004, (6, 6))
    covariance = root @ root.T
    sigma = 0.02
    drawn = []
    expected = base_pose(T_level_map, T_map_body, T_base_cam, SCALE)
    for error in rng.multivariate_normal(np.zeros(6), covariance, 6_000):
        T = T_map_body.copy()
        T[:3, 3] += error[:3]
        T[:3, :3] = Rotation.from_rotvec(error[3:]).as_matrix() @ T[:3, :3]
        found = base_pose(T_level_map, T, T_base_cam, SCALE)
        scaled = found[:3, 3] + rng.normal(0, sigma) * expected[:3, 3]
        turn = Rotation.from_matrix(found[:3, :3] @ expected[:3, :3].T).as_rotvec()
        drawn.append(np.concatenate([scaled - expected[:3, 3], turn]))
    found_66 = pose_covariance(T_level_map, T_map_body, T_base_cam, covariance, SCALE, sigma)
    difference = np.abs(np.cov(np.array(drawn).T) - found_66).max() / np.abs(found_66).max()
    assert difference < 0.06, difference
    mean_nees = np.einsum("ni,ij,nj->n", drawn, np.linalg.inv(found_66), drawn).mean()
    assert mean_nees == pytest.approx(6.0, rel=0.05)


def test_a_stored_level_stands_whatever_the_sensors_say() -> None:
    """Goals that were noted in it are kept elsewhere: they would lie somewhere else."""
    T_base_cam = mounted(tilt=0.3)
    _, keyframes = drive(T_base_cam)
    T_level_map = pose((0.3, -0.2, 0.1), (1.0, 2.0, 3.0))
    stored = World(
        version=1, segment=1, keyframes=tuple(keyframes), T_level_map=T_level_map, up_source="floor"
    )
    axes = LevelAxes("camera")
    axes.restore(stored)
    axes.take(Extrinsics("camera", T_base_cam))
    for item in keyframes:
        axes.take(Gravity(item.keyframe.stamp_ns, np.array([0.0, 0.0, 1.0]), 0.01))
    for scale in (None, SCALE):
        found, source = axes.level(1, keyframes, scale)
        np.testing.assert_allclose(found, T_level_map, atol=1e-12)
        assert source == "floor"


def test_a_stored_map_that_did_not_know_up_is_levelled_by_who_does() -> None:
    T_base_cam = mounted(tilt=0.3)
    _, keyframes = drive(T_base_cam)
    axes = LevelAxes("camera")
    axes.restore(World(version=1, segment=1, keyframes=tuple(keyframes)))
    axes.take(Extrinsics("camera", T_base_cam))
    assert axes.level(1, keyframes, SCALE)[1] == "base"
