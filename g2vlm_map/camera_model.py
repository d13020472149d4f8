# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A calibrated camera: what a CameraInfo says of frames of one size.

The models are OpenCV's and those of `sensor_msgs/CameraInfo`: `plumb_bob`, `rational_polynomial`
(with thin prism and tilt where there are 12 or 14 coefficients) and `equidistant`, the fisheye of
Kannala and Brandt. Pixel centres are at whole numbers: the corner of a picture is at -0.5.

A ray is (x / z, y / z) in optical axes. Shape letters: H W pixels, M points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .decode import MAX_SIDE, BadInputError

__all__ = [
    "CameraInfoLike",
    "CameraModel",
    "fingerprint",
    "named_straight",
    "read_camera_info",
    "scaled_K",
]

Floats = NDArray[np.float64]

MAX_FOCAL_PX = 1_000_000
PINHOLE = "pinhole"
FISHEYE = "equidistant"
# Names in CameraInfo -> ours, and how many coefficients each may have.
LENSES = {
    "": PINHOLE,
    "none": PINHOLE,
    "plumb_bob": "plumb_bob",
    "rational_polynomial": "rational_polynomial",
    "equidistant": FISHEYE,
    "fisheye": FISHEYE,
}
COEFFICIENTS = {
    PINHOLE: (0,),
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    FISHEYE: (4,),
}
ROUND_TRIP_PX = 0.5  # a lens model that loses more between pixel and ray is no lens
BORDER_SAMPLES = 33  # points along each edge of the picture
_ITERATIONS = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-10)


class CameraInfoLike(Protocol):
    """The fields of `sensor_msgs/msg/CameraInfo` that are needed.

    Where they are there, `distortion_model`, `d`, `p`, `binning_x`, `binning_y` and `roi`
    (`x_offset`, `y_offset`, `width`, `height`) are read too.
    """

    height: int
    width: int
    k: Sequence[float]


@dataclass(frozen=True, eq=False)
class CameraModel:
    """Pixels of a frame to rays and back.

    Args:
        size_hw: Of the frames that it is for.
        K: (3, 3) float64 in their pixels.
        lens: A key of `COEFFICIENTS`.
        D: OpenCV's coefficients of that lens.
    """

    size_hw: tuple[int, int]
    K: Floats
    lens: str = PINHOLE
    D: tuple[float, ...] = ()

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines are straight; a fisheye without coefficients still bends them."""
        return self.lens == PINHOLE or (self.lens != FISHEYE and not any(self.D))

    def rays(self, pixels_M2: Floats) -> Floats:
        """(M, 2) rays of pixels (u, v); NaN where a fisheye looks sideways or backwards."""
        pixels_M12 = np.ascontiguousarray(pixels_M2, np.float64).reshape(-1, 1, 2)
        if self.is_pinhole:
            centre, focal = self.K[:2, 2], self.K[[0, 1], [0, 1]]
            pinhole: Floats = (pixels_M12[:, 0] - centre) / focal
            return pinhole
        D = np.array(self.D)
        if self.lens == FISHEYE:
            rays = cv2.fisheye.undistortPoints(pixels_M12, self.K, D, criteria=_ITERATIONS)
        else:
            rays = cv2.undistortPointsIter(pixels_M12, self.K, D, np.eye(3), np.eye(3), _ITERATIONS)
        rays_M2 = np.asarray(rays, np.float64).reshape(-1, 2)
        # What OpenCV cannot invert gets a ray of -1000000, and a wrong root does not lead back.
        back_M2 = self.pixels(np.nan_to_num(rays_M2))
        lost = np.abs(back_M2 - pixels_M12[:, 0]).max(-1) > ROUND_TRIP_PX
        rays_M2[lost | ~np.isfinite(rays_M2).all(-1)] = np.nan
        return rays_M2

    def pixels(self, rays_M2: Floats) -> Floats:
        """(M, 2) pixels (u, v) of rays."""
        rays_M2 = np.ascontiguousarray(rays_M2, np.float64).reshape(-1, 2)
        if self.is_pinhole:
            pinhole: Floats = rays_M2 * self.K[[0, 1], [0, 1]] + self.K[:2, 2]
            return pinhole
        D = np.array(self.D)
        if self.lens == FISHEYE:
            pixels = cv2.fisheye.distortPoints(rays_M2.reshape(-1, 1, 2), self.K, D)
        else:
            points_M3 = np.column_stack([rays_M2, np.ones(len(rays_M2))])
            pixels, _ = cv2.projectPoints(points_M3, np.zeros(3), np.zeros(3), self.K, D)
        return np.asarray(pixels, np.float64).reshape(-1, 2)

    def border_rays(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Rays along the left, right, upper and lower edge, (BORDER_SAMPLES, 2) each."""
        height, width = self.size_hw
        us, vs = (np.linspace(0, side - 1, BORDER_SAMPLES) for side in (width, height))
        ends = [(np.zeros_like(vs), vs), (np.full_like(vs, width - 1), vs)]
        ends += [(us, np.zeros_like(us)), (us, np.full_like(us, height - 1))]
        left, right, upper, lower = (self.rays(np.column_stack(end)) for end in ends)
        return left, right, upper, lower


def read_camera_info(
    info: CameraInfoLike, frame_hw: tuple[int, int], rectified: bool | None = None
) -> CameraModel:
    """The camera of frames of one size, by a CameraInfo.

    K is for the whole sensor; binning and the region of interest lead to the pixels of the
    driver's frames, and a frame of another size but the same shape is one that was resized.

    Args:
        info: Anything with the fields of a CameraInfo.
        frame_hw: (H, W) of the frames; (0, 0) where none is known yet: those of the CameraInfo.
        rectified: True: the frames are straight already, and P, not K, is theirs. False: K and
            the lens are. None: as the coefficients say.

    Raises:
        BadInputError: Reason "bad_camera_info"; the text says what, got and expected.
    """
    sensor_hw = (int(info.height), int(info.width))
    if sensor_hw == (0, 0):
        sensor_hw = frame_hw if all(frame_hw) else (MAX_SIDE, MAX_SIDE)
    if not all(0 < side <= MAX_SIDE for side in sensor_hw):
        raise _bad(f"its size is {sensor_hw[1]} x {sensor_hw[0]}, expected 1..{MAX_SIDE} px")
    lens, D = (PINHOLE, ()) if rectified else _lens(info)
    K = _matrix(info, sensor_hw, rectified)
    K, delivered_hw = _delivered(K, info, sensor_hw)
    if not all(frame_hw):
        frame_hw = delivered_hw
    elif not _same_shape(frame_hw, delivered_hw):
        raise _bad(
            f"it is for {delivered_hw[1]} x {delivered_hw[0]} px, the frame has {frame_hw[1]} x "
            f"{frame_hw[0]}: another shape, so it was cut; send the CameraInfo of that frame"
        )
    model = CameraModel(frame_hw, scaled_K(K, delivered_hw, frame_hw), lens, D)
    if model.size_hw != (MAX_SIDE, MAX_SIDE):  # else nobody knows yet where the edges are
        _check_lens(model)
    return model


def named_straight(topic: str) -> bool:
    """Whether the name of an image topic says that its frames are rectified (image_proc)."""
    return any(part.startswith("image_rect") for part in topic.split("/"))


def fingerprint(info: CameraInfoLike) -> tuple[object, ...]:
    """What two equal CameraInfos have in common; cheap, for whoever gets one with every frame."""
    roi = getattr(info, "roi", None)
    window = tuple(getattr(roi, name, 0) for name in ("x_offset", "y_offset", "width", "height"))
    return (
        *(info.height, info.width, tuple(info.k), tuple(getattr(info, "d", ()))),
        *(tuple(getattr(info, "p", ())), str(getattr(info, "distortion_model", ""))),
        *(getattr(info, "binning_x", 0), getattr(info, "binning_y", 0), window),
    )


def scaled_K(K: Floats, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Floats:
    """(3, 3) intrinsics of a resized picture; its corner stays at -0.5.

    Args:
        K: (3, 3) in pixels of a picture of size `from_hw`.
        from_hw, to_hw: (H, W) before and after.
    """
    stretch = np.array([to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]])
    scaled = np.array(K, np.float64)
    scaled[:2] *= stretch[:, None]
    scaled[:2, 2] += 0.5 * stretch - 0.5
    return scaled


def _bad(text: str) -> BadInputError:
    return BadInputError("bad_camera_info", text)


def _matrix(info: CameraInfoLike, sensor_hw: tuple[int, int], rectified: bool | None) -> Floats:
    """K, or the left part of P for frames that are straight already, in pixels of the sensor."""
    values, name = np.array(info.k, np.float64), "K"
    P = np.array(getattr(info, "p", ()), np.float64)
    if rectified and P.size == 12 and np.isfinite(P).all() and P[0] > 0:
        values, name = P.reshape(3, 4)[:, :3].reshape(-1), "P"
    if values.size != 9:
        raise _bad(f"{name} has {values.size} numbers, expected 9")
    K = values.reshape(3, 3)
    if not np.isfinite(K).all():
        raise _bad(f"{name} holds a number that is not finite: {K.tolist()}")
    fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
    if not (0 < fx <= MAX_FOCAL_PX and 0 < fy <= MAX_FOCAL_PX):
        raise _bad(
            f"focal lengths are {fx:g} and {fy:g} px, expected > 0 (0 means uncalibrated) and at "
            f"most {MAX_FOCAL_PX}"
        )
    if not np.array_equal(K[2], (0.0, 0.0, 1.0)):
        raise _bad(f"last row of {name} is {K[2].tolist()}, expected [0, 0, 1]")
    if not (0 <= cx <= sensor_hw[1] and 0 <= cy <= sensor_hw[0]):
        raise _bad(
            f"principal point ({cx:g}, {cy:g}) lies outside of the {sensor_hw[1]} x {sensor_hw[0]} "
            "picture"
        )
    K[0, 1] = K[1, 0] = 0.0  # no camera on the market has skew; OpenCV's lenses do not know it
    return K


def _lens(info: CameraInfoLike) -> tuple[str, tuple[float, ...]]:
    name = str(getattr(info, "distortion_model", ""))
    D = tuple(float(value) for value in getattr(info, "d", ()))
    if not all(math.isfinite(value) for value in D):
        raise _bad(f"D holds a number that is not finite: {list(D)}")
    if name not in LENSES:
        if not any(D):
            return PINHOLE, ()
        known = ", ".join(repr(word) for word in LENSES if word)
        raise _bad(
            f"distortion_model is {name!r:.60}, expected one of {known}; rectify the frames "
            "(image_proc) and set the camera's `rectified` to true"
        )
    lens = LENSES[name]
    if not any(D) and lens != FISHEYE:
        return PINHOLE, ()
    if len(D) not in COEFFICIENTS[lens]:
        counts = " or ".join(str(count) for count in COEFFICIENTS[lens])
        raise _bad(f"D has {len(D)} numbers, distortion_model {name!r} takes {counts}")
    return lens, D


def _delivered(
    K: Floats, info: CameraInfoLike, sensor_hw: tuple[int, int]
) -> tuple[Floats, tuple[int, int]]:
    """K and (H, W) of the driver's frames: the region of interest, then binning."""
    roi: Any = getattr(info, "roi", None)
    names = ("x_offset", "y_offset", "width", "height")
    x, y, width, height = (int(getattr(roi, name, 0)) for name in names)
    if not (width or height):  # 0 x 0 is the whole sensor
        x, y, width, height = 0, 0, sensor_hw[1], sensor_hw[0]
    inside = x >= 0 and y >= 0 and x + width <= sensor_hw[1] and y + height <= sensor_hw[0]
    if not inside or width < 2 or height < 2:
        raise _bad(
            f"its region of interest is {width} x {height} px at ({x}, {y}), outside of the "
            f"{sensor_hw[1]} x {sensor_hw[0]} sensor"
        )
    binning = [int(getattr(info, f"binning_{axis}", 0)) or 1 for axis in "xy"]
    if min(binning) < 1 or binning[0] > width // 2 or binning[1] > height // 2:
        raise _bad(f"its binning is {binning[0]} x {binning[1]}, expected 1 or more")
    cut = K.copy()
    cut[:2, 2] -= (x, y)
    size_hw = (height // binning[1], width // binning[0])
    return scaled_K(cut, (size_hw[0] * binning[1], size_hw[1] * binning[0]), size_hw), size_hw


def _same_shape(a_hw: tuple[int, int], b_hw: tuple[int, int]) -> bool:
    """Whether one size is the other one scaled, but for the rounding to whole pixels."""
    small, large = sorted((a_hw, b_hw))
    return abs(large[0] * small[1] / large[1] - small[0]) <= 1.0


def _check_lens(model: CameraModel) -> None:
    """Refuse coefficients that map no picture: folded over, or looking behind itself."""
    if model.is_pinhole:
        return
    height, width = model.size_hw
    if model.lens == FISHEYE:
        centre, focal = model.K[:2, 2], model.K[[0, 1], [0, 1]]
        edges = np.array([[0, centre[1]], [width - 1, centre[1]], [centre[0], 0]])
        with np.errstate(over="ignore"):  # a K without measure sees without measure: inf is refused
            angles = np.linalg.norm((edges - centre) / focal, axis=-1)
        if angles.min() > math.pi:
            raise _bad(
                f"a fisheye of this K sees {math.degrees(2 * angles.min()):.0f} deg between its "
                f"nearest edges (focal length {focal[0]:g} px of {width} x {height}), expected at "
                "most 360"
            )
    # A fisheye's edges may look sideways; its centre, and all edges of the others, have rays.
    points = [np.array([[(width - 1) / 2, (height - 1) / 2]])]
    if model.lens != FISHEYE:
        points += [np.array([[u, v]]) for u, v in _middles(model.size_hw)]
    if not np.isfinite(model.rays(np.concatenate(points))).all():
        raise _bad(
            f"its {model.lens} coefficients {list(model.D)} fold the picture over: pixels of it "
            "have no ray; calibrate again"
        )


def _middles(size_hw: tuple[int, int]) -> list[tuple[float, float]]:
    """(u, v) of the middle of each edge."""
    height, width = size_hw
    u, v = (width - 1) / 2, (height - 1) / 2
    return [(0.0, v), (width - 1.0, v), (u, 0.0), (u, height - 1.0)]
