# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which frames the node speaks of, whether it broadcasts them, and which other sensors it hears."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from g2vlm_map.option_fields import OptionGroup, option
from g2vlm_map.poses import Floats, rigid
from g2vlm_map.recordings.transforms import rotations

__all__ = [
    "UP_TO_SCALE",
    "FramesParams",
    "SensorParams",
    "TfParams",
    "is_frame_name",
    "is_topic_name",
    "mounting",
]

# Behind the name of a frame, and in the name of a topic, whose lengths are map units.
UP_TO_SCALE = "up_to_scale"

_PART = r"(?:[A-Za-z_]|\{(?:node|ns|namespace)\})(?:[A-Za-z0-9_]|\{(?:node|ns|namespace)\})*"
_TOPIC_NAME = re.compile(rf"(?:~/|/)?{_PART}(?:/{_PART})*")
_TOPIC_CHARS = 180  # rmw takes 247 with the namespace and what transports add
_FRAME_NAME = re.compile(r"[^\s/][^\s]*")


def is_topic_name(text: str) -> bool:
    """Whether a text is a name of a topic that ROS resolves (design.ros2.org, names of topics).

    Else rcl refuses it when something subscribes, and does not say which parameter it was.
    """
    fits = len(text) <= _TOPIC_CHARS and "__" not in text
    return fits and _TOPIC_NAME.fullmatch(text) is not None


def is_frame_name(text: str) -> bool:
    """Whether a text can be a frame's name: tf2 takes no leading slash."""
    return _FRAME_NAME.fullmatch(text) is not None


def mounting(name: str, text: str) -> Floats | None:
    """T_base_cam out of a parameter's text; None where it is empty.

    Args:
        name: For the message.
        text: "x y z qx qy qz qw": place in metres and rotation of the optical frame in the base.

    Raises:
        ValueError: Other than seven finite numbers, or a quaternion of another length than 1.
    """
    if not text.strip():
        return None
    try:
        numbers = np.array([float(word) for word in re.split(r"[\s,]+", text.strip())])
    except ValueError:
        numbers = np.zeros(0)
    if numbers.shape != (7,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name} is {text!r:.80}, expected seven numbers: x y z qx qy qz qw")
    length = float(np.linalg.norm(numbers[3:]))
    if not math.isclose(length, 1.0, abs_tol=0.01):
        raise ValueError(f"{name} has a quaternion of length {length:.3g}, expected 1")
    return rigid(rotations(numbers[3:] / length), numbers[:3])


@dataclass(frozen=True)
class FramesParams(OptionGroup):
    """Names of coordinate frames.

    Raises:
        ValueError: One is no frame name, two are the same, or odom has no base.
    """

    group: ClassVar[str] = "frames"

    map: str = option("g2vlm_map", "Frame of the map: poses, path; z is up")
    odom: str = option(
        "",
        "Frame of the robot's own odometry; with it TF is map -> odom (REP 105), without map -> "
        "base",
    )
    base: str = option(
        "", "Frame of the robot whose pose is told; empty: the reference camera's optical frame"
    )
    odometry: str = option("g2vlm_odom", "Frame of ~/odometry, which never jumps")

    def __post_init__(self) -> None:
        super().__post_init__()
        names = {"map": self.map, "odom": self.odom, "base": self.base, "odometry": self.odometry}
        problems = [
            f"frames.{short} is {name!r:.60}, expected a frame name"
            for short, name in names.items()
            if not (is_frame_name(name) or (name == "" and short in ("odom", "base")))
        ]
        given = [name for name in names.values() if name]
        if len(set(given)) != len(given):
            problems.append(f"frames names one frame twice: {given}")
        if self.odom and not self.base:
            problems.append(
                f"frames.odom is {self.odom!r:.60} and frames.base is empty; name the frame whose "
                "odometry that is"
            )
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True)
class TfParams(OptionGroup):
    """Whether transforms are broadcast."""

    group: ClassVar[str] = "tf"

    publish: bool = option(
        False, "Broadcast map -> odom, or map -> base; never while the scale is unknown"
    )
    up_to_scale: bool = option(
        False,
        "While the scale is unknown, broadcast the camera in map units between frames of names "
        "of their own (..._up_to_scale)",
    )


@dataclass(frozen=True)
class SensorParams(OptionGroup):
    """Other sensors that the node listens to; an empty name: none.

    Raises:
        ValueError: A text that is no topic name.
    """

    group: ClassVar[str] = "sensors"

    odometry_topic: str = option(
        "", "nav_msgs/Odometry of wheels or of another sensor; empty: TF frames.odom -> base"
    )
    odometry_sigma: float = option(
        0.0,
        "Standard deviation of the odometry's lengths as a share of the way; 0: not known",
        low=0.0,
        high=1.0,
    )
    imu_topic: str = option("", "sensor_msgs/Imu that says which way is up")
    cloud_topics: str = option(
        "", "sensor_msgs/PointCloud2 of lidars, in metres; several with spaces between"
    )
    scan_topics: str = option("", "sensor_msgs/LaserScan of 2D lidars; several with spaces between")

    def __post_init__(self) -> None:
        super().__post_init__()
        named = [("odometry_topic", self.odometry_topic), ("imu_topic", self.imu_topic)]
        named += [("cloud_topics", name) for name in self.cloud_topics.split()]
        named += [("scan_topics", name) for name in self.scan_topics.split()]
        problems = [
            f"sensors.{short} names {name!r:.80}, expected a topic name"
            for short, name in named
            if name and not is_topic_name(name)
        ]
        if problems:
            raise ValueError("; ".join(problems))
