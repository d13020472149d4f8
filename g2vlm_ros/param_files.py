# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which parameters a process was given in blocks for all nodes, and which for this one. No rclpy.

rclpy hands a node one merged set of overrides and does not say where each comes from. A parameter
file that several nodes share has a block `/**`; names in it that this node does not know are meant
for others. A name in a block of the node, or on the command line, is meant for it. So the files
are read here a second time, as rcl reads them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from g2vlm_map.documents import parse_yaml

__all__ = ["shared_names"]

_ALL_NODES = "/**"
_PARAMETERS = "ros__parameters"


def shared_names(argv: Sequence[str]) -> frozenset[str]:
    """Names of parameters that stand in blocks `/**` of parameter files only.

    Args:
        argv: Arguments of the process, those of ROS among them (`--ros-args --params-file ...`).

    Returns:
        Full names, groups joined by dots. A file that cannot be read adds nothing: rcl has
        refused it, or will.
    """
    shared: set[str] = set()
    own: set[str] = set()
    words = list(_ros_words(argv))
    for option, value in itertools.pairwise(words):
        if option == "--params-file":
            for block, names in _blocks(Path(value)):
                (shared if block == _ALL_NODES else own).update(names)
        elif option in ("-p", "--param"):
            name = value.partition(":=")[0]
            own.add(name.rpartition(":")[2])
    return frozenset(shared - own)


def _ros_words(argv: Sequence[str]) -> Iterator[str]:
    """The arguments between `--ros-args` and `--`."""
    inside = False
    for word in argv:
        if word == "--ros-args":
            inside = True
        elif word == "--":
            inside = False
        elif inside:
            yield word


def _blocks(path: Path) -> Iterator[tuple[str, set[str]]]:
    """The blocks of a parameter file: whom they address, and the names in them."""
    try:
        document = parse_yaml(path.read_bytes())
    except (OSError, ValueError):
        return
    yield from _walk(document, "")


def _walk(node: Any, name: str) -> Iterator[tuple[str, set[str]]]:
    """Namespaces nest: `robot1: {camera: {ros__parameters: ...}}` addresses /robot1/camera."""
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        if key == _PARAMETERS:
            yield name, set(_flat(value, ""))
        else:
            yield from _walk(value, str(key) if not name else f"{name}/{key}")


def _flat(values: Any, prefix: str) -> Iterator[str]:
    if not isinstance(values, Mapping):
        return
    for key, value in values.items():
        full = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{full}.")
        else:
            yield full
