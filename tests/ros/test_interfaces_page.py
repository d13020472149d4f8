# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""docs/interfaces.md: what it says of this node's side is so."""

from __future__ import annotations

import re

import yaml

from g2vlm_ros.launch_arguments import NODE_ARGUMENTS
from g2vlm_ros.params import camera_options, node_options, parse
from tests.helpers import REPO

PAGE = (REPO / "docs" / "interfaces.md").read_text(encoding="utf-8")
NODE = (REPO / "docs" / "node.md").read_text(encoding="utf-8")


def test_topics_and_services_are_the_nodes() -> None:
    named = {name.rstrip("/") for name in re.findall(r"/g2vlm/([a-z_/]+)", PAGE)}
    first_column = "\n".join(row.split("|")[2] for row in PAGE.splitlines() if row.count("|") == 6)
    named |= set(re.findall(r"`~/([a-z_/]+)`", first_column))
    named -= {"name"}
    assert len(named) > 10
    missing = {name for name in named if f"`~/{name}`" not in NODE}
    assert not missing


def test_parameter_blocks_are_accepted() -> None:
    blocks = re.findall(r"```yaml\n(/\*\*:\n.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        parse(yaml.safe_load(block)["/**"]["ros__parameters"])


def test_parameters_that_are_named_exist() -> None:
    known = {*node_options(), *(f"CAMERA.{name[7:]}" for name in camera_options("camera"))}
    groups = {name.split(".")[0] for name in known if "." in name}
    named = {
        name
        for name in re.findall(r"`([A-Za-z]+\.[a-z_]+)(?:: \w+)?`", PAGE)
        if name.split(".")[0] in groups
    }
    assert {"frames.odom", "tf.publish", "CAMERA.depth_topic"} <= named
    assert named <= known
    shown = set(re.findall(r"(\w+):=", "\n".join(re.findall(r"g2vlm\.launch\.py (.*)", PAGE))))
    assert shown <= {item.name for item in NODE_ARGUMENTS}
