# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The console command `node`: runs the perception node until SIGINT or SIGTERM, exit code 0.

More signals in the same moment change nothing: not while the node ends, and not while the
interpreter does. Told again later, it ends at once (`g2vlm_model.processes.AtOnce`).

    python -m g2vlm_ros.node --ros-args -p autostart:=true

The heavy imports come after the signal handlers, so that a process that is told to end while
it still starts ends cleanly too. The node itself is `perception_node.PerceptionNode`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from g2vlm_model.processes import (
    REMINDER,
    AtOnce,
    asked_again,
    end_with_parent,
    leave,
    may_raise,
    ros_missing,
)

__all__ = ["command", "main"]

_SPIN_S = 0.2  # rclpy's executors can hang without a time limit
_LAST_ANSWERS_S = 1.0  # at the end, for the responses to questions that are open
# A thread that wants to go on waits this long for another one's Python code; the default of
# 5 ms is longer than all the work on a frame.
_SWITCH_S = 0.0005


class _Ended(BaseException):
    """The way out of a start-up that may take long; not an Exception, so nothing swallows it."""


class _Stop:
    """What SIGINT and SIGTERM do: note it, and break off a start-up or a configure."""

    def __init__(self) -> None:
        self.asked = False
        self.may_break_off: Callable[[], bool] = lambda: False
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._open = True  # no `_Ended` was raised, or it was lost
        self._at_once = AtOnce(numbers)
        asked_again(_Ended, self._was_lost)
        for number in (*numbers, REMINDER):
            signal.signal(number, self._handle)

    def start_up(self) -> None:
        """From here on a signal raises `_Ended`, and one that has come already does."""
        self.may_break_off = lambda: True
        if self.asked:
            raise _Ended

    def ignore(self) -> None:
        """Let further signals pass: an ending interpreter takes Python's handlers away."""
        self._at_once.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked |= number != REMINDER
        if not (self.asked and self._open and self.may_break_off()):
            return
        self._open = not may_raise(frame)
        if not self._open:
            raise _Ended
        self._at_once.remind()

    def _was_lost(self) -> None:
        self._open = True
        self._at_once.remind()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node.

    Args:
        argv: Arguments after the program's name; None: those of the process.

    Returns:
        0 after a signal. Where `autostart` is set and the node cannot be brought up: 78
        (EX_CONFIG) if its parameters are wrong, so that another start would not help; else 1. Told
        to end twice, the process ends with 130 from wherever it is.
    """
    stop = _Stop()
    end_with_parent()
    sys.setswitchinterval(_SWITCH_S)
    try:
        stop.start_up()
        return _run(["node", *(sys.argv[1:] if argv is None else argv)], stop)
    except _Ended:
        return 0
    except ImportError as error:
        if stop.asked:  # a library that was being imported, numpy's C code, made this of it
            return 0
        if not (said := ros_missing(error)):
            raise
        print(f"node: {said}", file=sys.stderr)
        return 1
    finally:
        stop.ignore()


def _run(argv: list[str], stop: _Stop) -> int:
    import cv2
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from g2vlm_ros.logs import log_arguments
    from g2vlm_ros.param_files import shared_names
    from g2vlm_ros.perception_node import PerceptionNode
    from g2vlm_ros.shared_memory import remove_dead_segments

    cv2.setNumThreads(0)  # small frames: waking a pool costs more than the work
    remove_dead_segments()
    rclpy.init(args=[*argv, *log_arguments()], signal_handler_options=SignalHandlerOptions.NO)
    node: PerceptionNode | None = None
    try:
        node = PerceptionNode(shared=shared_names(argv))
        # From here on only a configure is long; nothing else, such as the executor's own
        # constructor, is left half done.
        stop.may_break_off = lambda: node is not None and node.configuring
        if not stop.asked and node.wants_autostart and not node.start():
            return os.EX_CONFIG if node.misconfigured else 1
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.asked:
            executor.spin_once(timeout_sec=_SPIN_S)
        node.finish()
        deadline = time.monotonic() + _LAST_ANSWERS_S
        while node.open_questions and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=_LAST_ANSWERS_S / 20)
        return 0
    finally:
        stop.may_break_off = lambda: False
        if node is not None:
            node.close()
        rclpy.try_shutdown()


def command() -> NoReturn:
    """The console command: ends the process with what `main` returns, a pass at work or not."""
    leave(main())


if __name__ == "__main__":
    command()
