# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Play a recorded bag into the node, on the bag's own clock.

ros2 launch g2vlm_ros replay.launch.py bag:=/data/run1 image_topic:=/camera/image_raw rviz:=true

Every argument of g2vlm.launch.py may be given too. The bag starts once the node is active:
nothing of it is lost while the model loads. For numbers and a report use `g2vlm replay`.
"""

from __future__ import annotations

import os
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.event_handlers import OnStateTransition

from g2vlm_ros.launch_actions import end_with
from g2vlm_ros.launch_arguments import (
    REPLAY_ARGUMENTS,
    flag,
    play_command,
    profile_environment,
)

HERE = Path(__file__).resolve().parent


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then include the node's own launch file."""
    declared = [
        DeclareLaunchArgument(item.name, default_value=item.default, description=item.description)
        for item in REPLAY_ARGUMENTS
    ]
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "g2vlm.launch.py")),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    return LaunchDescription([*declared, OpaqueFunction(function=play_when_active), node])


def play_when_active(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Play the bag at the node's first activation.

    Raises:
        RuntimeError: The bag does not exist.
        ValueError: An argument is not of its form.
    """
    names = [item.name for item in REPLAY_ARGUMENTS]
    values = {name: LaunchConfiguration(name).perform(context) for name in names}
    if not Path(values["bag"]).exists():
        raise RuntimeError(f"bag:={values['bag']} does not exist; name a bag folder or file")
    ends = flag(values, "end_with_bag")
    shm = {"shm": context.launch_configurations.get("shm", "true")}
    player = ExecuteProcess(
        cmd=play_command(values),
        output="screen",
        additional_env=profile_environment(shm, os.environ, HERE / "fastdds_shm.xml"),
        on_exit=end_with("the bag") if ends else None,
    )
    handler = OnStateTransition(goal_state="active", entities=[player], handle_once=True)
    return [RegisterEventHandler(handler)]
