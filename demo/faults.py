# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What can go wrong on a robot, to be asked for by name.

The drives in memory, the bags and the simulated robot take the same faults. Times are seconds
from the start of the drive; a time below 0 is never.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields

__all__ = ["CAMERA_INFO_FAULTS", "NO_FAULTS", "Faults", "during", "faults_help"]

CAMERA_INFO_FAULTS = (
    "",
    "missing",
    "zero_k",
    "other_size",
    "wrong_model",
    "wrong_focal",
    "changes",
)


@dataclass(frozen=True)
class Faults:
    """Faults of one drive; the defaults are none.

    Two more are scenes of their own: "twins" (two equal rooms) and "mirror".

    Args:
        cover_camera_at_s, cover_camera_for_s: The camera sees black with noise.
        kidnap_at_s, kidnap_by_s: The robot is carried to where its tour leads so many seconds
            later; its wheels stand still meanwhile.
        slip_at_s, slip_for_s, slip_factor: The right wheel turns so many times as far as it
            rolls.
        odometry_reset_at_s: The odometry starts at its origin again.
        odometry_frozen_at_s, odometry_frozen_for_s: It repeats its value with new stamps.
        odometry_factor: On all lengths of the odometry.
        tf_late_s: TF arrives so late; its stamps are right.
        tf_stops_at_s, tf_stops_for_s: Nothing on /tf.
        tf_leaps_at_s: From then on odom -> base is 5 m and 90 degrees off.
        tf_loops_at_s: From then on TF also says that odom hangs on the camera.
        lidar_invalid_share: Share of readings that are inf, -inf, NaN or 0.
        lidar_upside_down: The lidar hangs upside down, and TF says so.
        camera_info: "" right, "missing" none at all, "zero_k", "other_size" of twice the size,
            "wrong_model" a distortion that no camera has, "wrong_focal" 10 % too long, "changes"
            10 % too long from the middle of the drive on.
        depth_in_millimetres: The depth image says metres and holds millimetres.

    Raises:
        ValueError: An unknown kind of CameraInfo, a share outside of 0..1, a length of time
            below 0, a factor that is not above 0.
    """

    cover_camera_at_s: float = -1.0
    cover_camera_for_s: float = 60.0
    kidnap_at_s: float = -1.0
    kidnap_by_s: float = 10.0
    slip_at_s: float = -1.0
    slip_for_s: float = 5.0
    slip_factor: float = 1.5
    odometry_reset_at_s: float = -1.0
    odometry_frozen_at_s: float = -1.0
    odometry_frozen_for_s: float = 5.0
    odometry_factor: float = 1.0
    tf_late_s: float = 0.0
    tf_stops_at_s: float = -1.0
    tf_stops_for_s: float = 5.0
    tf_leaps_at_s: float = -1.0
    tf_loops_at_s: float = -1.0
    lidar_invalid_share: float = 0.0
    lidar_upside_down: bool = False
    camera_info: str = ""
    depth_in_millimetres: bool = False

    def __post_init__(self) -> None:
        if self.camera_info not in CAMERA_INFO_FAULTS:
            raise ValueError(
                f"camera_info is {self.camera_info!r}, expected one of {CAMERA_INFO_FAULTS}"
            )
        if not 0.0 <= self.lidar_invalid_share <= 1.0:
            raise ValueError(f"lidar_invalid_share is {self.lidar_invalid_share}, expected 0..1")
        for field in fields(self):
            value = getattr(self, field.name)
            if (field.name.endswith("_for_s") or field.name == "tf_late_s") and value < 0.0:
                raise ValueError(f"{field.name} is {value}, expected 0 or more seconds")
            if field.name.endswith("_factor") and value <= 0.0:
                raise ValueError(f"{field.name} is {value}, expected above 0")


NO_FAULTS = Faults()


def during(time_s: float, at_s: float, for_s: float = float("inf")) -> bool:
    """Whether a time lies in a span that begins at `at_s`; never where that is below 0."""
    return at_s >= 0.0 and at_s <= time_s < at_s + for_s


def faults_help() -> str:
    """The faults with their defaults and what they do, for the end of a command's help."""
    defaults = (f"  {field.name}={getattr(NO_FAULTS, field.name)}" for field in fields(Faults))
    meanings = inspect.getdoc(Faults) or ""
    meanings = meanings.partition("Args:\n")[2].partition("\nRaises:")[0]
    head = "faults and their defaults; seconds count from the start, a time below 0 is never:"
    return "\n".join((head, *defaults, "", meanings.rstrip()))
