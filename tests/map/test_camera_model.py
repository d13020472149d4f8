# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a CameraInfo says of the frames that come: lenses, binning, cut-outs, other sizes."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from g2vlm_map.camera_model import fingerprint, read_camera_info, scaled_K
from g2vlm_map.decode import BadInputError

HW = (480, 640)
PLUMB_BOB = (-0.28, 0.07, 2e-4, 1.8e-5, 0.0)
RATIONAL = (0.45, -2.5, 1.5e-4, -2e-4, 1.45, 0.33, -2.3, 1.38)
TILTED = (*RATIONAL, 1e-4, 1e-5, -1e-4, 1e-5, 0.01, -0.02)
FISHEYE = (-0.0059, 0.041, -0.039, 0.0067)


def info(**changes: Any) -> Any:
    k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    return SimpleNamespace(**{"height": 480, "width": 640, "k": k, **changes})


def lens(name: str, D: tuple[float, ...], **changes: Any) -> Any:
    return info(distortion_model=name, d=list(D), **changes)


def roi(x: int, y: int, width: int, height: int) -> Any:
    return SimpleNamespace(x_offset=x, y_offset=y, width=width, height=height)


def test_a_pinhole() -> None:
    model = read_camera_info(info(), HW)
    np.testing.assert_array_equal(model.K, [[500, 0, 320], [0, 510, 240], [0, 0, 1]])
    assert model.is_pinhole
    for none in (lens("", ()), lens("plumb_bob", (0.0,) * 5), lens("no_such_lens", (0.0,) * 7)):
        assert read_camera_info(none, HW).is_pinhole
    np.testing.assert_allclose(model.rays(np.array([[820.0, 240.0]])), [[1, 0]])


@pytest.mark.parametrize(
    ("name", "D"),
    [
        ("plumb_bob", PLUMB_BOB[:4]),
        ("plumb_bob", PLUMB_BOB),
        ("rational_polynomial", RATIONAL),
        ("rational_polynomial", TILTED),
        ("equidistant", FISHEYE),
        ("fisheye", (0.0,) * 4),
    ],
)
def test_lenses_lead_there_and_back(name: str, D: tuple[float, ...]) -> None:
    model = read_camera_info(lens(name, D), HW)
    assert not model.is_pinhole
    grid = np.mgrid[0:480:16, 0:640:16].reshape(2, -1).T[:, ::-1].astype(float)
    rays = model.rays(grid)
    assert np.isfinite(rays).all()
    np.testing.assert_allclose(model.pixels(rays), grid, atol=1e-3)


def test_a_lens_bends_as_its_definition_says() -> None:
    """Written out by hand: k1 r^2 for plumb_bob, r = f theta for a fisheye of zeros."""
    ray = np.array([[0.3, -0.4]])  # r = 0.5
    bent = read_camera_info(lens("plumb_bob", (-0.2, 0, 0, 0, 0)), HW).pixels(ray)
    np.testing.assert_allclose(bent, [[320 + 500 * 0.3 * 0.95, 240 - 510 * 0.4 * 0.95]])
    share = math.atan(0.5) / 0.5
    bent = read_camera_info(lens("equidistant", (0, 0, 0, 0)), HW).pixels(ray)
    np.testing.assert_allclose(bent, [[320 + 500 * 0.3 * share, 240 - 510 * 0.4 * share]])


def test_a_fisheye_has_no_ray_for_what_lies_behind_it() -> None:
    k = [150.0, 0.0, 320.0, 0.0, 150.0, 240.0, 0.0, 0.0, 1.0]
    model = read_camera_info(lens("equidistant", (0, 0, 0, 0), k=k), HW)
    rays = model.rays(np.array([[0.0, 240.0], [320.0, 240.0], [150.0, 240.0]]))
    assert np.isnan(rays[0]).all()  # 122 deg off the axis
    np.testing.assert_allclose(rays[1], 0, atol=1e-6)
    np.testing.assert_allclose(rays[2], (-math.tan(170 / 150), 0), atol=1e-6)


def test_binning_and_regions() -> None:
    """A point of the sensor is the same ray, whatever is cut out or binned."""
    whole = read_camera_info(info(), HW)
    cut = read_camera_info(info(roi=roi(100, 40, 320, 240)), (240, 320))
    pixel = np.array([[200.0, 100.0]])
    np.testing.assert_allclose(cut.rays(pixel - (100, 40)), whole.rays(pixel))
    binned = read_camera_info(info(binning_x=2, binning_y=2), (240, 320))
    # Pixel 7 of the binned row covers 14 and 15 of the sensor.
    np.testing.assert_allclose(
        binned.rays(np.array([[7.0, 7.0]])), whole.rays(np.array([[14.5, 14.5]]))
    )
    both = read_camera_info(info(roi=roi(100, 40, 320, 240), binning_x=4, binning_y=2), (120, 80))
    np.testing.assert_allclose(
        both.rays(np.array([[0.0, 0.0]])), whole.rays(np.array([[101.5, 40.5]]))
    )
    nothing = read_camera_info(info(roi=roi(0, 0, 0, 0), binning_x=0, binning_y=0), HW)
    np.testing.assert_array_equal(nothing.K, whole.K)


def test_frames_of_another_size_but_the_same_shape() -> None:
    whole, half = read_camera_info(info(), HW), read_camera_info(info(), (240, 320))
    np.testing.assert_allclose(
        half.rays(np.array([[-0.5, -0.5]])), whole.rays(np.array([[-0.5, -0.5]]))
    )
    np.testing.assert_array_equal(half.K, scaled_K(whole.K, HW, (240, 320)))
    read_camera_info(info(), (361, 481))  # 360.75 rows: rounded
    for other in ((480, 480), (363, 481), (640, 480)):
        with pytest.raises(BadInputError, match=r"it is for 640 x 480 px, the frame has \d+ x"):
            read_camera_info(info(), other)


def test_rectified_frames_have_the_projection_of_p() -> None:
    p = [400.0, 0.0, 300.0, -40.0, 0.0, 400.0, 200.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    model = read_camera_info(lens("plumb_bob", PLUMB_BOB, p=p), HW, rectified=True)
    assert model.is_pinhole
    np.testing.assert_array_equal(model.K, [[400, 0, 300], [0, 400, 200], [0, 0, 1]])
    unset = read_camera_info(lens("plumb_bob", PLUMB_BOB, p=[0.0] * 12), HW, rectified=True)
    assert unset.K[0, 0] == 500.0
    assert not read_camera_info(lens("plumb_bob", PLUMB_BOB, p=p), HW, rectified=False).is_pinhole


@pytest.mark.parametrize(
    ("index", "value"),
    [(0, 0.0), (0, -1.0), (4, float("nan")), (2, float("inf")), (2, 900.0), (8, 0.0), (0, 1e308)],
)
def test_bad_matrices(index: int, value: float) -> None:
    k = list(info().k)
    k[index] = value
    with pytest.raises(BadInputError) as caught:
        read_camera_info(info(k=k), HW)
    assert caught.value.reason == "bad_camera_info"


@pytest.mark.filterwarnings("error::RuntimeWarning")  # numpy's: it goes past log and reasons
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (info(k=[0.0] * 9), "focal lengths are 0 and 0 px, expected > 0 .0 means uncalibrated"),
        (info(k=[500.0] * 6), "K has 6 numbers, expected 9"),
        (info(height=-480), "its size is 640 x -480"),
        (
            lens("omni", PLUMB_BOB),
            "distortion_model is 'omni', expected one of 'none', 'plumb_bob'",
        ),
        (lens("", PLUMB_BOB), "D has 5 numbers, distortion_model '' takes 0"),
        (lens("plumb_bob", TILTED), "D has 14 numbers, distortion_model 'plumb_bob' takes 4 or 5"),
        (lens("equidistant", PLUMB_BOB), "D has 5 numbers, distortion_model 'equidistant' takes 4"),
        (lens("plumb_bob", (math.nan, 0, 0, 0)), "D holds a number that is not finite"),
        (lens("plumb_bob", (-3.0, 0, 0, 0)), "fold the picture over"),
        (
            lens("equidistant", (0,) * 4, k=[40.0, 0, 320, 0, 40, 240, 0, 0, 1]),
            "sees 688 deg between its nearest edges",
        ),
        (
            lens("equidistant", (0,) * 4, k=[1e-308, 0, 320, 0, 1e-308, 240, 0, 0, 1]),
            "sees inf deg between its nearest edges",
        ),
        (info(roi=roi(-4, 0, 320, 240)), r"region of interest is 320 x 240 px at \(-4, 0\)"),
        (info(roi=roi(400, 0, 320, 240)), "outside of the 640 x 480 sensor"),
        (info(roi=roi(0, 0, -320, -240)), "region of interest is -320 x -240"),
        (info(binning_x=-2), "binning is -2 x 1"),
        (info(binning_x=5000), "binning is 5000 x 1"),
    ],
)
def test_bad_camera_infos(bad: Any, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as caught:
        read_camera_info(bad, HW)
    assert caught.value.reason == "bad_camera_info"


def test_an_unknown_size_is_that_of_the_frames() -> None:
    unsized = lens("plumb_bob", PLUMB_BOB, width=0, height=0)
    assert read_camera_info(unsized, HW).size_hw == HW
    read_camera_info(unsized, (0, 0))  # before the first frame
    k = list(info().k)
    k[5] = 1e6
    with pytest.raises(BadInputError, match="lies outside"):
        read_camera_info(info(width=0, height=0, k=k), (0, 0))


def test_equal_infos_have_one_fingerprint() -> None:
    assert fingerprint(lens("plumb_bob", PLUMB_BOB)) == fingerprint(lens("plumb_bob", PLUMB_BOB))
    for other in (
        info(),
        lens("plumb_bob", RATIONAL),
        info(binning_x=2),
        info(roi=roi(0, 0, 2, 2)),
    ):
        assert fingerprint(other) != fingerprint(lens("plumb_bob", PLUMB_BOB))
