# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What parameter files say to a node, and what of it to all nodes alike. No rclpy.

rclpy hands a node one merged set of overrides and does not say where each comes from. A parameter
file that several nodes share has a block `/**`; names in it that this node does not know are meant
for others. A name in a block of the node, or on the command line, is meant for it. So the files
are read here a second time, as rcl reads them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from g2vlm_map.documents import parse_yaml

__all__ = ["named_value", "node_values", "options_of", "shared_names"]

_ALL_NODES = "/**"
_PARAMETERS = "ros__parameters"
# Declared by rclpy itself, or about topics: no option of the node.
_FROM_ROS = re.compile(r"use_sim_time$|qos_overrides\.|start_type_description_service$")


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


def node_values(path: Path, node: str) -> tuple[dict[str, Any], frozenset[str]]:
    """What a parameter file says to a node; its own block wins over those for all.

    Args:
        path: The file.
        node: Its name, without a namespace.

    Returns:
        Values by full name, `use_sim_time` and QoS overrides among them (see `options_of`); the
        names that stand in blocks `/**` only, as `shared_names`.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no parameter file of ROS.
    """
    text = path.read_bytes()
    try:
        blocks = list(_walk(parse_yaml(text), ""))
        if not blocks:
            raise ValueError(f"no {_PARAMETERS}")
    except ValueError as error:
        raise ValueError(
            f"{path} is no ROS parameter file, expected NODE: ros__parameters: ... ({error})"
        ) from error
    values: dict[str, Any] = {}
    for wanted in ("**", "*", node):
        for name, block in blocks:
            if name.rsplit("/", 1)[-1] == wanted:
                values.update(block)
    shared = {name for block, named in blocks if block == _ALL_NODES for name in named}
    own = {name for block, named in blocks if block != _ALL_NODES for name in named}
    return values, frozenset(shared - own)


def named_value(text: str) -> tuple[str, str | float | int | bool]:
    """NAME=VALUE of a command line; the value as YAML reads it.

    Raises:
        ValueError: Not of that form.
    """
    name, equals, value = text.partition("=")
    try:
        parsed = parse_yaml(value) if equals else None
    except ValueError:
        parsed = None
    if not name.strip() or not isinstance(parsed, str | float | int | bool):
        raise ValueError(f"{text!r:.80}: expected NAME=VALUE such as window.size=6")
    return name.strip(), parsed


def options_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are options of the node, without those that rclpy takes."""
    return {name: value for name, value in values.items() if not _FROM_ROS.match(name)}


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


def _blocks(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The blocks of a parameter file; none where rcl cannot read it either."""
    try:
        return list(_walk(parse_yaml(path.read_bytes()), ""))
    except (OSError, ValueError):
        return []


def _walk(node: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Blocks: whom they address, and their values by full name.

    Namespaces nest: `robot1: {camera: {ros__parameters: ...}}` addresses robot1/camera.

    Raises:
        ValueError: Something else stands where a node's name or parameters should.
    """
    if not isinstance(node, Mapping):
        raise ValueError(f"{name or 'the file'} holds {type(node).__name__}, expected a mapping")
    for key, value in node.items():
        if key == _PARAMETERS:
            yield name, dict(_flat(value, ""))
        else:
            yield from _walk(value, str(key) if not name else f"{name}/{key}")


def _flat(values: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """(full name, value), groups joined by dots."""
    if not isinstance(values, Mapping):
        return
    for key, value in values.items():
        full = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{full}.")
        else:
            yield full, value
