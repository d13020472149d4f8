"""Play a recorded bag into the node, on the bag's own clock.

ros2 launch g2vlm_ros replay.launch.py bag:=/data/run1 image_topic:=/camera/image_raw rviz:=true

Every argument of g2vlm.launch.py may be given too. The bag starts once the node is active:
nothing of it is lost while the model loads. For numbers and a report use `g2vlm replay`.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.event_handlers import OnStateTransition

HERE = Path(__file__).resolve().parent
ARGUMENTS: tuple[tuple[str, str | None, str], ...] = (
    ("bag", None, "Folder or file of the bag (sqlite3 or MCAP)"),
    ("rate", "1.0", "Speed of the replay; 1.0 is as recorded"),
    ("loop", "false", "true: start again at the end"),
    ("end_with_bag", "false", "true: end everything when the bag ends"),
)


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then include the node's own launch file."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in ARGUMENTS
    ]
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "g2vlm.launch.py")),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    return LaunchDescription([*declared, OpaqueFunction(function=play_when_active), node])


def play_when_active(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Play the bag at the node's first activation.

    Raises:
        RuntimeError: The bag does not exist, or the rate is not above 0.
    """
    values = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    bag = Path(values["bag"]).expanduser()
    if not bag.exists():
        raise RuntimeError(f"bag:={values['bag']} does not exist; name a bag folder or file")
    try:
        rate = float(values["rate"])
    except ValueError:
        rate = 0.0
    if not rate > 0.0:
        raise RuntimeError(f"rate:={values['rate']}, expected a number above 0")
    command = ["ros2", "bag", "play", str(bag), "--clock", "100", "--rate", str(rate)]
    if values["loop"].lower() == "true":
        command.append("--loop")
    ends = values["end_with_bag"].lower() == "true"
    player = ExecuteProcess(
        cmd=command,
        output="screen",
        on_exit=[Shutdown(reason="the bag has ended")] if ends else [],
    )
    handler = OnStateTransition(goal_state="active", entities=[player], handle_once=True)
    return [RegisterEventHandler(handler)]
