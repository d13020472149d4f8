# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the doctor is shown: robots with one fault each, and what it has to say of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.ros.doctor.small_robot import (
    BEST_EFFORT,
    NS,
    TICK_NS,
    SmallRobot,
    camera_info,
    steady,
)

Build = Callable[[SmallRobot], object]


@dataclass(frozen=True)
class Case:
    """One robot.

    Args:
        name: Its namespace.
        build: Makes its publishers.
        code: The one finding; "" is none.
        says: A part of its text.
        mend: A part of the line that mends it.
        params: Of the node, by name; "{name}" stands for the robot's.
    """

    name: str
    build: Build
    code: str = ""
    says: str = ""
    mend: str = ""
    params: dict[str, Any] = field(default_factory=dict)


def _twice(start_ns: int, tick: int) -> int:
    return steady(start_ns, tick // 2)


def _back(start_ns: int, tick: int) -> int:
    return steady(start_ns, tick - 7 * (tick % 3 == 2))


def _shaky(start_ns: int, tick: int) -> int:
    return steady(start_ns, tick) + TICK_NS * 8 // 10 * (tick % 3 == 1)


def _rig(robot: SmallRobot, **of_left: Any) -> None:
    """Two cameras, front and left; what is told is of the left one."""
    robot.camera("front/image_raw", info_topic="front/camera_info")
    told = {"frame": f"{robot.name}_left", **of_left}
    robot.camera("left/image_raw", info_topic="left/camera_info", **told)


BASE = {"frames.base": "{name}_base"}
ODOM = {**BASE, "frames.odom": "{name}_odom"}
DEPTH = {"camera.depth_topic": "depth/image_raw"}
RIG = {"cameras": ["front", "left"]}

HEALTHY = (
    Case("healthy", lambda r: r.camera().placed(), params=BASE),
    Case(
        "whole",
        lambda r: r.camera(compressed=True, qos=BEST_EFFORT, info=camera_info(bent=True))
        .placed()
        .moving("whole_odom", "whole_base")
        .scan("whole_laser")
        .link("whole_base", "whole_laser")
        .depth(camera_info()),
        params={
            **ODOM, **DEPTH,
            "camera.image_transport": "compressed", "sensors.scan_topics": "scan",
        },
    ),
    Case("rig", _rig, params=RIG),
    Case(
        "rectified",
        lambda r: r.camera("camera/image_rect", info=camera_info(bent=True)),
        params={"camera.image_topic": "camera/image_rect"},
    ),
)  # fmt: skip

TOPICS = (
    Case(
        "nobody", lambda r: r.camera("kamera/image_raw", info_topic="kamera/camera_info"),
        "NOBODY_PUBLISHES", "nobody publishes /nobody/camera/image_raw",
        "camera.image_topic: /nobody/kamera/image_raw",
    ),
    Case(
        "transport", lambda r: r.camera(compressed=True),
        "WRONG_TRANSPORT", "/transport/camera/image_raw/compressed is there",
        "camera.image_transport: compressed",
    ),
    Case(
        "raw", lambda r: r.camera(),
        "WRONG_TRANSPORT", "but /raw/camera/image_raw is there", "camera.image_transport: raw",
        {"camera.image_transport": "compressed"},
    ),
    Case(
        "silent", lambda r: r.camera(silent=True),
        "SILENT_TOPIC", "1 publisher of /silent/camera/image_raw delivers nothing", "topic hz",
    ),
    Case(
        "qos", lambda r: r.camera(qos=BEST_EFFORT, info=False),
        "INCOMPATIBLE_QOS", "offers best_effort, images.reliability is reliable",
        "images.reliability: best_effort",
        {"images.reliability": "reliable", "camera.camera_info_topic": ""},
    ),
    Case(
        "noscan", lambda r: r.camera().placed(),
        "NOBODY_PUBLISHES", "nobody publishes /noscan/scan", "sensors.scan_topics: ",
        {**BASE, "sensors.scan_topics": "scan"},
    ),
)  # fmt: skip

CAMERAS = (
    Case(
        "noinfo", lambda r: r.camera(info=False),
        "NO_CAMERA_INFO", "nothing on /noinfo/camera/camera_info", "camera.camera_info_topic: ",
    ),
    Case(
        "othersize", lambda r: r.camera(info=camera_info(64, 48)),
        "INFO_OF_OTHER_SIZE", "it is for 64 x 48 px, the frames are 32 x 24", "32 x 24",
    ),
    Case(
        "othershape", lambda r: r.camera(info=camera_info(48, 48)),
        "BAD_CAMERA_INFO", "it is for 48 x 48 px, the frame has 32 x 24", "calibrate camera",
    ),
    Case(
        "uncalibrated", lambda r: r.camera(info=camera_info(focal=0.0)),
        "BAD_CAMERA_INFO", "0 means uncalibrated", "calibrate camera at 32 x 24",
    ),
    Case(
        "bent", lambda r: r.camera(info=camera_info(bent=True)),
        "NOT_RECTIFIED", "nobody straightens the frames", "camera.rectified: auto",
        {"camera.rectified": "true"},
    ),
    Case(
        "straightened", lambda r: r.camera("camera/image_rect", info=camera_info(bent=True)),
        "NOT_RECTIFIED", "straightened a second time", "camera.rectified: auto",
        {"camera.image_topic": "camera/image_rect", "camera.rectified": "false"},
    ),
    Case(
        "bentdepth", lambda r: r.camera().depth(camera_info(bent=True)),
        "NOT_RECTIFIED", "a bent lens (plumb_bob", "camera.depth_topic: the rectified depth",
        DEPTH,
    ),
    Case(
        "encoding", lambda r: r.camera(encoding="h264"),
        "BAD_IMAGES", "h264", "set the driver of camera to rgb8",
    ),
)  # fmt: skip

FRAMES = (
    Case(
        "orphan", lambda r: r.camera(),
        "TF_MISSING", "nobody tells of orphan_base and orphan_optical",
        "static_transform_publisher --frame-id orphan_base --child-frame-id orphan_optical",
        BASE,
    ),
    Case(
        "orphanscan", lambda r: r.camera().placed().scan("orphanscan_laser"),
        "TF_MISSING", "its frame is orphanscan_laser", "--child-frame-id orphanscan_laser",
        {**BASE, "sensors.scan_topics": "scan"},
    ),
    Case(
        "noodom", lambda r: r.camera().placed(),
        "TF_MISSING", "nobody tells of noodom_odom", "sensors.odometry_topic", ODOM,
    ),
    Case(
        "lateodom",
        lambda r: r.camera().placed().moving("lateodom_odom", "lateodom_base", late_s=3.0),
        "TF_MISSING", "its newest is 3.", "start what broadcasts lateodom_odom", ODOM,
    ),
    Case(
        "otherodom", lambda r: r.camera().placed().odometry("otherodom_wheels"),
        "SENSOR_REFUSED", "its frame is 'otherodom_wheels'", "frames.odom: otherodom_wheels",
        {**ODOM, "sensors.odometry_topic": "odom"},
    ),
    Case(
        "twoparents",
        lambda r: r.camera().placed().link("twoparents_arm", "twoparents_optical"),
        "TF_CONFLICT", "the parents twoparents_arm and twoparents_base",
        "-> twoparents_optical", BASE,
    ),
    Case(
        "loop",
        lambda r: r.camera().placed().moving("loop_odom", "loop_base")
        .moving("loop_optical", "loop_odom"),
        "TF_CONFLICT", "hang on themselves", "stop what broadcasts one of these links",
        {**ODOM, "tf.publish": True},
    ),
    Case(
        "intheway", lambda r: r.camera().placed().moving("intheway_odom", "intheway_base"),
        "TF_CONFLICT", "has the parent intheway_odom already", "frames.odom: intheway_odom",
        {**BASE, "tf.publish": True},
    ),
    Case(
        "sameframe", lambda r: _rig(r, frame="sameframe_optical"),
        "SAME_FRAME", "front and left name one optical frame",
        "left.frame_id: left_optical", RIG,
    ),
    Case(
        "slash", lambda r: r.camera(frame="/slash_optical"),
        "SLASH_FRAME", "names it with a slash", "frame_id to slash_optical",
    ),
    Case(
        "slashtf", lambda r: r.camera().link("/slashtf_base", "slashtf_optical"),
        "SLASH_FRAME", "/tf_static names it with a slash", "frame_id to slashtf_base", BASE,
    ),
)  # fmt: skip

TIME = (
    Case(
        "skew", lambda r: r.camera(stamp=lambda start, n: steady(start, n) - 3600 * NS),
        "CLOCK_SKEW", "behind the node's clock: two machines' clocks differ", "chrony",
    ),
    Case(
        "boottime", lambda r: r.camera(stamp=lambda _, n: steady(50 * NS, n)),
        "CLOCK_SKEW", "they count from the start of the machine", "host time",
    ),
    Case(
        "back", lambda r: r.camera(stamp=_back),
        "TIME_JUMP", "stamps go back by up to 0.6", "stamp each frame",
    ),
    Case(
        "twice", lambda r: r.camera(stamp=_twice),
        "TIME_JUMP", "stamps come twice", "stamp each frame",
    ),
    Case(
        "nostamp", lambda r: r.camera(stamp=lambda _, n: 0),
        "TIME_JUMP", "have no stamp", "stamp each frame", {"images.max_skew_s": 0.0},
    ),
    Case(
        "noclock", lambda r: r.camera(),
        "NO_CLOCK", "nobody publishes /clock", "use_sim_time: false", {"use_sim_time": True},
    ),
    Case(
        "apart", lambda r: _rig(r, stamp=lambda start, n: steady(start, n) + 40_000_000),
        "UNSYNCHRONISED", "frames of left are stamped 0.040 s after those of front",
        "sync.tolerance_s: 0.04", RIG,
    ),
    Case(
        "rates", lambda r: _rig(r, every=3),
        "RIG_RATES", "front delivers 10.0 Hz, left 3.3 Hz", "to one rate", RIG,
    ),
    Case(
        "jitter", lambda r: _rig(r, stamp=_shaky),
        "RIG_JITTER", "a tenth of its frames is", "hardware trigger",
        {**RIG, "sync.tolerance_s": 0.09},
    ),
)  # fmt: skip

OWN = (
    Case(
        "parameters", lambda r: r.camera(),
        "PARAMETERS", "did you mean window.size?", "docs/node.md", {"window.sise": 4},
    ),
)  # fmt: skip

FAULTS = (*TOPICS, *CAMERAS, *FRAMES, *TIME, *OWN)
