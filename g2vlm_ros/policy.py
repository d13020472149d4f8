# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""SROS2 policies with the least topics, services and actions, by the node's parameters. No rclpy.

    python -m g2vlm_ros.policy --params robot.yaml > robot.policy.xml
    ros2 security create_enclave KEYSTORE /g2vlm
    ros2 security create_permission KEYSTORE /g2vlm robot.policy.xml

What is shipped in `policies/` is made so; a test holds each against the graph of the real process.
Names are absolute: a policy holds for one namespace. The format is that of sros2, version 0.2.0.
"""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from g2vlm_model.interface.command_line import CommandParser
from g2vlm_model.interface.words import plain_lines
from g2vlm_ros.doctor.told import told_by
from g2vlm_ros.doctor.wanted import GraphNames, wanted
from g2vlm_ros.frame_options import UP_TO_SCALE
from g2vlm_ros.params import NodeParams
from g2vlm_ros.topics import VIEWER_TF

__all__ = ["Rights", "any_node", "main", "node_rights", "policy_text", "viewer_rights"]

VERSION = "0.2.0"
_PARAMETERS = (
    *("describe_parameters", "get_parameter_types", "get_parameters", "list_parameters"),
    *("set_parameters", "set_parameters_atomically"),
)
_LIFECYCLE = (
    *("change_state", "get_state", "get_available_states", "get_available_transitions"),
    "get_transition_graph",
)
_OWN_SERVICES = (
    *("query", "reset", "pause", "set_scale", "save_map", "load_map", "localize"),
    *_LIFECYCLE,
)
# Of scenes, in metres and up to scale; pictures also of each camera of a rig.
_SCENE = ("points", "pose", "odometry", "path", "map/graph")
_PICTURES = ("depth/image", "depth/camera_info", "image")
# Of questions: pictures to mark, also of each camera of a rig; evidence, in both units; the rest
# where the packages of their types are installed.
_KEYFRAME = "keyframe/image/compressed"
_ANSWERS = ("answers/markers", "answers/detections")
_DRAWN = "keyframe/annotations"
_OF_NODE = ("status", "map_event", "transition_event")
_OF_MAP = ("map/points", "map/occupancy", "obstacles", "scan")


@dataclass(frozen=True)
class Rights:
    """What one node may do; names are full.

    Args:
        node: With its namespace.
        publish, subscribe: Topics.
        reply, request: Services that it offers, and those that it calls.
        execute, call: Actions that it offers, and those that it calls.
    """

    node: str
    publish: frozenset[str] = frozenset()
    subscribe: frozenset[str] = frozenset()
    reply: frozenset[str] = frozenset()
    request: frozenset[str] = frozenset()
    execute: frozenset[str] = frozenset()
    call: frozenset[str] = frozenset()


def any_node(
    node: str,
    publish: Iterable[str] = (),
    subscribe: Iterable[str] = (),
    reply: Iterable[str] = (),
    request: Iterable[str] = (),
    *,
    execute: Iterable[str] = (),
    call: Iterable[str] = (),
    use_sim_time: bool = False,
) -> Rights:
    """Rights of a node of rclpy: the given ones, its log, its parameters, its clock."""
    own = (*_PARAMETERS, "get_type_description")
    return Rights(
        node,
        frozenset({*publish, "/rosout", "/parameter_events"}),
        frozenset({*subscribe, *(["/clock"] if use_sim_time else [])}),
        frozenset({*reply, *(f"{node}/{name}" for name in own)}),
        frozenset(request),
        frozenset(execute),
        frozenset(call),
    )


def node_rights(params: NodeParams, node: str = "/g2vlm", *, use_sim_time: bool = False) -> Rights:
    """What the perception node does with some parameters.

    Args:
        params: Checked.
        node: Its name with the namespace.
        use_sim_time: Its parameter of that name.
    """
    names = GraphNames(node)
    scene = [*_SCENE, *_PICTURES, *_ANSWERS]
    drawn = [_KEYFRAME, _DRAWN]
    if len(params.cameras) > 1:
        scene += [f"{camera}/{name}" for camera in params.cameras for name in _PICTURES]
        drawn += [f"{camera}/{_KEYFRAME}" for camera in params.cameras]
    publish = [f"{node}/{name}" for name in (*scene, *drawn, *_OF_MAP, *_OF_NODE)]
    publish += [f"{node}/{UP_TO_SCALE}/{name}" for name in scene]
    publish.append("/diagnostics")
    subscribe = [want.topic for want in wanted(params, names)]
    subscribe.append(names.resolve_topic_name("initialpose"))
    if params.broadcasts:
        publish.append("/tf")
    if params.broadcasts or params.needs_transforms:
        subscribe += ["/tf", "/tf_static"]
    if params.bond_timeout:
        bond = names.resolve_topic_name("bond")
        publish.append(bond)
        subscribe.append(bond)
    reply = [f"{node}/{name}" for name in _OWN_SERVICES]
    asked = [f"{node}/ask"]
    return any_node(node, publish, subscribe, reply, execute=asked, use_sim_time=use_sim_time)


def viewer_rights() -> Rights:
    """What `g2vlm_ros.viewer_frames` does, which RViz gets its frames from."""
    poses = (f"/g2vlm/{name}" for name in ("pose", f"{UP_TO_SCALE}/pose"))
    copies = (topic for _, topic in VIEWER_TF)
    return any_node("/g2vlm_viewer_frames", copies, ("/tf", "/tf_static", *poses))


def policy_text(enclaves: Sequence[tuple[str, Rights]]) -> str:
    """The XML of a policy.

    Args:
        enclaves: Path of each, and what the one node in it may do.
    """
    root = ET.Element("policy", version=VERSION)
    inside = ET.SubElement(root, "enclaves")
    for path, rights in enclaves:
        namespace, _, name = rights.node.rpartition("/")
        enclave = ET.SubElement(inside, "enclave", path=path)
        profiles = ET.SubElement(enclave, "profiles")
        profile = ET.SubElement(profiles, "profile", ns=namespace or "/", node=name)
        for group, item, right, found in (
            ("actions", "action", "execute", rights.execute),
            ("actions", "action", "call", rights.call),
            ("services", "service", "reply", rights.reply),
            ("services", "service", "request", rights.request),
            ("topics", "topic", "publish", rights.publish),
            ("topics", "topic", "subscribe", rights.subscribe),
        ):
            if found:
                listed = ET.SubElement(profile, group, {right: "ALLOW"})
                for full in sorted(found):
                    ET.SubElement(listed, item).text = full
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def main(argv: Sequence[str] | None = None) -> int:
    """Print the policy of a node."""
    parser = CommandParser(
        prog="python -m g2vlm_ros.policy", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--params", type=Path, help="parameter file; without it the defaults")
    parser.add_argument("--node", default="/g2vlm", help="with its namespace (default /g2vlm)")
    parser.add_argument("--enclave", default="", help="default: the node's name")
    chosen = parser.parse_args(argv)
    name = f"/{chosen.node.strip('/')}"
    try:
        told = told_by(name, chosen.params)
        if told.problem:
            raise ValueError(told.problem)
    except (OSError, ValueError) as error:
        print(f"no policy: {plain_lines(str(error))}", file=sys.stderr)
        return 2
    rights = node_rights(told.params, name, use_sim_time=told.uses_sim_time)
    print(policy_text([(chosen.enclave or name, rights)]), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
