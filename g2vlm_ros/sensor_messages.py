# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Messages of other sensors to arrays in metres; what contradicts itself raises.

Depth images are decoded where recordings' are (`message_depth`).

Shape letters: M points.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.poses import Floats
from g2vlm_map.recordings.transforms import MAX_METRES
from g2vlm_ros import messages

__all__ = ["cloud_points", "scan_points", "up_of_imu"]

GRAVITY = 9.80665
_SAMPLE = {7: "f4", 8: "f8"}  # sensor_msgs/PointField.datatype
_MOST_POINTS = 20_000  # of a cloud; more say nothing more about the scale
# Share of gravity by which a resting accelerometer may be off. Whatever hides in it sideways
# tilts what it says: 1 % leaves 8 deg at most.
_STILL_ACCELERATION = 0.01
_STILL_TURN = 0.5  # rad/s


def cloud_points(message: Any) -> NDArray[np.float32]:
    """(M, 3) points of a sensor_msgs/PointCloud2 in its own frame; not finite where invalid.

    Raises:
        ValueError: No x, y, z as floating-point numbers, or sizes that do not multiply out.
    """
    fields = {field.name: field for field in message.fields}
    missing = [name for name in "xyz" if name not in fields]
    if missing:
        raise ValueError(f"the cloud has the fields {sorted(fields)}, expected x, y and z")
    kinds = {fields[name].datatype for name in "xyz"}
    if not kinds <= set(_SAMPLE):
        raise ValueError(f"x, y, z have the datatypes {sorted(kinds)}, expected 7 or 8 (floats)")
    step, count = message.point_step, message.width * message.height
    if step <= 0 or message.row_step < step * message.width:
        raise ValueError(f"a row of {message.width} points of {step} B has {message.row_step} B")
    if len(message.data) < message.row_step * message.height:
        raise ValueError(
            f"the cloud has {len(message.data)} B, expected {message.row_step * message.height}"
        )
    order = ">" if message.is_bigendian else "<"
    formats = [order + _SAMPLE[fields[name].datatype] for name in "xyz"]
    offsets = [fields[name].offset for name in "xyz"]
    if max(offsets) + 4 > step:
        raise ValueError(f"fields at {offsets} do not fit into points of {step} B")
    dtype = np.dtype(
        {"names": list("xyz"), "formats": formats, "offsets": offsets, "itemsize": step}
    )
    data = np.frombuffer(message.data, np.uint8)
    rows = data[: message.row_step * message.height].reshape(message.height, message.row_step)
    points = np.ascontiguousarray(rows[:, : step * message.width]).reshape(-1).view(dtype)
    points = points[:: max(1, math.ceil(count / _MOST_POINTS))]
    with np.errstate(invalid="ignore"):  # a NaN that signals, when it is cast
        told_M3 = np.stack([points[name].astype(np.float64) for name in "xyz"], axis=-1)
        near_M3 = np.abs(told_M3) <= MAX_METRES  # else its square would overflow
    return np.where(near_M3, told_M3, np.nan).astype(np.float32)


def scan_points(message: Any) -> NDArray[np.float32]:
    """(M, 3) points of a sensor_msgs/LaserScan in its own frame; NaN where nothing came back.

    Raises:
        ValueError: No ranges, an angle step of 0, or an empty interval of ranges.
    """
    ranges = np.asarray(message.ranges, np.float32)
    step, low, high = message.angle_increment, message.range_min, message.range_max
    if not len(ranges):
        raise ValueError("the scan has no ranges")
    if not (math.isfinite(message.angle_min) and math.isfinite(step)) or step == 0:
        raise ValueError(f"the scan's angles start at {message.angle_min:g} and step by {step:g}")
    if not 0 <= low < high:
        raise ValueError(f"the scan's ranges lie in {low:g}..{high:g} m, which is empty")
    good = np.isfinite(ranges) & (ranges >= low) & (ranges <= high)
    angles = message.angle_min + step * np.arange(len(ranges))
    distance = np.where(good & (ranges <= MAX_METRES), ranges, np.nan)
    points = np.stack([np.cos(angles), np.sin(angles), np.zeros(len(ranges))], axis=-1)
    return np.asarray(points * distance[:, None], np.float32)


def up_of_imu(message: Any) -> tuple[Floats, float] | None:
    """Which way is up in an IMU's axes, by its orientation or else by what it weighs.

    Args:
        message: sensor_msgs/Imu. REP 145: an accelerometer at rest measures +g upwards.

    Returns:
        (3,) unit vector and its standard deviation in rad; None while it moves too much to say.

    Raises:
        ValueError: Neither an orientation nor an acceleration that is finite.
    """
    rotation, told = message.orientation, message.orientation_covariance
    if told[0] >= 0:
        T = messages.matrix(message.linear_acceleration, rotation)
        if T is not None:
            variance = max(float(told[0]), float(told[4]))
            return T[2, :3].copy(), math.sqrt(variance) if variance > 0 else 0.02
    if message.linear_acceleration_covariance[0] < 0:
        raise ValueError("the IMU has neither an orientation nor an acceleration")
    a, w = message.linear_acceleration, message.angular_velocity
    acceleration = np.array([a.x, a.y, a.z])
    if not np.isfinite(acceleration).all():
        raise ValueError(f"the IMU's acceleration is {acceleration}")
    size = math.hypot(*acceleration)
    turning = math.hypot(w.x, w.y, w.z)  # a square would overflow
    if abs(size / GRAVITY - 1.0) > _STILL_ACCELERATION or turning > _STILL_TURN:
        return None
    return acceleration / size, 0.08
