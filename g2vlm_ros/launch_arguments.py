"""Arguments of the launch files, and what they mean to the node. No launch, no rclpy.

The launch files turn this into actions; what decides something stands here, where it is
tested without ROS's launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from g2vlm_ros.params import RENAMED

__all__ = [
    "MALLOC",
    "NODE_ARGUMENTS",
    "PROFILE_VARIABLE",
    "REPLAY_ARGUMENTS",
    "Argument",
    "check_names",
    "flag",
    "malloc_environment",
    "node_environment",
    "node_parameters",
    "parameter_file",
    "play_command",
    "profile_environment",
]

PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
# Freed blocks of a frame's size stay in the process; else each frame is mapped and
# faulted in anew, which costs more than its conversion.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647"}
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass(frozen=True)
class Argument:
    """One launch argument; `default` None: it must be given."""

    name: str
    default: str | None
    description: str


# An empty default leaves what the parameter file says.
NODE_ARGUMENTS: tuple[Argument, ...] = (
    Argument("params_file", "", "Parameter file of the node; empty: the project's g2vlm.yaml"),
    Argument("image_topic", "", "Frames of the camera, e.g. /camera/image_raw"),
    Argument("compressed", "", "true: the frames are CompressedImage (jpeg, png)"),
    Argument("camera_info_topic", "", "CameraInfo of the camera"),
    Argument("camera", "camera", "Name, in parameter cameras, of the camera of these topics"),
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
        "Publish map -> camera on /tf; empty: true with rviz or foxglove, else as in the "
        "parameter file; false where another node gives the camera's frame a parent",
    ),
    Argument("autostart", "true", "Configure and activate the node; false: a manager does"),
    Argument("respawn", "false", "Start and activate the node again where it dies"),
    Argument(
        "use_sim_time", "", "Take the time from /clock; empty: as in the parameter file, else false"
    ),
    Argument("shm", "true", "Shared-memory profile for large messages, unless one is set"),
    Argument("rviz", "false", "Start RViz with the project's configuration"),
    Argument("foxglove", "false", "Start the Foxglove bridge (port 8765, layout foxglove.json)"),
    Argument("log_level", "info", "debug, info, warn, error or fatal"),
)

REPLAY_ARGUMENTS: tuple[Argument, ...] = (
    Argument("bag", None, "Folder or file of the bag (sqlite3 or MCAP)"),
    Argument("rate", "1.0", "Speed of the replay; 1.0 is as recorded"),
    Argument("loop", "false", "true: start again at the end"),
    Argument("end_with_bag", "false", "true: end everything when the bag ends"),
)


def check_names(given: Mapping[str, str]) -> None:
    """Refuse arguments under a name of an earlier version, which ROS's launch would ignore.

    Args:
        given: All launch configurations, ours and others. A launch file that includes ours and
            has an argument of such a name for itself includes it in a scoped group that does
            not forward.

    Raises:
        ValueError: Each old name with the new one.
    """
    problems = [
        f"{old}:={given[old]}: this argument is called {new} now; give {new}:={given[old]}"
        for old, new in RENAMED.items()
        if given.get(old)
    ]
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


def node_parameters(values: Mapping[str, str]) -> dict[str, str | bool]:
    """Parameters that the arguments set on top of the parameter file.

    A node that is started again activates itself: ROS's launch would ask it to, but a process
    that crashed stays discovered for up to 20 s, and a request in that time is lost to it.

    Raises:
        ValueError: A true/false argument is neither.
    """
    result: dict[str, str | bool] = {
        "autostart": flag(values, "autostart") and flag(values, "respawn"),
    }
    if values["use_sim_time"]:
        result["use_sim_time"] = flag(values, "use_sim_time")
    for name in ("model", "runtime", "export", "device"):
        if values[name]:
            result[name] = values[name]
    if values["publish_tf"]:
        result["tf.publish"] = flag(values, "publish_tf")
    elif flag(values, "rviz") or flag(values, "foxglove"):
        result["tf.publish"] = True  # without it nothing can be shown in the map's frame
    for name in ("image_topic", "camera_info_topic"):
        if values[name]:
            result[f"{values['camera']}.{name}"] = values[name]
    if values["compressed"]:
        transport = "compressed" if flag(values, "compressed") else "raw"
        result[f"{values['camera']}.transport"] = transport
    return result


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


def malloc_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Allocator settings of the node's process; what is set already stays."""
    return {name: environ.get(name) or value for name, value in MALLOC.items()}


def node_environment(
    values: Mapping[str, str], environ: Mapping[str, str], profile: Path
) -> dict[str, str]:
    """Profile and allocator settings of the node's process; see the two above."""
    return {**malloc_environment(environ), **profile_environment(values, environ, profile)}


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
