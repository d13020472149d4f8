# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Ten starts of `examples/approach.py` in ten rooms: where does the robot stand in the end?

    python -m benchmarks.approach --rooms 10

Each start is a simulated robot and a node as processes of their own (`g2vlm simulate`, the room by
its index, split `test`), and the example with its own parameters. The mark stays on one pixel of
the picture. Its true place is that pixel's true depth at the stamp of the answer, by the true pose;
the truth is only listened to.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from types import ModuleType
from typing import Any

import numpy as np
import rclpy
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from g2vlm_ros.messages import matrix, nanoseconds
from g2vlm_ros.tf import transform_buffer

from .common import REPO, add_common_arguments, print_table, set_threads, write_report

Floats = NDArray[np.float64]

ROBOT = ("mode=cmd_vel", "rate_hz=6.0", "compressed=false", "depth=true")
HEAD = ["room", "end", "s", "answer, m", "true, m", "stands by its account, m", "truly, m"]
KEPT = 900  # pictures and poses that the truth is looked up in
FIRST_DOMAIN = 60


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rooms", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="index of the first room")
    parser.add_argument("--mark", type=float, nargs=2, default=(120.0, 100.0), metavar=("U", "V"))
    parser.add_argument("--timeout", type=float, default=150.0, help="of one start, s")
    add_common_arguments(parser, "approach")
    args = parser.parse_args()
    device = set_threads(args)
    rows = []
    for index in range(args.first, args.first + args.rooms):
        rows.append(start(index, tuple(args.mark), args.timeout))
        print(", ".join(rows[-1]), file=sys.stderr, flush=True)
    print_table([HEAD, *rows])
    write_report(args.out, "approach", device, {"head": HEAD, "rows": rows})


def start(index: int, mark: tuple[float, ...], timeout_s: float) -> list[str]:
    """One start in a room; a row of the table."""
    os.environ["ROS_DOMAIN_ID"] = str(FIRST_DOMAIN + index % 40)
    command = [sys.executable, "-m", "g2vlm_model.cli", "simulate", "--index", str(index)]
    command += [word for item in ROBOT for word in ("--robot", item)]
    robot = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rclpy.init()
    u, v = mark
    values = {"u": u, "v": v, "timeout_s": timeout_s}
    node = example().Approach([Parameter(name, value=value) for name, value in values.items()])
    truth, executor = Truth(node), SingleThreadedExecutor()
    executor.add_node(node)
    began = time.monotonic()
    try:
        while not node.over and time.monotonic() - began < 3 * timeout_s:
            executor.spin_once(timeout_sec=0.1)
        node.stop()
        for _ in range(20):  # it comes to rest, and the truth of it is heard
            executor.spin_once(timeout_sec=0.05)
        return [f"{index}", *row_of(node, truth, time.monotonic() - began, (u, v))]
    finally:
        robot.send_signal(signal.SIGINT)
        node.destroy_node()
        rclpy.try_shutdown()
        robot.wait(30)


def example() -> ModuleType:
    """`examples/approach.py`, which is no package."""
    spec = importlib.util.spec_from_file_location("approach", REPO / "examples" / "approach.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["approach"] = module
    spec.loader.exec_module(module)
    return module


class Truth:
    """What the simulated robot says of itself: true poses, true depth, its camera.

    Args:
        node: That listens.
    """

    def __init__(self, node: Any) -> None:
        self.K = np.eye(3)
        self._poses: OrderedDict[int, Floats] = OrderedDict()
        self._depths: OrderedDict[int, NDArray[np.float32]] = OrderedDict()
        self._tf = transform_buffer(node)
        node.create_subscription(Odometry, "/ground_truth/odometry", self._take_pose, 50)
        node.create_subscription(Image, "/ground_truth/depth", self._take_depth, 5)
        node.create_subscription(CameraInfo, "/camera/camera_info", self._take_camera, 5)

    def place(self, stamp_ns: int, mark: tuple[float, float]) -> tuple[float, Floats] | None:
        """True depth of a pixel, metres, and its (2,) place in the world; None where unknown."""
        depth_HW = self._depths.get(stamp_ns)
        if depth_HW is None or not self._poses:
            return None
        u, v = mark
        depth = float(depth_HW[round(v), round(u)])
        local = depth * (np.linalg.inv(self.K) @ np.array([u, v, 1.0]))
        T_base_optical = self._tf.lookup("base_link", "camera_optical_frame")
        nearest = min(self._poses, key=lambda stamp: abs(stamp - stamp_ns))
        world: Floats = self._poses[nearest] @ T_base_optical @ np.append(local, 1.0)
        return depth, world[:2]

    def stands(self) -> Floats:
        """(2,) where the base is now."""
        return next(reversed(self._poses.values()))[:2, 3]

    def _take_pose(self, message: Any) -> None:
        pose = message.pose.pose
        T = matrix(pose.position, pose.orientation)
        _keep(self._poses, nanoseconds(message.header.stamp), T, 50 * KEPT)

    def _take_depth(self, message: Any) -> None:
        shape = (message.height, message.width)
        depth_HW = np.frombuffer(message.data, np.float32).reshape(shape).copy()
        _keep(self._depths, nanoseconds(message.header.stamp), depth_HW, KEPT)

    def _take_camera(self, message: Any) -> None:
        self.K = np.array(message.k, np.float64).reshape(3, 3)


def _keep(kept: OrderedDict[int, Any], stamp_ns: int, value: Any, most: int) -> None:
    kept[stamp_ns] = value
    if len(kept) > most:
        kept.popitem(last=False)


def row_of(node: Any, truth: Truth, seconds: float, mark: tuple[float, float]) -> list[str]:
    """How it ended, and what was true."""
    said, own, true, stands = "-", "-", "-", "-"
    if node.answer is not None and len(node.answer.points):
        said = f"{node.answer.value:.2f}"
        found = truth.place(nanoseconds(node.answer.header.stamp), mark)
        if found is not None:
            depth, place_2 = found
            true, stands = f"{depth:.2f}", f"{np.hypot(*(place_2 - truth.stands())):.2f}"
    if node.phase.name == "ARRIVED":
        own = node.reason.split()[0]
    end = "arrived" if node.phase.name == "ARRIVED" else f"gave up: {node.reason}"
    return [end, f"{seconds:.0f}", said, true, own, stands]


if __name__ == "__main__":
    main()
