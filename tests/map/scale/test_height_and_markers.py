# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The floor, and square markers, as sources of the scale."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from g2vlm_map.poses import Floats, rigid, rotation
from g2vlm_map.scale.sources.height import floor_height
from g2vlm_map.sensing import Extrinsics, Gravity
from tests.map.scale.made import METRES_PER_UNIT, SIZE, T_BASE_CAM, Drive, K, base_pose, room_depth

UP_CAM = T_BASE_CAM[:3, :3].T @ np.array([0.0, 0.0, 1.0])


def tilted(down: float) -> Floats:
    """T_base_cam of a camera that looks down by an angle in rad."""
    T = T_BASE_CAM
    return rigid(T[:3, :3] @ rotation(np.array([-down, 0.0, 0.0])), T[:3, 3])


def test_the_floor_of_a_room_is_found() -> None:
    for down in (0.0, 0.2, 0.5):
        T_base_cam = tilted(down)
        depth = room_depth(base_pose(3) @ T_base_cam)
        height = floor_height(depth, K, T_base_cam[:3, :3].T @ np.array([0.0, 0.0, 1.0]))
        assert height == pytest.approx(0.5, rel=0.03), down


def test_a_table_with_a_view_of_what_lies_below_is_no_floor() -> None:
    depth = room_depth(base_pose(3) @ T_BASE_CAM)
    row = np.arange(SIZE[0])[:, None] * np.ones(SIZE[1])
    table = 0.2 / np.maximum((row - K[1, 2]) / K[1, 1], 1e-3)  # 20 cm below the camera
    covered = (row > 40) & (np.arange(SIZE[1]) < 60)
    assert floor_height(np.where(covered, table, depth), K, UP_CAM) == pytest.approx(0.5, rel=0.03)
    narrow = depth.copy()
    narrow[row < 45] = 0.0  # only some of the floor beside it is left
    assert floor_height(np.where(covered, table, narrow), K, UP_CAM) is None


def test_walls_and_slopes_are_no_floor() -> None:
    assert floor_height(np.full(SIZE, 2.0), K, UP_CAM) is None
    ramp = room_depth(base_pose(3) @ T_BASE_CAM)
    up = rotation(np.array([0.3, 0.0, 0.0])) @ UP_CAM
    assert floor_height(ramp, K, up) is None
    assert floor_height(np.zeros(SIZE), K, UP_CAM) is None


def test_the_height_of_the_camera_is_weak_and_never_carries_alone() -> None:
    drive = Drive(camera_height=0.5)
    drive.mount()
    for number in range(80):
        estimate = drive.add(number)
        assert not estimate.metric
        assert number < 4 or estimate.sigma >= 0.3
    assert estimate.sources == ("height",)
    assert drive.error() == pytest.approx(0.0, abs=0.05)


def test_a_floor_that_changes_its_height_is_none() -> None:
    drive = Drive(camera_height=0.5)
    drive.mount()
    for number in range(40):
        bias = 0.25 * (number % 2)
        T_world_cam = base_pose(number) @ T_BASE_CAM
        units = room_depth(T_world_cam) / METRES_PER_UNIT * np.exp(bias)
        drive.add(number, depth_HW=units.astype(np.float16))
    assert not np.isfinite(drive.tracker.estimate.sigma)


def test_gravity_says_which_way_is_up_where_the_base_is_not_level() -> None:
    drive = Drive(camera_height=0.5)
    lean = rotation(np.array([0.0, 0.3, 0.0]))
    T_lean_cam = rigid(lean.T, np.zeros(3)) @ T_BASE_CAM
    drive.tracker.sense(Extrinsics("camera", T_lean_cam))
    for number in range(10):
        drive.tracker.sense(Gravity(drive.stamp(number), lean.T @ np.array([0.0, 0, 1]), 0.01))
        drive.add(number)
    assert drive.tracker.estimate.sources == ("height",)
    assert drive.error() == pytest.approx(0.0, abs=0.05)


def marker_picture(metres: float, size: float, wide_K: Floats) -> tuple[np.ndarray, float]:
    """A picture of a wall with a marker straight ahead, and its distance."""
    family = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    tile = cv2.aruco.generateImageMarker(family, 7, 240)
    picture = np.full((480, 640), 255, np.uint8)
    half = size / 2
    square = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    corner = square / metres * wide_K[0, 0] + wide_K[:2, 2]
    source = np.array([[-0.5, -0.5], [239.5, -0.5], [239.5, 239.5], [-0.5, 239.5]], np.float32)
    warp = cv2.getPerspectiveTransform(source, corner.astype(np.float32))
    drawn = cv2.warpPerspective(
        tile, warp, (640, 480), picture, cv2.INTER_AREA, cv2.BORDER_TRANSPARENT
    )
    return np.repeat(drawn[..., None], 3, axis=2), metres


@pytest.mark.parametrize("metres", [0.6, 1.5])
def test_a_marker_of_a_known_size_fixes_the_scale_of_the_depth(metres: float) -> None:
    drive = Drive(marker_size=0.16)
    units = np.full(SIZE, metres / METRES_PER_UNIT, np.float16)
    view = drive.view(0, base_pose(0) @ T_BASE_CAM)
    wide_K = replace(view, image_hw=(480, 640)).K_image
    drive.pictures = {"camera": marker_picture(metres, 0.16, wide_K)[0]}
    for number in range(40):
        estimate = drive.add(number, image_hw=(480, 640), depth_HW=units)
    assert estimate.sources == ("fiducial",)
    assert drive.error(estimate.log_depth_scale) == pytest.approx(0.0, abs=0.03)
    assert not estimate.metric  # no edge says how far the camera went


def test_a_picture_without_a_marker_says_nothing() -> None:
    drive = Drive(marker_size=0.16)
    drive.pictures = {"camera": np.full((480, 640, 3), 255, np.uint8)}
    assert not np.isfinite(drive.add(0, image_hw=(480, 640)).sigma)
