# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the launch files share: how a launch ends, how a lifecycle node is brought up.

Needs ROS's launch; only launch files import this. Handlers that raise do so on purpose: launch
then says the text, shuts everything down once, and returns 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import EventHandler, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    UnregisterEventHandler,
)
from launch.event_handlers import OnProcessStart
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState, StateTransition
from lifecycle_msgs.msg import Transition

from g2vlm_ros.camera_drivers import DRIVERS, driver_nodes, driver_values
from g2vlm_ros.launch_arguments import (
    BRING_UP_FAILURES,
    driver_arguments,
    exit_problem,
    flag,
    profile_environment,
)

__all__ = ["bring_up", "end_unless_respawned", "end_with", "installed", "with_driver"]

OnExit = Callable[[Any, LaunchContext], "LaunchDescriptionEntity | None"]


def end_with(what: str) -> OnExit:
    """A handler for a process whose end is the end of everything.

    It emits Shutdown only where the launch does not end already: a second one makes launch_ros
    stop its adapter twice, which is an error and exit code 1.

    Args:
        what: Name of the process for the log.

    Returns:
        For `on_exit` of an action. It raises RuntimeError where the process has failed.
    """

    def on_exit(event: Any, context: LaunchContext) -> LaunchDescriptionEntity | None:
        if context.is_shutdown:
            return None
        problem = exit_problem(what, event.returncode, respawn=False)
        if problem:
            raise RuntimeError(problem)
        return Shutdown(reason=f"{what} has ended")

    return on_exit


def end_unless_respawned(what: str) -> OnExit:
    """A handler for a process that is started again, but not where that cannot help.

    Args:
        what: Name of the process for the log.

    Returns:
        For `on_exit` of an action with `respawn`. It raises RuntimeError where the process says
        that its configuration is wrong; launch then ends within the delay of the respawn.
    """

    def on_exit(event: Any, context: LaunchContext) -> LaunchDescriptionEntity | None:
        problem = exit_problem(what, event.returncode, respawn=True)
        if problem and not context.is_shutdown:
            raise RuntimeError(problem)
        return None

    return on_exit


def bring_up(node: LifecycleNode, name: str) -> list[LaunchDescriptionEntity]:
    """Configure a node when its process starts, and activate it once it is configured.

    Each step is taken once: what a person or a lifecycle manager asks for later stays as asked.
    A step that fails before the node was active ends the launch with an error.

    Events rather than LifecycleNode(autostart=True), which Jazzy does not have.
    """

    def change(transition_id: int) -> EmitEvent:
        event = ChangeState(
            lifecycle_node_matcher=lambda action: action is node, transition_id=transition_id
        )
        return EmitEvent(event=event)

    def once(start: str, goal: str, *then: LaunchDescriptionEntity) -> LaunchDescriptionEntity:
        handler = OnStateTransition(
            target_lifecycle_node=node,
            start_state=start,
            goal_state=goal,
            entities=list(then),
            handle_once=True,
        )
        return RegisterEventHandler(handler)

    def has_failed(event: Any) -> bool:
        if not isinstance(event, StateTransition) or event.action is not node:
            return False
        return (event.start_state, event.goal_state) in BRING_UP_FAILURES

    def fail(context: LaunchContext) -> None:
        event = context.locals.event
        if not context.is_shutdown:
            raise RuntimeError(
                f"{name} went from {event.start_state} to {event.goal_state}: it could not be "
                "brought up, its log says why"
            )

    failed = EventHandler(
        matcher=has_failed, entities=[OpaqueFunction(function=fail)], handle_once=True
    )
    return [
        RegisterEventHandler(
            OnProcessStart(target_action=node, on_start=[change(Transition.TRANSITION_CONFIGURE)])
        ),
        RegisterEventHandler(failed),
        once("configuring", "inactive", change(Transition.TRANSITION_ACTIVATE)),
        once(
            "activating",
            "active",
            UnregisterEventHandler(failed),
            LogInfo(msg=f"{name} is active"),
        ),
    ]


def with_driver(name: str, node_file: Path) -> LaunchDescription:
    """A camera's driver and the node on its topics.

    Args:
        name: Of the driver in `DRIVERS`.
        node_file: The project's g2vlm.launch.py.
    """
    arguments = driver_arguments(name)

    def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
        given = {item.name: LaunchConfiguration(item.name).perform(context) for item in arguments}
        driver = DRIVERS[name]
        told, topics = driver_values(driver, given)
        node = IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(node_file)), launch_arguments=topics.items()
        )
        if not flag(given, "driver"):
            return [node]
        share = Path(get_package_prefix(installed(driver.package))) / "share" / driver.package
        if driver.launch_file:
            source = PythonLaunchDescriptionSource(str(share / "launch" / driver.launch_file))
            include = IncludeLaunchDescription(source, launch_arguments=told.items())
            # Apart: drivers have arguments of our names, such as publish_tf and log_level.
            return [GroupAction([include], scoped=True, forwarding=False), node]
        shm = {"shm": context.launch_configurations.get("shm", "true")}
        profile = node_file.parent / "fastdds_shm.xml"
        cameras = [
            Node(
                package=driver.package,
                executable=driver.executable,
                name=own_name or None,
                parameters=[parameters],
                remappings=remappings,
                output="screen",
                additional_env=profile_environment(shm, os.environ, profile),
            )
            for own_name, parameters, remappings in driver_nodes(told, topics)
        ]
        return [*cameras, node]

    declared = [
        DeclareLaunchArgument(item.name, default_value=item.default, description=item.description)
        for item in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


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
