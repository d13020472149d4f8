# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Start the perception node; on request also RViz and the Foxglove bridge.

ros2 launch g2vlm_ros g2vlm.launch.py image_topic:=/cam/image_raw
ros2 launch g2vlm_ros g2vlm.launch.py cameras:=front,left image_topic:=/rig/{camera}/image_raw
ros2 launch g2vlm_ros g2vlm.launch.py --show-args

The launch ends with the node: with exit code 0 where it was told to end, with 1 where the node
failed or could not be configured.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from g2vlm_ros.launch_actions import bring_up, end_unless_respawned, end_with, installed
from g2vlm_ros.launch_arguments import (
    NODE_ARGUMENTS,
    check_names,
    companion_enclave,
    flag,
    moved_topics,
    node_environment,
    node_parameters,
    parameter_file,
    profile_environment,
    ros_arguments,
)
from g2vlm_ros.topics import VIEWER_TF

HERE = Path(__file__).resolve().parent
PROFILE = HERE / "fastdds_shm.xml"
NODE_NAME = "g2vlm"


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; what is started depends on their values."""
    declared = [
        DeclareLaunchArgument(item.name, default_value=item.default, description=item.description)
        for item in NODE_ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Turn the arguments into actions, in the order in which they must happen."""
    check_names(context.launch_configurations)
    values = {item.name: LaunchConfiguration(item.name).perform(context) for item in NODE_ARGUMENTS}
    respawn = flag(values, "respawn")
    node = LifecycleNode(
        package="g2vlm_ros",
        executable="node",
        name=NODE_NAME,
        namespace=values["namespace"],
        parameters=[parameter_file(values, HERE / "g2vlm.yaml"), node_parameters(values)],
        ros_arguments=ros_arguments(values),
        additional_env=node_environment(values, os.environ, PROFILE),
        output="screen",
        emulate_tty=True,
        respawn=respawn,
        respawn_delay=2.0,
        on_exit=(end_unless_respawned if respawn else end_with)("the node"),
    )
    actions: list[LaunchDescriptionEntity] = []
    if flag(values, "autostart") and not respawn:  # else the node does it by itself
        actions += bring_up(node, NODE_NAME)
    actions.append(node)
    environment = profile_environment(values, os.environ, PROFILE)
    if flag(values, "rviz"):
        actions += [viewer_frames(values, environment), rviz(values, environment)]
    if flag(values, "foxglove"):
        actions.append(foxglove(values, environment))
    return actions


def rviz(values: dict[str, str], environment: dict[str, str]) -> Node:
    """RViz with the project's configuration, its topics moved into the namespace."""
    views = HERE / "g2vlm.rviz"
    return Node(
        package=installed("rviz2"),
        executable="rviz2",
        arguments=["-d", str(views)],
        parameters=[viewer_clock(values)],
        remappings=[*moved(values), *VIEWER_TF],
        additional_env=environment,
        output="log",
    )


def viewer_frames(values: dict[str, str], environment: dict[str, str]) -> ExecuteProcess:
    """What gives RViz a copy of TF in which the node's frames of both states lie in one."""
    remappings = [word for old, new in moved(values) for word in ("-r", f"{old}:={new}")]
    clock = "true" if viewer_clock(values)["use_sim_time"] else "false"
    return ExecuteProcess(
        cmd=[
            *(sys.executable, "-m", "g2vlm_ros.viewer_frames"),
            *("--ros-args", *remappings, "-p", f"use_sim_time:={clock}"),
            *companion_enclave(values, "g2vlm_viewer_frames"),
        ],
        additional_env=environment,
        output="log",
    )


def moved(values: dict[str, str]) -> list[tuple[str, str]]:
    """RViz's topics moved into the namespace."""
    views = (HERE / "g2vlm.rviz").read_text(encoding="utf-8")
    return moved_topics(views, values["namespace"], NODE_NAME)


def foxglove(values: dict[str, str], environment: dict[str, str]) -> Node:
    """The bridge that a Foxglove viewer connects to."""
    return Node(
        package=installed("foxglove_bridge"),
        executable="foxglove_bridge",
        parameters=[{**viewer_clock(values), "port": 8765}],
        additional_env=environment,
        output="log",
    )


def viewer_clock(values: dict[str, str]) -> dict[str, bool]:
    """The clock of a viewer: simulated where the argument says so."""
    return {"use_sim_time": bool(values["use_sim_time"]) and flag(values, "use_sim_time")}
