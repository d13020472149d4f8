# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Message definitions read off the live message classes.

A recording must carry the definition of each of its types. Packages may be installed without
their .msg files, but every generated class knows its fields, and the type hash covers fields
only: constants and comments are not part of it.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

RENAMED = {
    "boolean": "bool",
    "octet": "byte",
    "float": "float32",
    "double": "float64",
    "long double": "float64",
}
SEQUENCE = re.compile(r"^sequence<(?P<item>.+?)(?:,\s*(?P<bound>\d+))?>$")
ARRAY = re.compile(r"^(?P<item>[^\[<]+)\[(?P<count>\d+)\]$")


def message_class(name: str) -> Any:
    """The Python class of a message, e.g. "sensor_msgs/msg/Image".

    Raises:
        ImportError: Its package is not installed.
    """
    package, kind, message = name.split("/")
    module = importlib.import_module(f"{package}.{kind}")
    if not hasattr(module, message):
        raise ImportError(f"{package}.{kind} has no {message}; is {package} built and sourced?")
    return getattr(module, message)


def definition(name: str) -> str:
    """The .msg text of a live message class, without constants."""
    fields: dict[str, str] = message_class(name).get_fields_and_field_types()
    return "".join(f"{_msg_type(kind)} {field}\n" for field, kind in fields.items())


def definitions(name: str) -> dict[str, str]:
    """Definitions of a message and of every message inside it, by full name."""
    found: dict[str, str] = {}
    pending = [name]
    while pending:
        current = pending.pop()
        if current in found:
            continue
        found[current] = definition(current)
        for line in found[current].splitlines():
            inner = re.sub(r"\[.*\]$", "", line.split(" ")[0])
            if "/" in inner:
                package, message = inner.split("/")
                pending.append(f"{package}/msg/{message}")
    return found


def _msg_type(kind: str) -> str:
    """A field type as the class reports it, in the words of a .msg file."""
    if match := SEQUENCE.match(kind):
        bound = f"<={match['bound']}" if match["bound"] else ""
        return f"{_msg_type(match['item'])}[{bound}]"
    if match := ARRAY.match(kind):
        return f"{_msg_type(match['item'])}[{match['count']}]"
    if kind.startswith("string<"):
        return f"string<={kind[7:-1]}"
    return RENAMED.get(kind, kind)
