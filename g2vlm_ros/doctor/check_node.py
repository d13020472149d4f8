# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Checks of the node itself: what it refuses of its parameters, its state, what it says."""

from __future__ import annotations

from collections.abc import Iterator

from g2vlm_ros.doctor.findings import FIRST_S, Finding
from g2vlm_ros.doctor.seen import Seen

__all__ = ["check_parameters", "check_state", "said_by_node"]

# Reasons about the set-up that the doctor cannot see for itself, and what to do; those about
# what is looked at (LOW_PARALLAX, FEW_MATCHES) come and go with the scene.
_TO_DO = {
    "BAD_IMAGES": "ros2 topic echo --once --no-arr TOPIC; set the driver to rgb8 or JPEG",
    "BAD_CAMERA_INFO": "calibrate the camera, or CAMERA.camera_info_topic: ''",
    "TIME_JUMP": "let the driver stamp each frame with its capture",
    "TF_CONFLICT": "frames.odom and frames.base of the robot, or tf.publish: false",
    "EXTRINSICS_CHANGED": "one broadcaster of the camera's frame, a static one",
    "SENSOR_REFUSED": "correct the sensor that is named, or leave its topic empty",
    "DEPTH_MISSING": "depth.source: model, or correct CAMERA.depth_topic",
    "CALIBRATION_DOUBTFUL": "calibrate the camera anew",
    "MAP_FILE_FAILED": "another path in ~/save_map or ~/load_map",
    "RUNTIME_FALLBACK": "runtime: auto with device: auto",
    "RUNTIME_SLOW": "query.timeout_s higher, window.size lower, or a faster device or precision",
    "RUNTIME_FAILED": "runtime: torch with device: cpu; the log has the trace",
    "UNEXPECTED_ERROR": "the log has the trace; report it",
    "NAME_TAKEN": "a namespace for each robot's node: --ros-args -r __ns:=/robot1",
    "OVERLOADED": "max_rate_hz lower, query.queue higher, or ask less often",
}


def check_parameters(seen: Seen) -> Iterator[Finding]:
    """Parameters that the node refuses at configure."""
    if seen.problem:
        yield Finding(
            "PARAMETERS",
            "the node's parameters",
            seen.problem,
            "correct what is named; docs/node.md lists all parameters",
        )


def check_state(seen: Seen) -> Iterator[Finding]:
    """A node that does not answer, or is not active."""
    node = seen.node
    if node is None:
        return
    if not node.answers:
        yield Finding(
            "NODE_SILENT",
            node.name,
            "its services do not answer: it loads a model, hangs, was killed a moment ago, or is "
            "in another network",
            "wait where its log ends in 'loading', else start it again",
            margin_s=FIRST_S,
        )
    elif node.state and node.state != "active":
        step = "activate" if node.state == "inactive" else "configure"
        yield Finding(
            "NODE_INACTIVE",
            node.name,
            f"it is {node.state}, and publishes while active only",
            f"ros2 lifecycle set {node.name} {step}; its log says why where that fails",
        )


def said_by_node(seen: Seen, found: list[Finding]) -> Iterator[Finding]:
    """Reasons of the node's status about its set-up that no finding explains.

    Args:
        seen: The look.
        found: By all other checks.
    """
    explained = {code for item in found for code in (item.code, *item.explains)}
    for code, text in () if seen.node is None else seen.node.reasons:
        if code in _TO_DO and code not in explained:
            yield Finding(code, seen.node.name if seen.node else "", text, _TO_DO[code])
