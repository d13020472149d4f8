"""Start the perception node; on request also RViz and the Foxglove bridge.

ros2 launch g2vlm_ros g2vlm.launch.py image_topic:=/cam/image camera_info_topic:=/cam/info
ros2 launch g2vlm_ros g2vlm.launch.py --show-args
"""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.event_handlers import OnProcessStart
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

HERE = Path(__file__).resolve().parent
NODE_NAME = "g2vlm"
PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
# Freed blocks of a picture's size stay in the process; else each picture is mapped and
# faulted in anew, which costs more than the conversion.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647"}
SHOWN_TOPICS = ("points", "depth/image", "depth/camera_info", "pose", "path")
TRUE_WORDS, FALSE_WORDS = ("true", "1", "yes", "on"), ("false", "0", "no", "off")

# Name, default, description. An empty default leaves what the parameter file says.
ARGUMENTS: tuple[tuple[str, str, str], ...] = (
    ("params_file", str(HERE / "g2vlm.yaml"), "Parameter file of the node"),
    ("image_topic", "", "Pictures of the camera, e.g. /camera/image_raw"),
    ("compressed", "", "true: the pictures are CompressedImage (jpeg, png)"),
    ("camera_info_topic", "", "CameraInfo of the camera"),
    ("camera", "camera", "Name (parameter cameras) of the camera that these topics are for"),
    ("model", "", "Embedded model name (nano) or folder of a model"),
    ("backend", "", "Runtime of the model: torch, or package.module:function"),
    ("device", "", "Device of the runtime: auto, cpu, cuda, cuda:0"),
    ("namespace", "", "Namespace of the node and its topics"),
    (
        "publish_tf",
        "",
        "Publish map -> camera on /tf; empty: true with rviz or foxglove, else as in params_file; "
        "false where another node already gives the camera's frame a parent",
    ),
    ("autostart", "true", "Configure and activate the node; false: leave that to a manager"),
    ("respawn", "false", "Start the node again, and configure it, where it dies"),
    ("use_sim_time", "false", "Take the time from /clock"),
    ("shm", "true", "Shared-memory profile for large messages (kept where one is set already)"),
    ("rviz", "false", "Start RViz with the project's configuration"),
    ("foxglove", "false", "Start the Foxglove bridge on port 8765; the layout is foxglove.json"),
    ("log_level", "info", "debug, info, warn, error, fatal"),
)


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; what is started depends on their values."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Turn the arguments into actions, in the order in which they must happen."""
    values = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    node = LifecycleNode(
        package="g2vlm_ros",
        executable="node",
        name=NODE_NAME,
        namespace=values["namespace"],
        parameters=[values["params_file"], overrides(values)],
        ros_arguments=["--log-level", values["log_level"]],
        additional_env={name: os.environ.get(name, value) for name, value in MALLOC.items()},
        output="screen",
        emulate_tty=True,
        respawn=flag(values, "respawn"),
        respawn_delay=2.0,
        on_exit=[] if flag(values, "respawn") else [Shutdown(reason="the node ended")],
    )
    actions: list[LaunchDescriptionEntity] = []
    if flag(values, "shm") and not os.environ.get(PROFILE_VARIABLE):
        actions.append(SetEnvironmentVariable(PROFILE_VARIABLE, str(HERE / "fastdds_shm.xml")))
    if flag(values, "autostart"):
        actions += autostart(node)
    actions.append(node)
    if flag(values, "rviz"):
        actions.append(rviz(values))
    if flag(values, "foxglove"):
        actions.append(foxglove(values))
    return actions


def flag(values: dict[str, str], name: str) -> bool:
    """Read a true/false argument.

    Raises:
        RuntimeError: It is neither.
    """
    word = values[name].strip().lower()
    if word not in TRUE_WORDS + FALSE_WORDS:
        raise RuntimeError(f"{name}:={values[name]!r}, expected true or false")
    return word in TRUE_WORDS


def overrides(values: dict[str, str]) -> dict[str, str | bool]:
    """Parameters that arguments set on top of the parameter file."""
    result: dict[str, str | bool] = {"use_sim_time": flag(values, "use_sim_time")}
    for name in ("model", "backend", "device"):
        if values[name]:
            result[name] = values[name]
    if values["publish_tf"]:
        result["tf.publish"] = flag(values, "publish_tf")
    elif flag(values, "rviz") or flag(values, "foxglove"):
        result["tf.publish"] = True  # without it nothing can be shown in the map's frame
    camera = values["camera"]
    for name in ("image_topic", "camera_info_topic"):
        if values[name]:
            result[f"{camera}.{name}"] = values[name]
    if values["compressed"]:
        result[f"{camera}.transport"] = "compressed" if flag(values, "compressed") else "raw"
    return result


def autostart(node: LifecycleNode) -> list[LaunchDescriptionEntity]:
    """Configure the node whenever its process starts, and activate it once it is configured.

    Events rather than LifecycleNode(autostart=True), which Jazzy does not have.
    """

    def change(transition_id: int) -> EmitEvent:
        event = ChangeState(
            lifecycle_node_matcher=lambda action: action is node, transition_id=transition_id
        )
        return EmitEvent(event=event)

    return [
        RegisterEventHandler(
            OnProcessStart(target_action=node, on_start=[change(Transition.TRANSITION_CONFIGURE)])
        ),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="configuring",
                goal_state="inactive",
                entities=[change(Transition.TRANSITION_ACTIVATE)],
            )
        ),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="activating",
                goal_state="active",
                entities=[LogInfo(msg=f"{NODE_NAME} is active")],
            )
        ),
    ]


def rviz(values: dict[str, str]) -> Node:
    """RViz with the project's configuration, its topics moved into the namespace."""
    prefix = values["namespace"].strip("/")
    moved = [
        (f"/{NODE_NAME}/{topic}", f"/{prefix}/{NODE_NAME}/{topic}")
        for topic in SHOWN_TOPICS
        if prefix
    ]
    return Node(
        package=installed("rviz2"),
        executable="rviz2",
        arguments=["-d", str(HERE / "g2vlm.rviz")],
        parameters=[{"use_sim_time": flag(values, "use_sim_time")}],
        remappings=moved,
        output="log",
    )


def foxglove(values: dict[str, str]) -> Node:
    """The bridge that a Foxglove viewer connects to."""
    return Node(
        package=installed("foxglove_bridge"),
        executable="foxglove_bridge",
        parameters=[{"use_sim_time": flag(values, "use_sim_time"), "port": 8765}],
        output="log",
    )


def installed(package: str) -> str:
    """Return the name of a package that an argument asked for.

    Raises:
        RuntimeError: It is not installed; the text says how to install it.
    """
    try:
        get_package_prefix(package)
    except PackageNotFoundError as error:
        distro = os.environ.get("ROS_DISTRO", "$ROS_DISTRO")
        apt = f"sudo apt install ros-{distro}-{package.replace('_', '-')}"
        raise RuntimeError(f"{package} is not installed; install it with: {apt}") from error
    return package
