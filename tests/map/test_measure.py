# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measurements on synthetic geometry whose answers are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.answers import measure
from g2vlm_model.interface import Frame, FrameWindow, GeometryPrediction, PixelMark

F = 20.0  # focal length of the synthetic camera, pixels


def yaw(deg: float) -> NDArray[np.float64]:
    """Rotation about the camera's y axis (down): a positive angle turns to the right."""
    c, s = np.cos(np.radians(deg)), np.sin(np.radians(deg))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def make_scene(
    depth_NHW: NDArray[np.float64], T_world_cam: NDArray[np.float64], original: tuple[int, int]
) -> tuple[GeometryPrediction, FrameWindow]:
    count, height, width = depth_NHW.shape
    v, u = np.mgrid[:height, :width]
    rays = np.stack([(u - (width - 1) / 2) / F, (v - (height - 1) / 2) / F, np.ones(u.shape)], -1)
    local = rays[None] * depth_NHW[..., None]
    world = np.einsum("nij,nhwj->nhwi", T_world_cam[:, :3, :3], local)
    world = world + T_world_cam[:, None, None, :3, 3]
    geometry = GeometryPrediction(
        local_points=local.astype(np.float32),
        world_points=world.astype(np.float32),
        T_world_cam=T_world_cam.astype(np.float32),
        confidence=np.full(depth_NHW.shape, 0.9, np.float32),
        valid=np.isfinite(depth_NHW),
        K=np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)),
        colors=np.zeros((*depth_NHW.shape, 3), np.uint8),
        confidence_source="head",
    )
    image = np.zeros((*original, 3), np.uint8)
    window = FrameWindow(tuple(Frame(image, i, "cam", "cam", str(i)) for i in range(count)))
    return geometry, window


def poses(count: int) -> NDArray[np.float64]:
    return np.tile(np.eye(4), (count, 1, 1))


def test_model_pixel_keeps_edges_and_centre() -> None:
    assert measure.model_pixel(0, 0, (480, 640), (240, 320)) == (0.0, 0.0)  # -0.25 clamped
    assert measure.model_pixel(319.5, 239.5, (480, 640), (84, 112)) == (55.5, 41.5)
    assert measure.model_pixel(639.5, 479.5, (480, 640), (84, 112)) == (111.0, 83.0)


def test_points_at_reads_the_marked_pixel_of_the_original_picture() -> None:
    depth = np.full((1, 8, 12), 2.0)
    depth[0, 3, 7] = 5.0
    geometry, window = make_scene(depth, poses(1), (16, 24))
    marked = measure.points_at(geometry, window, [PixelMark(0, 14.5, 6.5, "A")])
    assert marked.found.tolist() == [True]
    assert marked.depth[0] == 5.0
    assert np.allclose(marked.local[0], [(7 - 5.5) / F * 5, (3 - 3.5) / F * 5, 5.0])
    assert marked.index("a") == 0
    assert marked.index("B") is None


def test_points_at_steps_to_the_nearest_valid_pixel() -> None:
    depth = np.full((1, 9, 9), 2.0)
    depth[0, 4, 4] = np.nan
    depth[0, 4, 5] = 3.0
    geometry, window = make_scene(depth, poses(1), (9, 9))
    marked = measure.points_at(geometry, window, [PixelMark(0, 4.4, 4.0)])
    assert marked.depth[0] == 3.0


def test_points_at_reports_marks_without_any_point() -> None:
    geometry, window = make_scene(np.full((1, 9, 9), np.nan), poses(1), (9, 9))
    marked = measure.points_at(geometry, window, [PixelMark(0, 4, 4)])
    assert not marked.found[0]
    assert np.isnan(marked.world).all()
    assert marked.confidence[0] == 0.0


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (PixelMark(2, 1, 1, "A"), "frame_index is 2"),
        (PixelMark(-1, 1, 1, "A"), "frame_index is -1"),
        (PixelMark(0, 24.0, 1, "A"), "outside the 24x16 picture"),
        (PixelMark(0, float("nan"), 1, "A"), "outside"),
        (PixelMark(1, 3, -0.6, "A"), "frame 1"),
    ],
)
def test_marks_off_the_pictures_are_refused(mark: PixelMark, words: str) -> None:
    _, window = make_scene(np.ones((2, 8, 12)), poses(2), (16, 24))
    with pytest.raises(ValueError, match=words):
        window.check_marks([mark])


def test_two_marks_with_one_label_are_refused() -> None:
    _, window = make_scene(np.ones((1, 8, 12)), poses(1), (16, 24))
    with pytest.raises(ValueError, match="share a label"):
        window.check_marks([PixelMark(0, 1, 1, "A"), PixelMark(0, 2, 2, "a")])


def test_distance_uses_both_cameras() -> None:
    transforms = poses(2)
    transforms[1, :3, :3] = yaw(90)
    transforms[1, :3, 3] = [1.0, 0.0, 0.0]
    geometry, window = make_scene(np.full((2, 9, 9), 2.0), transforms, (9, 9))
    marks = [PixelMark(0, 4, 4, "A"), PixelMark(1, 4, 4, "B")]
    marked = measure.points_at(geometry, window, marks)
    # Frame 0 sees (0, 0, 2); frame 1 looks along +x from (1, 0, 0) and sees (3, 0, 0).
    assert np.allclose(marked.world, [[0, 0, 2], [3, 0, 0]], atol=1e-6)
    assert measure.distance_between(*marked.world) == pytest.approx(np.sqrt(13), rel=1e-6)


@pytest.mark.parametrize("deg", [-179.0, -20.0, 0.0, 1e-4, 75.0, 180.0])
def test_turn_between_reads_angle_and_side(deg: float) -> None:
    start, end = np.eye(4), np.eye(4)
    start[:3, :3] = yaw(12.0)
    end[:3, :3] = yaw(12.0) @ yaw(deg)
    angle, turned = measure.turn_between(start, end)
    assert angle == pytest.approx(abs(deg), abs=1e-9)
    assert abs(turned) == pytest.approx(abs(deg), abs=1e-9)
    if 0 < abs(deg) < 180:
        assert np.sign(turned) == np.sign(deg)


def test_nearest_needs_a_lead() -> None:
    assert measure.nearest(np.array([3.0, 1.0, 2.0])) == 1
    assert measure.nearest(np.array([np.nan, 1.0, 2.0])) == 1
    assert measure.nearest(np.array([1.0, np.nan])) is None
    assert measure.nearest(np.array([1.0, 1.04]), margin=0.05) is None
    assert measure.nearest(np.array([1.0, 1.06]), margin=0.05) == 0
