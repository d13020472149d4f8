# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""SROS2 policies: what the real process has in the graph is allowed, and nothing else is."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from g2vlm_replay.node.bag_writer import BagWriter
from g2vlm_replay.node.link import NodeLink
from g2vlm_replay.node.recorder import Recorder
from g2vlm_replay.outcome import Timeline
from rclpy.node import NodeNameNonExistentError

from g2vlm_ros.answer_topics import OPTIONAL
from g2vlm_ros.launch_arguments import ros_arguments
from g2vlm_ros.policy import Rights, main
from g2vlm_ros.viewer_frames import ViewerFrames
from tests.helpers import REPO
from tests.ros.graph import SCRIPTED, Graph

POLICIES = REPO / "policies"
# Everything that a parameter can switch on.
FULL = POLICIES / "full.yaml"
RULES = {
    "publish": "topics", "subscribe": "topics", "reply": "services", "request": "services",
    "execute": "actions", "call": "actions",
}  # fmt: skip
# What an action is in the graph, by rule of whoever offers it; as sros2's stylesheet spells it out.
OF_ACTION = {
    "publish": ("feedback", "status"),
    "reply": ("send_goal", "cancel_goal", "get_result"),
}


# Topics of types whose packages are not installed here.
NOT_HERE = {
    f"/g2vlm/{prefix}{topic}"
    for package, _, topic, _ in OPTIONAL
    if importlib.util.find_spec(package) is None
    for prefix in ("", "up_to_scale/")
}


def allowed(path: Path, node: str) -> Rights:
    """What a policy file allows a node, by full names as sros2 makes them."""
    root = ET.fromstring(path.read_text(encoding="utf-8"))  # our own files
    space, _, short = node.rpartition("/")
    profile = root.find(f".//profile[@ns='{space or '/'}'][@node='{short}']")
    assert profile is not None, f"{path.name} has no profile of {node}"
    found: dict[str, frozenset[str]] = {}
    for rule, group in RULES.items():
        listed = [item for item in profile.findall(group) if item.get(rule) == "ALLOW"]
        found[rule] = frozenset(str(name.text) for item in listed for name in item)
    for rule, parts in OF_ACTION.items():
        found[rule] |= {f"{name}/_action/{part}" for name in found["execute"] for part in parts}
    found["execute"] = frozenset()
    for rule in ("publish", "subscribe"):
        found[rule] -= NOT_HERE
    return Rights(node, **found)


def real(watcher: Any, node: str) -> Rights:
    """What a node has in the graph; nothing while it is not seen there yet."""
    space, _, short = node.rpartition("/")

    def of(kind: str) -> frozenset[str]:
        ask = getattr(watcher, f"get_{kind}_names_and_types_by_node")
        try:
            return frozenset(name for name, _ in ask(short, space or "/"))
        except NodeNameNonExistentError:
            return frozenset()

    return Rights(node, of("publisher"), of("subscriber"), of("service"), of("client"))


def differences(has: Rights, may: Rights) -> dict[str, list[str]]:
    """Per rule, what a node has and may not, or may and has not."""
    return {
        rule: sorted(getattr(has, rule) ^ getattr(may, rule))
        for rule in RULES
        if getattr(has, rule) != getattr(may, rule)
    }


def wait_for_equal(different: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is different in the end: the graph is told of things one after the other."""
    deadline = time.monotonic() + 15.0
    while (last := different()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return last


def values_of(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["/**"]["ros__parameters"])


@pytest.mark.parametrize(
    ("policy", "values"),
    [
        ("g2vlm.policy.xml", {}),
        ("full.policy.xml", values_of(FULL)),
        ("simulated.policy.xml", values_of(REPO / "launch" / "simulated.yaml")),
    ],
    ids=["default", "fullest", "simulated"],
)
def test_the_real_node_has_what_the_policy_allows_and_nothing_else(
    ros: None, policy: str, values: dict[str, Any]
) -> None:
    graph = Graph({**values, "runtime": SCRIPTED})
    try:
        graph.start()
        may = allowed(POLICIES / policy, "/g2vlm")

        def different() -> dict[str, Any]:
            graph.spin(0.05)
            return differences(real(graph.client, "/g2vlm"), may)

        last = wait_for_equal(different)
        assert last == {}
    finally:
        graph.close()


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.policy.xml")), ids=lambda path: path.name)
def test_policies_have_the_form_that_sros2_reads(path: Path) -> None:
    """Elements, attributes and words as sros2's schema of version 0.2.0 has them."""
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    assert (root.tag, root.attrib) == ("policy", {"version": "0.2.0"})
    inner = {
        "policy": {"enclaves"}, "enclaves": {"enclave"}, "enclave": {"profiles"},
        "profiles": {"profile"}, "profile": {"topics", "services", "actions"},
        "topics": {"topic"}, "services": {"service"}, "actions": {"action"},
        "topic": set(), "service": set(), "action": set(),
    }  # fmt: skip
    attributes = {"enclave": {"path"}, "profile": {"ns", "node"}, "policy": {"version"}}
    for item in root.iter():
        assert {child.tag for child in item} <= inner[item.tag], item.tag
        if item.tag in RULES.values():
            (rule,) = item.attrib
            assert RULES[rule] == item.tag
            assert item.attrib[rule] == "ALLOW"
            assert len(item), "an empty list grants nothing and is refused"
        else:
            assert set(item.attrib) == attributes.get(item.tag, set())
        if item.tag in ("topic", "service", "action"):
            assert str(item.text).startswith("/")
            assert not set(str(item.text)) & set("*?[ \n"), "no patterns: they allow too much"


def test_a_policy_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--params", str(FULL)]) == 0
    assert capsys.readouterr().out == (POLICIES / "full.policy.xml").read_text(encoding="utf-8")
    assert main(["--params", str(FULL), "--node", "/robot1/g2vlm", "--enclave", "/r"]) == 0
    root = ET.fromstring(capsys.readouterr().out)
    names = [str(item.text) for item in root.iter("topic")]
    assert "/robot1/g2vlm/points" in names
    assert "/robot1/initialpose" in names
    assert {item.get("path") for item in root.iter("enclave")} == {"/r"}
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("/**: {ros__parameters: {window.size: many}}")
    assert main(["--params", str(wrong)]) == 2
    assert "window.size is 'many'" in capsys.readouterr().err


def test_the_replays_own_node_and_the_viewers_too(ros: None, tmp_path: Path) -> None:
    """The replay's side of the graph beside the real node, and what RViz gets its frames from."""
    graph = Graph({"runtime": SCRIPTED})
    viewer = rclpy.create_node("g2vlm_viewer_frames")
    ViewerFrames(viewer)
    with BagWriter(tmp_path / "recorded") as writer:
        recorder = Recorder(writer, (), "/g2vlm/status", Timeline())
        kinds = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo")
        topics = dict(zip(("/camera/image_raw", "/camera/camera_info"), kinds, strict=True))
        link = NodeLink(topics, int(os.environ["ROS_DOMAIN_ID"]), recorder)
        try:
            graph.start()
            wanted = {
                "/g2vlm_replay": allowed(POLICIES / "replay.policy.xml", "/g2vlm_replay"),
                "/g2vlm_viewer_frames": allowed(
                    POLICIES / "viewer.policy.xml", "/g2vlm_viewer_frames"
                ),
            }

            def different() -> dict[str, Any]:
                graph.spin(0.05)
                link._subscribe()  # again and again, as it does until all are there
                return {
                    name: found
                    for name, may in wanted.items()
                    if (found := differences(real(graph.client, name), may))
                }

            last = wait_for_equal(different)
            assert last == {}
        finally:
            link.close()
            viewer.destroy_node()
            graph.close()


def test_with_enforce_a_node_without_its_enclave_does_not_start(tmp_path: Path) -> None:
    """The words are those of the launch file; without them it would start in another enclave."""
    environment = {
        **os.environ,
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(tmp_path),
    }
    values = {"log_level": "info", "enclave": "/g2vlm"}
    command = [sys.executable, "-m", "g2vlm_ros.node", "--ros-args", *ros_arguments(values)]
    done = subprocess.run(
        command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode not in (0, None)
    assert "SECURITY ERROR" in done.stderr
    assert "g2vlm" in done.stderr
