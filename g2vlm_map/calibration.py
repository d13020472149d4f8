"""A camera's intrinsics out of its CameraInfo, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .decode import MAX_SIDE, BadInputError

__all__ = ["CameraInfoLike", "camera_matrix"]

MAX_FOCAL_PX = 1_000_000


class CameraInfoLike(Protocol):
    """The fields of `sensor_msgs/msg/CameraInfo` that matter here."""

    height: int
    width: int
    k: Sequence[float]


def camera_matrix(info: CameraInfoLike) -> NDArray[np.float64]:
    """The intrinsics of a CameraInfo, checked.

    Returns:
        (3, 3) float64, pixels of a picture of info.width x info.height.

    Raises:
        BadInputError: Reason "bad_camera_info": not finite, uncalibrated (zero focal length), a
            focal length that no lens has, or a principal point outside of the picture.
    """
    K = np.array(info.k, np.float64).reshape(3, 3)
    if not np.isfinite(K).all():
        raise BadInputError("bad_camera_info", f"K holds a number that is not finite: {K.tolist()}")
    fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
    if not (0 < fx <= MAX_FOCAL_PX and 0 < fy <= MAX_FOCAL_PX):
        raise BadInputError(
            "bad_camera_info",
            f"focal lengths are {fx:g} and {fy:g} px, expected > 0 (0 means uncalibrated) and at "
            f"most {MAX_FOCAL_PX}",
        )
    if not np.array_equal(K[2], (0.0, 0.0, 1.0)):
        raise BadInputError(
            "bad_camera_info", f"last row of K is {K[2].tolist()}, expected [0, 0, 1]"
        )
    # Drivers may leave the size at zero; no picture is larger than the largest that we take.
    width, height = int(info.width), int(info.height)
    if not (width or height):
        width = height = MAX_SIDE
    if not (0 <= cx <= width and 0 <= cy <= height):
        raise BadInputError(
            "bad_camera_info",
            f"principal point ({cx:g}, {cy:g}) lies outside of the {width} x {height} picture",
        )
    return K
