# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Straight frames out of bent ones: pixels, marks, rims, and a calibration that changes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.calibration import CameraCalibration
from g2vlm_map.camera_model import CameraModel, read_camera_info
from g2vlm_map.cameras import NS, Camera, InputFrame
from g2vlm_map.frame_optics import CameraFrame, FrameOptics, RimFinder
from g2vlm_map.options import ImageOptions
from g2vlm_map.rectify import Rectification
from tests.map.test_camera_model import FISHEYE, HW, PLUMB_BOB, RATIONAL, lens

SMALL_HW = (240, 320)  # frames that a driver halved
K_FISHEYE = [170.0, 0.0, 322.0, 0.0, 170.0, 238.0, 0.0, 0.0, 1.0]
LENSES = {
    "barrel": lens("plumb_bob", PLUMB_BOB),
    "pincushion": lens("plumb_bob", (0.2, 0.05, 0, 0, 0)),
    "rational": lens("rational_polynomial", RATIONAL),
    "fisheye": lens("equidistant", FISHEYE, k=K_FISHEYE),
}


def chequers(rays_M2: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Grey levels of a board at z = 1 with fields of 0.2, soft at their edges."""
    x, y = np.sin(np.pi * rays_M2 / 0.2).T
    return np.asarray(127.5 + 100 * np.tanh(3 * x * y), np.uint8)


def drawn(model: CameraModel) -> NDArray[np.uint8]:
    """(H, W, 3) what a camera sees of the board; black where it has no ray."""
    v, u = np.mgrid[0 : model.size_hw[0], 0 : model.size_hw[1]]
    rays = model.rays(np.column_stack([u.reshape(-1), v.reshape(-1)]).astype(float))
    gray = np.where(np.isfinite(rays).all(-1), chequers(np.nan_to_num(rays)), 0)
    return np.repeat(gray.reshape(model.size_hw)[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("name", LENSES)
def test_frames_become_straight(name: str) -> None:
    """The straight picture of a board is the picture that a pinhole of its K draws."""
    model = read_camera_info(LENSES[name], SMALL_HW)
    rectification = Rectification(model, 100.0)
    bent, straight = drawn(model), np.zeros((*SMALL_HW, 3), np.uint8)
    rectification.apply(bent, straight)
    ideal = drawn(CameraModel(SMALL_HW, rectification.K))
    # Bent pixels at the edge of a fisheye are coarse: fine fields blur there.
    difference, raw_difference = cv2.absdiff(straight, ideal), cv2.absdiff(bent, ideal)
    assert np.median(difference) <= 3, np.median(difference)
    assert difference.mean() < raw_difference.mean() / 4, (difference.mean(), raw_difference.mean())
    assert rectification.seen_HW.all(), "nothing of the straight picture is empty"


def test_depth_is_straightened_without_mixing_readings() -> None:
    model = read_camera_info(LENSES["barrel"], SMALL_HW)
    rectification = Rectification(model, 100.0)
    columns = np.arange(SMALL_HW[1], dtype=np.float32)
    bent = np.tile(np.where(columns < 60, 1.0, 3.0).astype(np.float32), (SMALL_HW[0], 1))
    straight = rectification.nearest(bent)
    v, u = np.mgrid[0 : SMALL_HW[0], 0 : SMALL_HW[1]]
    from_M2 = rectification.to_original(np.column_stack([u.reshape(-1), v.reshape(-1)]))
    expected = np.where(from_M2[:, 0] < 59.5, 1.0, 3.0).reshape(SMALL_HW)
    sure = np.abs(from_M2[:, 0] - 59.5).reshape(SMALL_HW) > 0.1  # maps are of 1/32 px
    assert set(np.unique(straight)) == {1.0, 3.0}
    np.testing.assert_array_equal(straight[sure], expected[sure])
    assert (straight != bent).mean() > 0.005, "the lens bends the edge"


def test_the_straight_picture_is_not_wider_than_the_limit() -> None:
    model = read_camera_info(LENSES["fisheye"], HW)
    for fov_deg in (60.0, 100.0):
        K = Rectification(model, fov_deg).K
        left, right = (np.array([0, HW[1] - 1]) - K[0, 2]) / K[0, 0]
        assert np.degrees(np.arctan(right)) == pytest.approx(fov_deg / 2, abs=0.1)
        assert np.degrees(np.arctan(-left)) == pytest.approx(fov_deg / 2, abs=0.1)


@pytest.mark.parametrize("name", LENSES)
def test_places_lead_there_and_back(name: str) -> None:
    rectification = Rectification(read_camera_info(LENSES[name], HW), 100.0)
    straight = np.random.default_rng(1).uniform(0, (HW[1] - 1, HW[0] - 1), (200, 2))
    there = rectification.to_original(straight)
    assert ((there > -1) & (there < (HW[1], HW[0]))).all()
    np.testing.assert_allclose(rectification.to_straight(there), straight, atol=0.02)


def camera_with(info: Any, **options: Any) -> Camera:
    camera = Camera("front", 8, ImageOptions(**options))
    camera.calibration.take(info)
    return camera


def delivered(camera: Camera, pixels: NDArray[np.uint8], stamp_s: float = 1.0) -> CameraFrame:
    (arrival,) = camera.admit(InputFrame(pixels, round(stamp_s * NS), "front"), 0).arrivals
    return camera.decode(arrival)


def test_a_camera_hands_on_straight_frames_with_their_k() -> None:
    model = read_camera_info(LENSES["barrel"], SMALL_HW)
    frame = delivered(camera_with(LENSES["barrel"]), drawn(model))
    assert frame.K is not None
    ideal = drawn(CameraModel(SMALL_HW, frame.K))
    assert np.median(cv2.absdiff(frame.image, ideal)) <= 3
    assert frame.image.shape == (*SMALL_HW, 3)
    # A place that was marked in the bent frame, by the ray that it is of.
    ray = np.array([[0.31, -0.22]])
    ((u, v),) = model.pixels(ray)
    np.testing.assert_allclose(
        frame.optics.to_frame(u, v), (ray * frame.K[[0, 1], [0, 1]] + frame.K[:2, 2])[0], atol=1e-6
    )
    np.testing.assert_allclose(
        frame.optics.to_delivered(np.array([frame.optics.to_frame(u, v)])), [[u, v]], atol=1e-4
    )


def test_rectified_frames_are_handed_on_as_they_are() -> None:
    camera = Camera("front", 8, ImageOptions())
    camera.calibration.take(LENSES["barrel"], rectified=True)
    pixels = np.random.default_rng(2).integers(0, 255, (*HW, 3), np.uint8)
    frame = delivered(camera, pixels)
    np.testing.assert_array_equal(frame.image, pixels)
    assert frame.K is not None
    assert frame.K[0, 0] == 500.0
    assert frame.optics.to_frame(3.0, 4.0) == (3.0, 4.0)
    given = InputFrame(pixels, 2 * NS, "front", K=np.diag([9.0, 9.0, 1.0]))
    (arrival,) = camera_with(LENSES["barrel"]).admit(given, 0).arrivals
    np.testing.assert_array_equal(camera.decode(arrival).image, pixels)  # K of its own: straight


def test_a_calibration_that_changes_in_flight() -> None:
    camera, pixels = camera_with(lens("", ())), np.full((*HW, 3), 90, np.uint8)
    first = delivered(camera, pixels)
    assert camera.calibration.take(lens("", ())) == ""
    zoomed = lens("", (), k=[600.0, 0, 320, 0, 600, 240, 0, 0, 1])
    changed = camera.calibration.take(zoomed)
    assert changed == (
        "fx, fy, cx, cy were 500.0, 510.0, 320.0, 240.0 px and are 600.0, 600.0, 320.0, 240.0 px"
    )
    assert camera.calibration.take(zoomed) == ""
    second = delivered(camera, pixels, 2.0)
    assert first.K is not None
    assert second.K is not None
    assert (first.K[0, 0], second.K[0, 0]) == (500.0, 600.0)
    assert first.key != second.key
    assert "became plumb_bob" in camera.calibration.take(LENSES["barrel"])
    delivered(camera, pixels, 3.0)
    assert "no usable K any more" in camera.calibration.take(lens("", (), k=[0.0] * 9))
    assert "focal lengths are 0" in camera.calibration.problem
    assert delivered(camera, pixels, 4.0).K is None
    camera.calibration.take(zoomed)
    assert camera.calibration.problem == ""
    assert delivered(camera, pixels, 5.0).K is not None


def test_frames_of_another_shape_have_no_k_and_say_why() -> None:
    camera = camera_with(LENSES["barrel"])
    assert delivered(camera, np.full((480, 480, 3), 90, np.uint8)).K is None
    assert "another shape, so it was cut" in camera.calibration.problem
    half = delivered(camera, np.full((240, 320, 3), 90, np.uint8), 2.0)
    assert camera.calibration.problem == ""
    assert half.optics.rectification is not None


def circle(radius: float = 250) -> NDArray[np.uint8]:
    """(480, 640, 3) frame of a fisheye: a lit disc in a black rim."""
    v, u = np.mgrid[0:480, 0:640]
    lit = np.hypot(u - 320, v - 240) < radius
    return np.repeat((lit * 120)[..., None], 3, axis=2).astype(np.uint8)


def test_the_rim_of_a_fisheye_shows_nothing() -> None:
    camera = Camera("front", 8, ImageOptions())
    seen = delivered(camera, circle()).optics.seen((480, 640), (84, 112))
    assert seen is not None
    v, u = (np.mgrid[0:84, 0:112] + 0.5) * (480 / 84)
    radius = np.hypot(u - 320, v - 240)
    assert not seen[radius > 256].any()
    assert seen[radius < 236].all()


def test_a_rim_moves_along_with_rectification() -> None:
    camera = camera_with(LENSES["fisheye"], rectified_fov_deg=150.0)
    frame = delivered(camera, circle(210))
    seen = frame.optics.seen(HW, (84, 112))
    assert seen is not None
    v, u = (np.mgrid[0:84, 0:112] + 0.5) * (480 / 84) - 0.5
    there = frame.optics.to_delivered(np.column_stack([u.reshape(-1), v.reshape(-1)]))
    radius = np.hypot(*(there - (320, 240)).T).reshape(84, 112)
    assert 0.02 < (radius > 216).mean() < 0.9, "the test needs a rim in the straight picture"
    assert not seen[radius > 216].any()
    assert seen[radius < 196].all()
    assert (frame.image[(cv2.resize(seen.astype(np.uint8), HW[::-1]) > 0)] > 0).mean() > 0.99


def test_dark_places_are_no_rim() -> None:
    rims = RimFinder()
    night = np.zeros((120, 160), np.uint8)
    assert rims.add(night) is None
    shadow = np.full((120, 160), 100, np.uint8)
    shadow[:, :60] = 0  # two corners
    assert RimFinder().add(shadow) is None
    disc = circle()[::4, ::4, 0]
    assert rims.add(disc) is not None
    lamp = disc.copy()
    lamp[0, 0] = 200  # once a corner is lit, it is none
    assert rims.add(lamp) is None
    assert rims.add(disc) is None


def test_nothing_is_hidden_of_an_ordinary_frame() -> None:
    assert FrameOptics().seen(HW, (84, 112)) is None
    calibration = CameraCalibration(100.0)
    calibration.take(LENSES["barrel"])
    _, optics = calibration.of_frame(HW, np.full((120, 160), 90, np.uint8))
    assert optics.rectification is not None
    assert optics.seen(HW, (84, 112)) is None
