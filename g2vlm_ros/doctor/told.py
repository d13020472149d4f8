# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the node is told: its parameters out of a file, of the running node, or by default.

No rclpy: how the running node is asked, see `running_node`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2vlm_ros.camera_topics import Names
from g2vlm_ros.doctor.seen import NodeSeen
from g2vlm_ros.doctor.wanted import GraphNames
from g2vlm_ros.param_files import node_values, options_of
from g2vlm_ros.params import NodeParams, known_names, parse

__all__ = ["Told", "told_by"]


@dataclass(frozen=True)
class Told:
    """What the node goes by.

    Args:
        params: Checked.
        uses_sim_time: Its `use_sim_time`.
        names: Resolves its topics.
        node: The running one; None: none runs.
        problem: What it would refuse; the parameters are the defaults then.
    """

    params: NodeParams
    uses_sim_time: bool
    names: Names
    node: NodeSeen | None = None
    problem: str = ""


def told_by(
    name: str,
    file: Path | None = None,
    given: Mapping[str, Any] | None = None,
    running: Mapping[str, Any] | None = None,
) -> Told:
    """What a node is told.

    Args:
        name: The node's, with namespace.
        file: A parameter file; takes the place of what the running node has.
        given: Single values on top.
        running: Values of the running node.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no parameter file.
    """
    values = dict(running or {})
    shared: frozenset[str] = frozenset()
    if file is not None:
        values, shared = node_values(file, name.rpartition("/")[2])
    values |= dict(given or {})
    uses_sim_time = values.get("use_sim_time") is True
    foreign = shared - known_names(values) - {*(given or {})}  # said to all, meant for others
    options = {name: value for name, value in options_of(values).items() if name not in foreign}
    problem = ""
    try:
        params = parse(options)
    except ValueError as error:
        params, problem = parse({}), str(error)
    return Told(params, uses_sim_time, GraphNames(name), None, problem)
