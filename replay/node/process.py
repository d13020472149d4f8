# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node under test as a process of its own, started the way the launch file does it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.poses import quaternion_xyzw
from g2vlm_map.recordings import RecordingInfo, RigRecording
from g2vlm_map.recordings.bag_sensors import RobotTopics
from g2vlm_map.recordings.source import COMPRESSED
from g2vlm_model.processes import started
from g2vlm_ros.launch_arguments import PROFILE_VARIABLE, malloc_environment
from g2vlm_ros.policy import Rights, any_node
from g2vlm_ros.shipped import PROFILE_FILE, ROOT, shipped_file
from g2vlm_ros.topics import compressed_topic

from ..errors import NodeFailedError, ReplayInputError
from ..machine import ProcessWatch
from ..run_options import NODE_NAME, ModelOptions, Parameter

# Where outputs are: in metres, and, while the scale is unknown, up to scale.
OUTPUT_PREFIXES = (f"/{NODE_NAME}", f"/{NODE_NAME}/up_to_scale")
SCENE_TOPICS = tuple(f"{prefix}/pose" for prefix in OUTPUT_PREFIXES)  # one pose per scene, first
STATUS_TOPIC = f"/{NODE_NAME}/status"
LOG_TAIL_LINES = 25
REFUSAL = "cannot configure: "  # ahead of the node's reason (g2vlm_ros/perception_node.py)
RIG_BASE = "rig"  # frame of a folder's rig, which has no name of its own
STOP_SECONDS = 15.0
# A process that used this share of a processor for so long is at work: also on a busy machine.
WORK_SECONDS, WORK_SHARE = 5.0, 0.02


def node_environment(domain_id: int) -> dict[str, str]:
    """Environment of the node and of the replay: a private domain, large messages."""
    environment = {
        **os.environ,
        **malloc_environment(os.environ),
        "ROS_DOMAIN_ID": str(domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PYTHONUNBUFFERED": "1",
    }
    profile = shipped_file(PROFILE_FILE)
    if profile is not None:
        environment[PROFILE_VARIABLE] = str(profile)
    # The sources are importable in the child wherever it is started from.
    paths = [str(ROOT), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment


def is_recorded(topic: str, node: str) -> bool:
    """Whether a topic of the node is listened to and kept.

    Pictures are not: the recording that is played has them. Goals of the action have no part in a
    replay, which asks the service.
    """
    own = ("/rosout", "/parameter_events", f"{node}/transition_event")
    return topic not in own and "/keyframe/" not in topic and "/_action/" not in topic


def replay_rights(topics: Collection[str], node: Rights) -> Rights:
    """What the replay's own node may do in the graph: play, listen to all of the node, ask it.

    Args:
        topics: That are played.
        node: Rights of the node under test.
    """
    heard = {topic for topic in node.publish if is_recorded(topic, node.node)}
    asked = (f"{node.node}/{name}" for name in ("get_state", "query", "save_map"))
    return any_node("/g2vlm_replay", {*topics, "/clock"}, heard, request=asked)


class NodeProcess:
    """Runs `python -m g2vlm_ros.node`; a context manager that always ends it.

    Args:
        options: model, runtime and parameters.
        info: topics and types of the frames.
        domain_id: ROS domain.
        log_file: where the node's words go.
        robot: what else is played; None where nothing is.
        rig: the cameras, where there are several.
        depth_topic: depth that is played of the (reference) camera; "" none is.
    """

    def __init__(
        self,
        options: ModelOptions,
        info: RecordingInfo,
        domain_id: int,
        log_file: Path,
        robot: RobotTopics | None = None,
        rig: RigRecording | None = None,
        depth_topic: str = "",
    ) -> None:
        self._command = node_command(options, info, robot, rig, depth_topic)
        self._environment = node_environment(domain_id)
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: ProcessWatch | None = None
        self._looked, self._worked = (0.0, 0.0), True

    def __enter__(self) -> NodeProcess:
        with self._log_file.open("wb") as log:
            self._process = started(  # it ends with the replay, however that ends
                self._command,
                self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches the replay, which ends the node in order
            )
        self._watch, self._looked = ProcessWatch(self.pid), (time.monotonic(), 0.0)
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_working(self) -> bool:
        """Whether it has used the processor since the last look, which is a moment ago at least.

        True in between: a node that loads a model, or makes its first pass, answers nobody.
        """
        now_s, used_s = time.monotonic(), self._watch.cpu_s() if self._watch else 0.0
        looked_s, before_s = self._looked
        if now_s - looked_s >= WORK_SECONDS:
            self._worked = used_s - before_s >= WORK_SHARE * (now_s - looked_s)
            self._looked = now_s, used_s
        return self._worked

    def check_alive(self) -> None:
        """Raise where the node has ended.

        Raises:
            ReplayInputError: It refused what it was told, in its words.
            NodeFailedError: With its exit status and the tail of its log.
        """
        assert self._process is not None
        status = self._process.poll()
        if status == os.EX_CONFIG:
            refusals = re.findall(rf"{REFUSAL}.*", self._log())
            raise ReplayInputError(
                f"the node {refusals[-1] if refusals else REFUSAL + 'see its log'}"
            )
        if status is not None:
            how = f"by signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            raise NodeFailedError(f"the node ended ({how}). {self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines that the node wrote."""
        lines = self._log().splitlines()
        if not lines:
            return "It wrote nothing."
        shown = "\n  ".join(lines[-LOG_TAIL_LINES:])
        return f"Its last words ({self._log_file}):\n  {shown}"

    def _log(self) -> str:
        try:
            return self._log_file.read_text(errors="replace")
        except OSError:
            return ""

    def stop(self) -> None:
        """Ask it to end, then make it."""
        process = self._process
        if process is None:
            return
        for wanted in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(wanted)
                deadline = time.monotonic() + STOP_SECONDS
                while process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.05)
        process.wait()


def node_command(
    options: ModelOptions,
    info: RecordingInfo,
    robot: RobotTopics | None = None,
    rig: RigRecording | None = None,
    depth_topic: str = "",
) -> list[str]:
    """The command line of the node under test."""
    parameters: dict[str, Parameter | list[str]] = {"use_sim_time": True, "autostart": True}
    cameras = {"camera": info}
    if rig is not None:
        cameras = {name: camera.info for name, camera in rig.cameras.items()}
        parameters["cameras"] = list(cameras)
    for name, own in cameras.items():
        parameters[f"{name}.image_topic"] = own.image_topic
        parameters[f"{name}.camera_info_topic"] = own.info_topic
        transport = "compressed" if own.image_type == COMPRESSED else "raw"
        parameters[f"{name}.image_transport"] = transport
    parameters["images.reliability"] = "reliable"
    if depth_topic:
        parameters[f"{next(iter(cameras))}.depth_topic"] = depth_topic
    if rig is not None and not rig.base:  # a folder's: no TF tells where they sit
        parameters["frames.base"] = RIG_BASE
        parameters |= {
            f"{name}.extrinsics": extrinsics_text(T) for name, T in rig.T_base_cams.items()
        }
    if robot is not None and robot.base:
        parameters["frames.base"] = robot.base
        parameters["frames.odom"] = robot.odom
        parameters["sensors.odometry_topic"] = robot.odometry if robot.odometry != "/tf" else ""
        parameters["sensors.scan_topics"] = " ".join(robot.scans)
    parameters |= options.own_values
    command = [sys.executable, "-m", "g2vlm_ros.node", "--ros-args", "-r", f"__node:={NODE_NAME}"]
    for own in cameras.values():
        wanted = compressed_topic(own.image_topic)
        if own.image_type == COMPRESSED and wanted != own.image_topic:
            command += ["-r", f"{wanted}:={own.image_topic}"]  # it may be called anything
    if options.params_file is not None:
        command += ["--params-file", str(options.params_file)]
    for name, value in parameters.items():
        if isinstance(value, list):
            shown = "[" + ", ".join(map(_quoted, value)) + "]"
        else:
            shown = _quoted(value) if isinstance(value, str) else str(value).lower()
        # With the node's name: a section of that name in the file would else win over this.
        command += ["-p", f"{NODE_NAME}:{name}:={shown}"]
    return command


def extrinsics_text(T_base_cam: NDArray[np.float64]) -> str:
    """A pose as the parameter `<camera>.extrinsics` has it: x y z qx qy qz qw."""
    numbers = (*T_base_cam[:3, 3], *quaternion_xyzw(T_base_cam[:3, :3]))
    return " ".join(f"{float(number):.9g}" for number in numbers)


def _quoted(text: str) -> str:
    """JSON-like text is read as YAML: texts are quoted so that "1" or "" stay texts."""
    return "'" + text.replace("'", "''") + "'"
