# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the node beside a simulated robot, both as processes, without ROS's launch.

    g2vlm simulate                                   # a room, the node with nano
    g2vlm simulate --scene street --robot stereo_m=0.2 --node scale.max_sigma=0.1
    g2vlm simulate --fault kidnap_at_s=20 --seconds 60

Ctrl-C ends both; so does the end of one of them. `ros2 launch g2vlm_ros simulated.launch.py` is the
same with ROS's launch.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from g2vlm_replay.node.process import node_environment

from g2vlm_model.interface.command_line import CommandParser, at_least
from g2vlm_model.interface.words import plain
from g2vlm_model.processes import ros_missing, started
from g2vlm_ros.shipped import shipped_file

from .faults import faults_help
from .scenes import SCENES

__all__ = ["main", "node_parameters", "robot_parameters"]

NODE_NAME = "g2vlm"
_POLL_S = 0.1
_PATIENCE_S = 15.0  # from the request to end to being made to
_PARAMETERS = "simulated.yaml"  # what the node has to know of this robot


def main(argv: Sequence[str] | None = None) -> int:
    """Start both processes, wait, end both.

    Args:
        argv: Words after `g2vlm simulate`; None: those of the process.

    Returns:
        0 where both were told to end and did; else the code of the one that ended by itself.
    """
    parser = CommandParser(
        prog="g2vlm simulate", description=__doc__, epilog=faults_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--scene", choices=SCENES, default="room")
    parser.add_argument("--index", type=at_least(0), default=0, help="of the scene (default 0)")
    for name, what in (
        ("robot", "of the robot"),
        ("node", "of the node"),
        ("fault", "that goes wrong, listed below"),
    ):
        parser.add_argument(
            f"--{name}", action="append", default=[], metavar="NAME=VALUE",
            help=f"a parameter {what}; may be given again",
        )  # fmt: skip
    parser.add_argument(
        "--params", type=Path, help="parameter file of the node (default: simulated.yaml)"
    )
    parser.add_argument("--seconds", type=float, default=0.0, help="end after these; 0: at Ctrl-C")
    parser.add_argument("--robot-only", action="store_true", help="without the node")
    chosen = parser.parse_args(argv)
    try:
        importlib.import_module("rclpy")
    except ImportError as error:
        said = ros_missing(error) or plain(str(error))
        print(f"g2vlm simulate: {said}", file=sys.stderr)
        return 1
    commands = {"robot": robot_command(robot_parameters(chosen))}
    if not chosen.robot_only:
        commands["node"] = node_command(
            node_parameters(chosen.node), chosen.params or shipped_file(_PARAMETERS)
        )
    return _run(commands, chosen.seconds)


def robot_parameters(chosen: argparse.Namespace) -> dict[str, str]:
    """Parameters of the simulator by name."""
    given = {"scene": chosen.scene, "index": str(chosen.index), **_pairs(chosen.robot)}
    return given | {f"faults.{name}": value for name, value in _pairs(chosen.fault).items()}


def node_parameters(words: Sequence[str]) -> dict[str, str]:
    """Parameters of the node by name, on top of its file."""
    return {"autostart": "true", **_pairs(words)}


def robot_command(parameters: Mapping[str, str]) -> list[str]:
    """The command line of the simulated robot."""
    command = [sys.executable, "-m", "g2vlm_demo.simulator", "--ros-args"]
    return [*command, *_flags("robot", parameters)]


def node_command(parameters: Mapping[str, str], file: Path | None) -> list[str]:
    """The command line of the node."""
    command = [sys.executable, "-m", "g2vlm_ros.node", "--ros-args", "-r", f"__node:={NODE_NAME}"]
    command += ["--params-file", str(file)] if file is not None else []
    return [*command, *_flags(NODE_NAME, parameters)]


def _flags(node: str, parameters: Mapping[str, str]) -> list[str]:
    return [
        word for name, value in parameters.items() for word in ("-p", f"{node}:{name}:={value}")
    ]


def _pairs(words: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE, several.

    Raises:
        ValueError: A word without "=".
    """
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise ValueError(f"parameter is {name!r}, expected NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _run(commands: Mapping[str, Sequence[str]], seconds: float) -> int:
    """Start processes and wait; they end with each other."""
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: told.append(got))
    environment = node_environment(int(os.environ.get("ROS_DOMAIN_ID", "0")))
    # In a session of their own: Ctrl-C reaches this process, which ends them in order.
    processes = {
        name: started(list(command), environment, start_new_session=True)
        for name, command in commands.items()
    }
    until = time.monotonic() + seconds if seconds else float("inf")
    try:
        while not told and time.monotonic() < until:
            for name, process in processes.items():
                if (code := process.poll()) is not None:
                    print(f"g2vlm simulate: the {name} ended ({code})", file=sys.stderr)
                    return code if code > 0 else 1
            time.sleep(_POLL_S)
    finally:
        codes = _end(list(processes.values()))
    return max((abs(code) for code in codes), default=0)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """Ask processes to end, then make them."""
    for wanted in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                process.send_signal(wanted)
        deadline = time.monotonic() + _PATIENCE_S
        while any(process.poll() is None for process in processes):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
    return [process.wait() for process in processes]


if __name__ == "__main__":
    sys.exit(main())
