# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Start a simulated robot, and the perception node with the topics that the robot has.

ros2 launch g2vlm_ros simulated.launch.py
ros2 launch g2vlm_ros simulated.launch.py scene:=street robot_params_file:=/data/robot.yaml

Every argument of g2vlm.launch.py may be given too. Without ROS's launch: `g2vlm simulate`.
"""

from __future__ import annotations

import os
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from g2vlm_ros.launch_actions import end_with
from g2vlm_ros.launch_arguments import (
    SIMULATED_ARGUMENTS,
    companion_enclave,
    profile_environment,
    robot_parameters,
)

HERE = Path(__file__).resolve().parent
PARAMETERS = HERE / "simulated.yaml"  # what the node has to know of the robot


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then include the node's own launch file."""
    declared = [
        DeclareLaunchArgument(
            item.name,
            default_value=str(PARAMETERS) if item.name == "params_file" else item.default,
            description=item.description,
        )
        for item in SIMULATED_ARGUMENTS
    ]
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "g2vlm.launch.py")),
        launch_arguments={"params_file": LaunchConfiguration("params_file")}.items(),
    )
    return LaunchDescription([*declared, OpaqueFunction(function=start_robot), node])


def start_robot(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The robot as a process; its end is the end of the launch."""
    values = {
        item.name: LaunchConfiguration(item.name).perform(context) for item in SIMULATED_ARGUMENTS
    }
    shm = {"shm": context.launch_configurations.get("shm", "true")}
    files = [values["robot_params_file"]] if values["robot_params_file"] else []
    robot = Node(
        package="g2vlm_ros",
        executable="simulator",
        name="robot",
        parameters=[*files, robot_parameters(values)],
        ros_arguments=companion_enclave(context.launch_configurations, "robot"),
        additional_env=profile_environment(shm, os.environ, HERE / "fastdds_shm.xml"),
        output="screen",
        emulate_tty=True,
        on_exit=end_with("the robot"),
    )
    return [robot]
