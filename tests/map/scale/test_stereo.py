# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Two cameras whose distance is known: dense stereo, and features of a rig."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.mapping.features import find_features
from g2vlm_map.mapping.keyframe import Keyframe, PlacedKeyframe, View
from g2vlm_map.mapping.options import FeatureOptions
from g2vlm_map.poses import Floats, inverse, rigid, rotation
from g2vlm_map.recordings import open_rig
from g2vlm_map.scale.sources.rig import triangulated_ratio
from g2vlm_map.scale.sources.stereo import Eye, beside, dense_points, dense_ratio
from tests.map.scale.made import (
    METRES_PER_UNIT,
    T_BASE_CAM,
    Drive,
    K,
    base_pose,
    edges_back,
    room_depth,
    room_picture,
)

EUROC = Path(__file__).parents[3].parent / "shared" / "data" / "euroc_stereo"
WIDE_K = np.array([[240.0, 0.0, 159.5], [0.0, 240.0, 119.5], [0.0, 0.0, 1.0]])
WIDE = (240, 320)
RIGHT = rigid(np.eye(3), np.array([0.12, 0.0, 0.0]))
LEFT = rigid(np.eye(3), np.array([-0.12, 0.0, 0.0]))
ASKEW = rigid(rotation(np.array([0.01, 0.05, -0.02])), np.array([0.12, 0.004, 0.006]))


def moment(drive: Drive, number: int, T_body_other: Floats) -> PlacedKeyframe:
    """A keyframe of two cameras; the pictures of both are in the drive."""
    T_world_cam = base_pose(number) @ T_BASE_CAM
    first = drive.view(number, T_world_cam)
    second = replace(
        drive.view(number, T_world_cam @ T_body_other), camera="other", T_body_cam=T_body_other
    )
    views = tuple(
        replace(view, image_hw=WIDE, feature_F2=(view.feature_F2 + 0.5) * 4 - 0.5)
        for view in (first, second)
    )
    drive.pictures = {
        view.camera: room_picture(T_world_cam @ view.T_body_cam, view.K_image, WIDE)
        for view in views
    }
    T_map_body = T_world_cam.copy()
    T_map_body[:3, 3] /= METRES_PER_UNIT
    keyframe = Keyframe(number, first.stamp_ns, f"k{number}", views, {})
    return PlacedKeyframe(keyframe, T_map_body, 0.0, np.zeros((6, 6)), 1)


@pytest.mark.parametrize("T_body_other", [RIGHT, LEFT, ASKEW], ids=["right", "left", "askew"])
def test_dense_stereo_measures_the_depth_of_the_reference(T_body_other: Floats) -> None:
    drive = Drive(sources=("stereo",))
    for number in (0, 5, 9):
        drive.place(moment(drive, number, T_body_other))
    assert drive.tracker.estimate.sources == ("stereo",)
    assert drive.error(drive.tracker.estimate.log_depth_scale) == pytest.approx(0.0, abs=0.03)


def test_stereo_becomes_metric_after_a_while() -> None:
    drive = Drive(sources=("stereo",))
    for number in range(0, 27, 2):
        estimate = drive.place(moment(drive, number, RIGHT), edges_back(number))
    assert estimate.metric
    assert set(estimate.sources) == {"stereo", "stereo_path"}
    assert drive.error() == pytest.approx(0.0, abs=0.03)
    assert abs(drive.error()) <= 2 * estimate.sigma


def test_only_cameras_side_by_side_are_a_stereo_pair() -> None:
    picture = np.zeros((*WIDE, 3), np.uint8)

    def eye(T_body_cam: Floats) -> Eye:
        return Eye(picture, WIDE_K, T_body_cam)

    assert beside(eye(np.eye(4)), eye(ASKEW))
    assert not beside(eye(np.eye(4)), eye(np.eye(4)))
    ahead = rigid(np.eye(3), np.array([0.02, 0.0, 0.2]))
    turned = rigid(rotation(np.array([0.0, 0.8, 0.0])), np.array([0.2, 0.0, 0.0]))
    assert not beside(eye(np.eye(4)), eye(ahead))
    assert not beside(eye(np.eye(4)), eye(turned))


def test_pictures_without_a_pattern_say_nothing() -> None:
    drive = Drive()
    view = drive.view(0, base_pose(0) @ T_BASE_CAM)
    blank = np.full((*WIDE, 3), 90, np.uint8)
    assert dense_ratio(view, Eye(blank, WIDE_K, np.eye(4)), Eye(blank, WIDE_K, RIGHT)) is None


def seen(drive: Drive, T_body_cam: Floats, points_M3: Floats, seed: int, width: int) -> View:
    """A view of points (M, 3) in the body's axes, each with a descriptor of its own."""
    T_world_body = base_pose(0) @ T_BASE_CAM
    view = drive.view(0, T_world_body @ T_body_cam)
    local = (points_M3 - T_body_cam[:3, 3]) @ T_body_cam[:3, :3]
    pixel = local @ K.T
    rng = np.random.default_rng(seed)
    place = pixel[:, :2] / pixel[:, 2:] + rng.normal(0, 0.1, (len(points_M3), 2))
    descriptor = np.random.default_rng(3).integers(0, 256, (len(points_M3), width))
    return replace(
        view,
        camera=f"camera{seed}",
        T_body_cam=T_body_cam,
        feature_F2=place.astype(np.float32),
        descriptor_FE=descriptor.astype(np.uint8),
    )


def wall_points(T_body_other: Floats) -> Floats:
    """Points of the box that two cameras of a rig see."""
    T_world_body = base_pose(0) @ T_BASE_CAM
    depth = room_depth(T_world_body)
    rng = np.random.default_rng(4)
    place = rng.integers((4, 4), (56, 76), (300, 2))
    homogeneous = np.stack((place[:, 1], place[:, 0], np.ones(300)), axis=1)
    points = homogeneous @ np.linalg.inv(K).T * depth[place[:, 0], place[:, 1]][:, None]
    local = (points - T_body_other[:3, 3]) @ T_body_other[:3, :3] @ K.T
    inside = (local[:, 2] > 0) & (np.abs(local[:, 0] / local[:, 2] - 39.5) < 39)
    return np.asarray(points[inside])


WIDE_RIG = rigid(rotation(np.array([0.0, 0.5, 0.0])), np.array([0.3, 0.05, -0.1]))


@pytest.mark.parametrize("width", [32, 128], ids=["bits", "numbers"])
def test_a_rig_that_shares_a_part_of_its_view_measures_depth(width: int) -> None:
    drive = Drive()
    points = wall_points(WIDE_RIG)
    found = triangulated_ratio(
        seen(drive, np.eye(4), points, 1, width), seen(drive, WIDE_RIG, points, 2, width)
    )
    assert found is not None
    assert found.log_metric == pytest.approx(np.log(METRES_PER_UNIT), abs=0.02)


def test_a_tracker_hears_a_rig() -> None:
    drive = Drive(sources=("rig",))
    points = wall_points(WIDE_RIG)
    views = (seen(drive, np.eye(4), points, 1, 32), seen(drive, WIDE_RIG, points, 2, 32))
    T_map_body = base_pose(0) @ T_BASE_CAM
    for number in range(40):
        keyframe = Keyframe(number, drive.stamp(number), f"k{number}", views, {})
        drive.place(PlacedKeyframe(keyframe, T_map_body, 0.0, np.zeros((6, 6)), 1))
    estimate = drive.tracker.estimate
    assert estimate.sources == ("rig",)
    assert drive.error(estimate.log_depth_scale) == pytest.approx(0.0, abs=0.02)
    assert not estimate.metric  # it stands: nothing is known of the path


def test_extrinsics_that_the_pictures_contradict_are_refused() -> None:
    drive = Drive(sources=("rig",))
    points = wall_points(WIDE_RIG)
    off = rigid(rotation(np.array([0.0, 0.7, 0.1])), WIDE_RIG[:3, 3])
    lying = replace(seen(drive, WIDE_RIG, points, 2, 32), T_body_cam=off)
    views = (seen(drive, np.eye(4), points, 1, 32), lying)
    keyframe = Keyframe(0, drive.stamp(0), "k0", views, {})
    drive.place(PlacedKeyframe(keyframe, np.eye(4), 0.0, np.zeros((6, 6)), 1))
    assert "extrinsics" in drive.reason("SENSOR_REFUSED")
    assert not np.isfinite(drive.tracker.estimate.sigma)


def test_the_pictures_of_the_test_fit_its_depth() -> None:
    """A pixel of one picture looks like the pixel of the other that sees the same point."""
    T_world_cam = base_pose(0) @ T_BASE_CAM
    first = room_picture(T_world_cam, WIDE_K, WIDE)[..., 0].astype(float)
    second = room_picture(T_world_cam @ RIGHT, WIDE_K, WIDE)[..., 0].astype(float)
    depth = room_depth(T_world_cam, WIDE_K, WIDE)
    row, column = np.mgrid[20:220:7, 60:300:7].reshape(2, -1)
    ray = np.stack((column, row, np.ones_like(row)), 1) @ np.linalg.inv(WIDE_K).T
    point = ray * depth[row, column][:, None]
    local = (point @ inverse(RIGHT)[:3, :3].T + inverse(RIGHT)[:3, 3]) @ WIDE_K.T
    place: NDArray[np.int64] = np.rint(local[:, :2] / local[:, 2:]).astype(np.int64)
    inside = place[:, 0] >= 0
    difference = np.abs(first[row, column] - second[place[:, 1], place[:, 0]])[inside]
    assert np.median(difference) < 12
    assert np.median(np.abs(first[row, column] - second[row, column])) > 20


@pytest.mark.skipif(not EUROC.is_dir(), reason=f"no recording at {EUROC}")
def test_dense_and_sparse_depth_of_a_real_pair_agree() -> None:
    """One view of EuRoC V1_01: two ways to the depth that share the calibration only."""
    rig = list(open_rig(EUROC, limit=1).cameras.values())
    lenses = [source.info.calibration for source in rig]
    poses = [source.info.T_body_cam for source in rig]
    assert lenses[0] is not None
    straight_K = lenses[0].K
    eyes, views = [], []
    for source, lens, T_rig_cam in zip(rig, lenses, poses, strict=True):
        assert lens is not None
        assert T_rig_cam is not None
        assert poses[0] is not None
        frame = next(iter(source.frames([0]))).rgb()
        picture = cv2.undistort(frame, lens.K, np.array(lens.distortion), None, straight_K)
        T_body_cam = inverse(poses[0]) @ T_rig_cam
        eyes.append(Eye(np.asarray(picture, np.uint8), straight_K, T_body_cam))
        found = find_features(eyes[-1].picture_HW3, FeatureOptions())
        height, width = picture.shape[0] // 4, picture.shape[1] // 4
        K = straight_K / 4
        K[:2, 2], K[2, 2] = (straight_K[:2, 2] + 0.5) / 4 - 0.5, 1
        views.append(
            View(
                camera=source.info.camera,
                frame_id=source.info.camera,
                stamp_ns=0,
                T_body_cam=T_body_cam,
                K=K,
                image_hw=picture.shape[:2],
                depth_HW=np.zeros((height, width), np.float16),
                confidence_HW=np.full((height, width), 255, np.uint8),
                color_HW3=np.zeros((height, width, 3), np.uint8),
                feature_F2=found.pixel_F2,
                descriptor_FE=found.descriptor_FE,
            )
        )
    pixel_M2, depth_M = dense_points(views[0], *eyes)
    assert len(depth_M) > 2000
    column, row = np.rint(pixel_M2).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    views[0].depth_HW[row[inside], column[inside]] = depth_M[inside]
    sparse_over_dense = triangulated_ratio(*views)
    assert sparse_over_dense is not None
    assert sparse_over_dense.pixels > 80
    assert abs(sparse_over_dense.log_metric) < 0.02
    assert sparse_over_dense.spread < 0.06
