# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The simulated robot as a process, through DDS; with the node beside it, as users start both."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from g2vlm_demo import drive_bag, simulate
from g2vlm_demo.faults import Faults
from g2vlm_demo.simulate import node_command, node_parameters
from g2vlm_demo.simulator.options import SimulatorOptions, defaults, parse
from g2vlm_demo.simulator.pacing import Ahead, Paced
from g2vlm_demo.stream import Due

from g2vlm_map.recordings.transforms import TransformTree, transform_from
from g2vlm_ros.params import parse as parse_node
from tests.helpers import REPO, wait_for

NS = 1_000_000_000
SMALL = ("--robot", "width=64", "--robot", "height=48", "--robot", "index=1")


def due(seconds: float) -> Due:
    return Due(round(seconds * NS), "/topic", "type", seconds)


def test_parameters_become_a_drive_and_unknown_ones_are_refused() -> None:
    options = parse({"scene": "hall", "stereo_m": 0.1, "faults.kidnap_at_s": 9.0, "scan_hz": 0.0})
    spec = options.drive()
    assert (spec.scene, spec.stereo_m, spec.faults.kidnap_at_s) == ("hall", 0.1, 9.0)
    assert not options.streams().scan
    assert parse(defaults()) == SimulatorOptions()
    with pytest.raises(ValueError, match=r"unknown parameters \['faults.kidnap'\], expected some"):
        parse({"faults.kidnap": 3.0})
    assert parse({"rate_hz": 5}).rate_hz == 5.0
    with pytest.raises(ValueError, match="raw is 1, expected a value of type bool"):
        parse({"raw": 1})
    with pytest.raises(ValueError, match="mode is 'fly', expected 'tour' or 'cmd_vel'"):
        parse({"mode": "fly"})


def test_the_page_names_every_parameter_and_every_fault() -> None:
    page = (REPO / "docs" / "simulation.md").read_text(encoding="utf-8")
    names = {name.removeprefix("faults.") for name in defaults()}
    assert not {name for name in names if f"`{name}`" not in page}


@pytest.mark.parametrize("command", [simulate.main, drive_bag.main])
def test_the_help_lists_every_fault_with_its_default_and_says_what_it_does(
    command: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command(["--help"])
    listed = capsys.readouterr().out.partition("faults and their defaults")[2]
    values, _, meanings = listed.partition("\n\n")
    for name, default in vars(Faults()).items():
        assert f"  {name}={default}\n" in values + "\n"
        assert re.search(rf"\b{name}\b", meanings), name


def test_messages_go_out_when_they_are_due_and_stale_ones_do_not() -> None:
    sent: list[tuple[float, float]] = []
    start = time.monotonic_ns()

    def send(item: Due) -> None:
        sent.append((item.message, (time.monotonic_ns() - start) / NS))

    paced = Paced(iter([due(-1.0), due(0.1), due(0.3)]), send, start, NS // 2)
    wait_for(lambda: not paced.running, 10.0)
    assert [item for item, _ in sent] == [0.1, 0.3]
    assert all(0.0 <= when - item < 0.25 for item, when in sent)
    assert paced.dropped == 1
    forever = Paced(iter([due(1000.0)]), send, start, NS)
    forever.close()
    assert not forever.running


def test_what_breaks_while_it_is_made_ahead_is_raised_where_it_is_sent() -> None:
    def broken() -> Iterator[Due]:
        yield due(0.0)
        raise RuntimeError("no picture")

    paced = Paced(Ahead(broken(), 4), lambda _: None, time.monotonic_ns(), 10 * NS)
    wait_for(lambda: not paced.running, 10.0)
    assert paced.sent == 1
    assert str(paced.error) == "no picture"


class Listener:
    """What a robot says, heard through DDS."""

    def __init__(self) -> None:
        import rclpy
        from geometry_msgs.msg import Twist
        from nav_msgs.msg import Odometry
        from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
        from sensor_msgs.msg import CameraInfo, Image, LaserScan
        from tf2_msgs.msg import TFMessage

        self.node = rclpy.create_node("listener")
        self.heard: dict[str, list[Any]] = {}
        latched = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for topic, kind, profile in (
            ("/camera/image_raw", Image, qos_profile_sensor_data),
            ("/camera/camera_info", CameraInfo, qos_profile_sensor_data),
            ("/odom", Odometry, qos_profile_sensor_data),
            ("/scan", LaserScan, qos_profile_sensor_data),
            ("/tf", TFMessage, 100),
            ("/tf_static", TFMessage, latched),
            ("/ground_truth/odometry", Odometry, qos_profile_sensor_data),
        ):
            self.listen(topic, kind, profile)
        self._command = self.node.create_publisher(Twist, "/cmd_vel", 1)
        self._twist = Twist()

    def listen(self, topic: str, kind: Any, profile: Any = 10) -> None:
        self.heard[topic] = []
        self.node.create_subscription(kind, topic, self.heard[topic].append, profile)

    def hear(self) -> dict[str, list[Any]]:
        import rclpy

        for _ in range(20):
            rclpy.spin_once(self.node, timeout_sec=0.01)
        return self.heard

    def drive(self, speed: float, turn_rate: float) -> None:
        self._twist.linear.x, self._twist.angular.z = speed, turn_rate
        self._command.publish(self._twist)

    def positions(self, topic: str) -> np.ndarray:
        """(M, 3) seconds, x, y."""
        rows = []
        for message in self.heard[topic]:
            stamp, at = message.header.stamp, message.pose.pose.position
            rows.append((stamp.sec + stamp.nanosec / NS, at.x, at.y))
        return np.array(rows)

    def spread(self, topic: str) -> float:
        """Metres between the outermost places."""
        return float(np.ptp(self.positions(topic)[:, 1:], axis=0).max())

    def tree(self) -> TransformTree:
        """The TF tree as it was heard."""
        tree = TransformTree()
        for topic in ("/tf_static", "/tf"):
            for message in self.heard[topic]:
                for item in message.transforms:
                    stamp = item.header.stamp.sec * NS + item.header.stamp.nanosec
                    T = transform_from(item.transform.translation, item.transform.rotation)
                    tree.add(
                        item.header.frame_id, item.child_frame_id, stamp, T,
                        static=topic == "/tf_static",
                    )  # fmt: skip
        return tree


@pytest.fixture
def listener() -> Iterator[Listener]:
    import rclpy

    rclpy.init()
    made = Listener()
    yield made
    made.node.destroy_node()
    rclpy.shutdown()


@contextmanager
def simulation(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`g2vlm simulate` as a process; it and all that it started have ended behind it."""
    environment = {**os.environ, "G2VLM_DRIVES": str(folder / "drives"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "g2vlm_demo.simulate", *words],
        cwd=REPO, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    children: list[psutil.Process] = []
    try:
        watched = psutil.Process(process.pid)
        wait_for(lambda: watched.children(recursive=True), 20.0, what="a child process")
        yield process
        children = watched.children(recursive=True)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            text, _ = process.communicate(timeout=60.0)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0, text
    assert "Traceback" not in text
    assert not [child for child in children if child.is_running()], text


@pytest.mark.slow
def test_a_robot_drives_its_tour_at_real_rates_and_ends_when_told(
    listener: Listener, tmp_path: Path
) -> None:
    with simulation(
        tmp_path, *SMALL, "--robot-only", "--robot", "rate_hz=5.0", "--robot", "prerender=false"
    ):
        heard = listener.hear
        wait_for(lambda: len(heard()["/camera/image_raw"]) >= 15, 90.0, what="pictures")
        wait_for(lambda: len(heard()["/scan"]) >= 20, 30.0, what="scans")
        wait_for(lambda: len(heard()["/tf_static"]) >= 1, 30.0, what="/tf_static")
    images, infos = listener.heard["/camera/image_raw"], listener.heard["/camera/camera_info"]
    stamps = np.array([item.header.stamp.sec + item.header.stamp.nanosec / NS for item in images])
    assert np.abs(np.diff(stamps) / 0.2 - np.rint(np.diff(stamps) / 0.2)).max() < 1e-3
    assert abs(stamps[-1] - time.time()) < 60.0  # the clock of the node
    assert {(item.width, item.height, item.encoding) for item in images} == {(64, 48, "rgb8")}
    assert {item.header.frame_id for item in (*images, *infos)} == {"camera_optical_frame"}
    assert infos[0].k[0] > 30.0
    chain = ["camera_optical_frame", "camera_link", "base_link", "odom"]
    assert listener.tree().chain("camera_optical_frame") == chain
    odometry, truth = (listener.positions(name) for name in ("/odom", "/ground_truth/odometry"))
    assert 0.5 < np.median(np.diff(odometry[:, 0])) / 0.02 < 1.5
    way = [np.linalg.norm(np.diff(rows[:, 1:], axis=0), axis=1).sum() for rows in (odometry, truth)]
    assert way[1] > 0.3
    assert 0.85 < way[0] / way[1] < 1.15


@pytest.mark.slow
def test_the_node_maps_what_the_robot_drives_through_in_metres(
    listener: Listener, tmp_path: Path
) -> None:
    """Both processes, as a newcomer starts them: clouds, poses and one tree of frames."""
    from geometry_msgs.msg import PoseWithCovarianceStamped
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import PointCloud2

    listener.listen("/g2vlm/pose", PoseWithCovarianceStamped)
    for name in ("/g2vlm/points", "/g2vlm/up_to_scale/points"):
        listener.listen(name, PointCloud2, qos_profile_sensor_data)
    words = ("--index", "1", "--robot", "width=160", "--robot", "height=120")
    with simulation(tmp_path, *words, "--robot", "rate_hz=5.0", "--node", "runtime=torch"):
        heard = listener.hear
        wait_for(lambda: heard()["/g2vlm/up_to_scale/points"], 120.0, what="a cloud without scale")
        wait_for(lambda: len(heard()["/g2vlm/pose"]) >= 8, 180.0, what="poses in metres")
        wait_for(lambda: heard() and listener.spread("/g2vlm/pose") > 0.8, 120.0, what="a way")
        wait_for(lambda: heard()["/g2vlm/points"], 30.0, what="a cloud in metres")
        wait_for(lambda: listener.tree().chain("laser")[-1] != "odom", 30.0, what="map -> odom")
    tree = listener.tree()
    for frame in ("camera_optical_frame", "laser", "base_link"):
        assert tree.chain(frame)[-2:] == ["odom", "g2vlm_map"]
    assert listener.heard["/g2vlm/points"][-1].width > 100
    # From pose to pose the robot moved as far as it truly did.
    said, truth = (listener.positions(name) for name in ("/g2vlm/pose", "/ground_truth/odometry"))
    said = said[(said[:, 0] >= truth[0, 0]) & (said[:, 0] <= truth[-1, 0])]
    at = np.column_stack([np.interp(said[:, 0], truth[:, 0], truth[:, axis]) for axis in (1, 2)])
    moved = np.linalg.norm(said[:, None, 1:] - said[None, :, 1:], axis=2)
    true = np.linalg.norm(at[:, None] - at[None], axis=2)
    far = true > 0.4 * true.max()
    assert true.max() > 0.3
    assert 0.7 < np.median(moved[far] / true[far]) < 1.4


@pytest.mark.slow
def test_a_robot_follows_commands_and_stops_without_them(
    listener: Listener, tmp_path: Path
) -> None:
    words = (*SMALL, "--robot-only", "--robot", "mode=cmd_vel")
    with simulation(tmp_path, *words):
        wait_for(lambda: listener.hear()["/odom"], 90.0, what="odometry")
        began = time.monotonic()
        while time.monotonic() - began < 2.0:
            listener.drive(0.0, 0.5)
            listener.hear()
        wait_for(lambda: len(listener.hear()["/camera/image_raw"]) >= 3, 60.0, what="pictures")
        time.sleep(1.5)
        listener.hear()
        listener.heard["/odom"].clear()
        wait_for(lambda: len(listener.hear()["/odom"]) >= 10, 30.0, what="odometry")
    last = listener.heard["/odom"]
    z = [message.pose.pose.orientation.z for message in last]
    assert abs(z[-1]) > 0.15  # it turned by 0.3 rad and more
    assert np.ptp(z[-5:]) < 1e-6  # and stands


@pytest.mark.slow
def test_a_wrong_parameter_ends_the_robot_and_the_command(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "g2vlm_demo.simulate",
        "--robot-only",
        "--robot",
        "split=train",
    ]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "split is 'train', expected 'val' or 'test'" in done.stderr
    assert "the robot ended (2)" in done.stderr


def test_the_node_knows_the_robot_and_takes_other_words() -> None:
    document = yaml.safe_load((REPO / "launch" / "simulated.yaml").read_text(encoding="utf-8"))
    given = document["/**"]["ros__parameters"]
    known = parse_node(given)
    assert known.topics[0].image_topic == "/camera/image_raw"
    command = node_command(node_parameters(["scale.max_sigma=0.1"]), REPO / "x.yaml")
    assert command[command.index("--params-file") + 1] == str(REPO / "x.yaml")
    assert "g2vlm:scale.max_sigma:=0.1" in command
    assert "g2vlm:autostart:=true" in command
    with pytest.raises(ValueError, match="parameter is 'x', expected NAME=VALUE"):
        node_parameters(["x"])
