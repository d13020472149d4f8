# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The console command `simulator`: runs the simulated robot until SIGINT or SIGTERM, exit code 0.

python -m g2vlm_demo.simulator --ros-args -p scene:=room
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from g2vlm_model.interface.words import plain_lines
from g2vlm_model.processes import end_with_parent, leave, ros_missing

__all__ = ["command", "main"]

_SPIN_S = 0.2


class _Stop:
    """What SIGINT and SIGTERM do: note it; while libraries are loaded, end at once."""

    def __init__(self) -> None:
        self.asked, self.loading = False, True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if self.loading:
            raise SystemExit(0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the robot.

    Args:
        argv: Arguments after the program's name; None: those of the process.

    Returns:
        0 after a signal; 1 where ROS is missing, 2 where a parameter makes no sense.
    """
    stop = _Stop()
    end_with_parent()
    try:
        return _run(sys.argv[1:] if argv is None else argv, stop)
    except ImportError as error:
        if not (said := ros_missing(error)):
            raise
        print(f"simulator: {said}", file=sys.stderr)
        return 1


def _run(given: Sequence[str], stop: _Stop) -> int:
    import rclpy
    import torch
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from g2vlm_ros.logs import log_arguments

    from .robot_node import RobotNode

    torch.set_num_threads(1)  # the other cores belong to the node that is tried out
    arguments = ["robot", *given, *log_arguments()]
    stop.loading = False
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    node: RobotNode | None = None
    try:
        try:
            node = RobotNode()
        except ValueError as error:
            print(f"simulator: {plain_lines(str(error))}", file=sys.stderr)
            return 2
        node.start(lambda: not stop.asked)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.asked:
            executor.spin_once(timeout_sec=_SPIN_S)
            node.check()
        return 0
    finally:
        if node is not None:
            node.close()
        rclpy.try_shutdown()


def command() -> NoReturn:
    """The console command: ends the process with what `main` returns."""
    leave(main())


if __name__ == "__main__":
    command()
