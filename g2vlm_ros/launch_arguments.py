# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Arguments of the launch files, and what they mean to the node. No launch, no rclpy.

The launch files turn this into actions; what decides something stands here, where it is
tested without ROS's launch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from g2vlm_ros.camera_drivers import DRIVERS
from g2vlm_ros.params import RENAMED
from g2vlm_ros.topics import info_topic

__all__ = [
    "BRING_UP_FAILURES",
    "MALLOC",
    "NODE_ARGUMENTS",
    "PROFILE_VARIABLE",
    "REPLAY_ARGUMENTS",
    "SIMULATED_ARGUMENTS",
    "Argument",
    "camera_names",
    "check_names",
    "companion_enclave",
    "driver_arguments",
    "exit_problem",
    "flag",
    "malloc_environment",
    "moved_topics",
    "node_environment",
    "node_parameters",
    "parameter_file",
    "play_command",
    "profile_environment",
    "robot_parameters",
    "ros_arguments",
]

PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
# Freed blocks of a frame's size stay in the process; else each frame is mapped and
# faulted in anew, which costs more than its conversion.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647"}
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
_OF_THE_ROBOT = {
    "odometry_topic": "sensors.odometry_topic",
    "depth_source": "depth.source",
    "base_frame": "frames.base",
    "odom_frame": "frames.odom",
}
# Transitions (from, to) of a lifecycle node that end its bring-up.
BRING_UP_FAILURES = frozenset(
    {
        ("configuring", "unconfigured"),
        ("configuring", "errorprocessing"),
        ("activating", "inactive"),
        ("activating", "errorprocessing"),
    }
)


@dataclass(frozen=True)
class Argument:
    """One launch argument; `default` None: it must be given."""

    name: str
    default: str | None
    description: str


# An empty default leaves what the parameter file says.
NODE_ARGUMENTS: tuple[Argument, ...] = (
    Argument("params_file", "", "Parameter file of the node; empty: the project's g2vlm.yaml"),
    Argument("cameras", "", "Names of the cameras of a rig, e.g. front,left; the first leads"),
    Argument(
        "image_topic",
        "",
        "Frames, e.g. /camera/image_raw; of a rig with the name in it: /rig/{camera}/image_raw",
    ),
    Argument(
        "image_transport", "", "raw, or compressed: frames (jpeg, png) of IMAGE_TOPIC/compressed"
    ),
    Argument("camera_info", "", "false: there is no CameraInfo, and nothing waits for it"),
    Argument("camera_info_topic", "", "CameraInfo; empty: camera_info beside the frames' topic"),
    Argument("depth_topic", "", "Registered depth of another sensor, a source of the scale"),
    Argument(
        "depth_source", "", "Depth of the map: model, sensor (of depth_topic), or fused of both"
    ),
    Argument("odometry_topic", "", "nav_msgs/Odometry of the robot, a source of the scale"),
    Argument("base_frame", "", "Frame of the robot whose pose is told, e.g. base_link"),
    Argument("odom_frame", "", "Frame of the robot's own odometry; TF is map -> odom then"),
    Argument("camera", "", "The one of several cameras that these topics are of; empty: all"),
    Argument("model", "", "Embedded model name (nano) or folder of a model"),
    Argument(
        "runtime",
        "",
        "What executes the model: auto, torch, onnx, tensorrt, or package.module:function",
    ),
    Argument("export", "", "Export folder for onnx and tensorrt; empty: the cache"),
    Argument("device", "", "Device of the runtime: auto, cpu, cuda, cuda:0"),
    Argument("namespace", "", "Namespace of the node and its topics"),
    Argument(
        "publish_tf",
        "",
        "Publish transforms on /tf; empty: as in the parameter file. A viewer needs them to show "
        "clouds in the map; where another node gives the frame a parent, leave it to that node",
    ),
    Argument("autostart", "true", "Configure and activate the node; false: a manager does"),
    Argument("respawn", "false", "Start and activate the node again where it dies"),
    Argument(
        "use_sim_time", "", "Take the time from /clock; empty: as in the parameter file, else false"
    ),
    Argument("shm", "true", "Shared-memory profile for large messages, unless one is set"),
    Argument("rviz", "false", "Start RViz with the project's configuration"),
    Argument("foxglove", "false", "Start the Foxglove bridge (port 8765, layout foxglove.json)"),
    Argument("enclave", "", "SROS2 enclave of the node, e.g. /g2vlm; empty: by the environment"),
    Argument("log_level", "info", f"{', '.join(_LOG_LEVELS[:-1])} or {_LOG_LEVELS[-1]}"),
)

REPLAY_ARGUMENTS: tuple[Argument, ...] = (
    Argument("bag", None, "Folder or file of the bag (sqlite3 or MCAP)"),
    Argument("rate", "1.0", "Speed of the replay; 1.0 is as recorded"),
    Argument("loop", "false", "true: start again at the end"),
    Argument("end_with_bag", "false", "true: end everything when the bag ends"),
)

SIMULATED_ARGUMENTS: tuple[Argument, ...] = (
    Argument("scene", "room", "room, hall, yard, street, twins (two equal rooms) or mirror"),
    Argument("index", "0", "Number of the scene of that kind"),
    Argument("mode", "tour", "tour: through the scene and back, again and again; or cmd_vel"),
    Argument("params_file", "", "Parameter file of the node; empty: the project's simulated.yaml"),
    Argument("robot_params_file", "", "Parameter file of the robot: camera, sensors, faults"),
)


def driver_arguments(name: str) -> list[Argument]:
    """Arguments of a camera's launch file, beside those of g2vlm.launch.py.

    Args:
        name: Of the driver in `DRIVERS`.
    """
    driver = DRIVERS[name]
    switch = Argument("driver", "true", f"Start the camera's driver, {driver.package}, too")
    told = [
        Argument(key, value, f"Of {driver.package}")
        for key, value in driver.told.items()
        if "." not in key
    ]
    topics = [
        Argument(key, value, "As the driver names it") for key, value in driver.topics.items()
    ]
    return [switch, *told, *topics]


def check_names(given: Mapping[str, str]) -> None:
    """Refuse arguments under a name of an earlier version, which ROS's launch would ignore.

    Args:
        given: All launch configurations, ours and others. A launch file that includes ours and
            has an argument of such a name for itself includes it in a scoped group that does
            not forward.

    Raises:
        ValueError: Each old name with the new one, and a log level that is none.
    """
    problems = [
        f"{old}:={given[old]}: this argument is called {new} now; give {new}:={given[old]}"
        for old, new in RENAMED.items()
        if given.get(old)
    ]
    if given.get("compressed"):
        transport = "compressed" if flag(given, "compressed") else "raw"
        problems.append(
            f"compressed:={given['compressed']}: this argument is called image_transport now; give "
            f"image_transport:={transport}"
        )
    level = given.get("log_level", "info")
    if level.lower() not in _LOG_LEVELS:
        problems.append(f"log_level:={level!r}, expected one of {', '.join(_LOG_LEVELS)}")
    if problems:
        raise ValueError("; ".join(problems))


def flag(values: Mapping[str, str], name: str) -> bool:
    """Read a true/false argument.

    Raises:
        ValueError: It is neither.
    """
    word = values[name].strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"{name}:={values[name]!r}, expected true or false")
    return word in _TRUE


def node_parameters(values: Mapping[str, str]) -> dict[str, str | bool | list[str]]:
    """Parameters that the arguments set on top of the parameter file.

    A node that is started again activates itself: ROS's launch would ask it to, but a process
    that crashed stays discovered for up to 20 s, and a request in that time is lost to it.

    Raises:
        ValueError: A true/false argument is neither, or topics and cameras do not go together.
    """
    result: dict[str, str | bool | list[str]] = {
        "autostart": flag(values, "autostart") and flag(values, "respawn"),
    }
    if values["use_sim_time"]:
        result["use_sim_time"] = flag(values, "use_sim_time")
    for name in ("model", "runtime", "export", "device"):
        if values[name]:
            result[name] = values[name]
    if values["publish_tf"]:
        result["tf.publish"] = flag(values, "publish_tf")
    for argument, name in _OF_THE_ROBOT.items():
        if values[argument]:
            result[name] = values[argument]
    names = camera_names(values["cameras"])
    if names:
        result["cameras"] = names
    result.update(_topics(values, names))
    return result


def camera_names(text: str) -> list[str]:
    """Names out of `front,left`, `[front, left]` or nothing."""
    inside = text.strip().removeprefix("[").removesuffix("]")
    return [name for part in inside.split(",") if (name := part.strip(" '\""))]


def _topics(values: Mapping[str, str], rig: list[str]) -> dict[str, str]:
    """Parameters of the cameras that the topics are of.

    Raises:
        ValueError: A camera that is not in the rig, one topic for several cameras, a CameraInfo
            topic where there shall be none.
    """
    camera = values["camera"]
    if camera and rig and camera not in rig:
        raise ValueError(f"camera:={camera} is not one of cameras:={','.join(rig)}")
    of = [camera] if camera else rig or ["camera"]
    result: dict[str, str] = {}
    for name in ("image_topic", "camera_info_topic", "depth_topic", "image_transport"):
        given = values[name]
        if given and len(of) > 1 and name.endswith("_topic") and "{camera}" not in given:
            raise ValueError(
                f"{name}:={given} is one topic for the cameras {', '.join(of)}; write {{camera}} "
                "where their names differ, or name one with camera:="
            )
        if given:
            result |= {f"{one}.{name}": given.replace("{camera}", one) for one in of}
    if values["camera_info"] and not flag(values, "camera_info"):
        if values["camera_info_topic"]:
            raise ValueError(
                f"camera_info:={values['camera_info']} and camera_info_topic:="
                f"{values['camera_info_topic']} contradict each other; leave one out"
            )
        result |= {f"{one}.camera_info_topic": "" for one in of}
    return result


def moved_topics(views: str, namespace: str, node: str) -> list[tuple[str, str]]:
    """Remappings that let a viewer's configuration show a node in a namespace.

    Args:
        views: Text of the configuration, in which topics stand as `/NODE/...`.
        namespace: Of the node; "" moves nothing.
        node: Its name.

    Returns:
        From and to for each topic, and for the CameraInfo beside each.
    """
    prefix = namespace.strip("/")
    if not prefix:
        return []
    named = set(re.findall(rf"(?<=[\s\"'])/{re.escape(node)}/[\w/]+", views))
    topics = sorted(named | {info_topic(topic) for topic in named if topic.endswith("/image")})
    return [(topic, f"/{prefix}{topic}") for topic in topics]


def exit_problem(what: str, code: int, *, respawn: bool) -> str:
    """What is wrong about the end of a process, in words; "" where nothing is.

    Args:
        what: Name of the process.
        code: Its exit code; negative: the signal that ended it.
        respawn: It is started again: only a wrong configuration, which that does not mend,
            counts.
    """
    if code == os.EX_CONFIG:
        again = "; it is not started again: that would not help" if respawn else ""
        return f"{what} cannot be configured as asked, its log says why{again}"
    if code and not respawn:
        return f"{what} ended with exit code {code}"
    return ""


def parameter_file(values: Mapping[str, str], default: Path) -> str:
    """Path of the node's parameter file.

    Raises:
        FileNotFoundError: The file that was asked for is not there. ROS's launch would only
            warn, and start the node without any of its parameters.
    """
    given = values["params_file"]
    if given and not Path(given).is_file():
        raise FileNotFoundError(f"params_file:={given!r} is not a file; give its absolute path")
    return given or str(default)


def profile_environment(
    values: Mapping[str, str], environ: Mapping[str, str], profile: Path
) -> dict[str, str]:
    """The shared-memory profile as a variable of a process; empty where it is not wanted.

    Each process that is started gets it by itself: set for the whole launch, it would reach
    what a launch file that includes ours starts.

    Args:
        values: Arguments; `shm` counts.
        environ: The present environment; a profile that is set there stays.
        profile: The project's own.

    Raises:
        ValueError: `shm` is neither true nor false.
    """
    wanted = flag(values, "shm") and not environ.get(PROFILE_VARIABLE)
    return {PROFILE_VARIABLE: str(profile)} if wanted else {}


def ros_arguments(values: Mapping[str, str]) -> list[str]:
    """Words of the node's process behind `--ros-args`.

    Raises:
        ValueError: The enclave is no absolute name.
    """
    words, enclave = ["--log-level", values["log_level"].lower()], values["enclave"]
    if enclave and not re.fullmatch(r"(/[A-Za-z_][A-Za-z0-9_]*)+", enclave):
        raise ValueError(f"enclave:={enclave!r}, expected a name such as /g2vlm")
    return [*words, "--enclave", enclave] if enclave else words


def companion_enclave(values: Mapping[str, str], node: str) -> list[str]:
    """Words that put a process beside the node into an enclave of its own, where the node has one.

    Args:
        values: Arguments; `enclave` counts.
        node: Name of the process's node, and so of its enclave in `policies/`.
    """
    return ["--enclave", f"/{node}"] if values.get("enclave") else []


def malloc_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Allocator settings of the node's process; what is set already stays."""
    return {name: environ.get(name) or value for name, value in MALLOC.items()}


def node_environment(
    values: Mapping[str, str], environ: Mapping[str, str], profile: Path
) -> dict[str, str]:
    """Profile and allocator settings of the node's process; see the two above."""
    return {**malloc_environment(environ), **profile_environment(values, environ, profile)}


def robot_parameters(values: Mapping[str, str]) -> dict[str, str | int]:
    """Parameters that the arguments set for the simulated robot.

    Raises:
        ValueError: The index is not a number of 0 or more.
    """
    if not values["index"].isdigit():
        raise ValueError(f"index:={values['index']!r}, expected a number of 0 or more")
    return {"scene": values["scene"], "index": int(values["index"]), "mode": values["mode"]}


def play_command(values: Mapping[str, str]) -> list[str]:
    """The command that plays the bag, with /clock.

    Raises:
        ValueError: The rate is not a number above 0.
    """
    try:
        rate = float(values["rate"])
    except ValueError:
        rate = 0.0
    if not 0.0 < rate < float("inf"):
        raise ValueError(f"rate:={values['rate']!r}, expected a number above 0")
    command = ["ros2", "bag", "play", values["bag"], "--clock", "100", "--rate", str(rate)]
    return [*command, "--loop"] if flag(values, "loop") else command
