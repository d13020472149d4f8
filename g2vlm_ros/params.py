"""Every parameter of the node: default, description, unit, range; checked in one place.

No rclpy here: `SPECS` says what to declare, `parse` turns plain values into a frozen
`NodeParams` or raises one `ValueError` that lists all that is wrong.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from g2vlm_ros.param_spec import Spec, Value
from g2vlm_ros.param_table import CAMERA_SPECS, RENAMED, SPECS

__all__ = [
    "CAMERA_SPECS",
    "SPECS",
    "CameraParams",
    "NodeParams",
    "Spec",
    "camera_specs",
    "changeable",
    "is_camera_name",
    "parse",
]

_CAMERA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TOPIC_NAME = re.compile(r"(~/|/)?[A-Za-z_{][A-Za-z0-9_{}]*(/[A-Za-z_{][A-Za-z0-9_{}]*)*")
_FRAME_NAME = re.compile(r"[^\s/][^\s]*")
_MAX_CAMERAS = 16
_RESERVED = frozenset(spec.name.split(".")[0] for spec in SPECS)


@dataclass(frozen=True)
class CameraParams:
    """One camera: its name and the values of `CAMERA_SPECS`."""

    name: str
    image_topic: str
    camera_info_topic: str
    transport: str
    frame_id: str


@dataclass(frozen=True)
class NodeParams:
    """All checked values; `params["window.size"]` by the ROS name."""

    values: Mapping[str, Value]
    cameras: tuple[CameraParams, ...]

    def number(self, name: str) -> float:
        """A numeric parameter as float."""
        value = self.values[name]
        assert isinstance(value, int | float), (name, value)
        return float(value)

    def count(self, name: str) -> int:
        """A whole-number parameter."""
        value = self.values[name]
        assert isinstance(value, int), (name, value)
        return value

    def text(self, name: str) -> str:
        """A text parameter."""
        value = self.values[name]
        assert isinstance(value, str), (name, value)
        return value

    def flag(self, name: str) -> bool:
        """A boolean parameter."""
        value = self.values[name]
        assert isinstance(value, bool), (name, value)
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self.values[name]
        assert isinstance(value, list), (name, value)
        return tuple(value)

    def replaced(self, changes: Mapping[str, Any]) -> NodeParams:
        """A copy with some values changed and everything checked again.

        Raises:
            ValueError: As `parse`.
        """
        flat = {**self.values, **_flat_cameras(self.cameras), **changes}
        return parse(flat)


def is_camera_name(name: str) -> bool:
    """Whether a name can stand in topics and parameters, and is no parameter group."""
    return _CAMERA_NAME.fullmatch(name) is not None and name not in _RESERVED


def camera_specs(camera: str) -> tuple[Spec, ...]:
    """The parameters of one camera under their full names."""
    return tuple(
        dataclasses.replace(
            spec,
            name=f"{camera}.{spec.name}",
            default=str(spec.default).format(camera=camera),
            description=f"{spec.description} ({camera})",
        )
        for spec in CAMERA_SPECS
    )


def changeable(name: str) -> bool:
    """Whether a parameter may be set while the node is active."""
    return any(spec.name == name and spec.changeable for spec in SPECS)


def parse(values: Mapping[str, Any], unknown: Sequence[str] = ()) -> NodeParams:
    """Check all values together.

    Args:
        values: By full ROS name; what is missing takes its default.
        unknown: Names that somebody set and nobody declared.

    Raises:
        ValueError: Every problem, one per line: what, got, expected.
    """
    problems: list[str] = []
    checked = _check_all(SPECS, values, problems)
    listed = checked.get("cameras", [])
    names = listed if isinstance(listed, list) else []
    problems += _check_camera_names(names)
    specs = {name: camera_specs(name) for name in dict.fromkeys(names)}
    known = {spec.name for spec in SPECS} | {s.name for group in specs.values() for s in group}
    cameras: list[CameraParams] = []
    for name, group in specs.items():
        fields = _check_all(group, values, problems)
        if len(fields) == len(group):
            short = {key.removeprefix(f"{name}."): str(value) for key, value in fields.items()}
            cameras.append(CameraParams(name=name, **short))
            for key, optional in (("image_topic", False), ("camera_info_topic", True)):
                if not (_TOPIC_NAME.fullmatch(short[key]) or (optional and not short[key])):
                    problems.append(f"{name}.{key} is {short[key]!r:.80}, expected a topic name")
    for name in sorted({*unknown, *values} - known):
        if name in RENAMED:
            problems.append(f"{name} is called {RENAMED[name]} now; rename it, its value stays")
        else:
            problems.append(
                f"{name} is no parameter of this node; remove it or correct its spelling"
            )
    if not problems:
        problems += _check_together(checked)
    if problems:
        raise ValueError("; ".join(problems))
    return NodeParams(values=checked, cameras=tuple(cameras))


def _check_all(
    specs: Sequence[Spec], values: Mapping[str, Any], problems: list[str]
) -> dict[str, Value]:
    checked: dict[str, Value] = {}
    for spec in specs:
        try:
            checked[spec.name] = spec.check(values.get(spec.name, spec.default))
        except ValueError as error:
            problems.append(str(error))
    return checked


def _check_camera_names(names: Sequence[str]) -> list[str]:
    problems = []
    if not 1 <= len(names) <= _MAX_CAMERAS:
        problems.append(f"cameras names {len(names)} cameras, expected 1..{_MAX_CAMERAS}")
    if len(set(names)) != len(names):
        problems.append(f"cameras is {list(names)}, expected each name once")
    for name in names:
        if not is_camera_name(name):
            problems.append(
                f"cameras holds {name!r:.60}, expected letters, digits and _, and none of the "
                f"parameter groups {sorted(_RESERVED)}"
            )
    return problems


def _check_together(values: Mapping[str, Value]) -> list[str]:
    """Rules between parameters."""
    problems = []
    size, least, overlap = (
        int(str(values[f"window.{name}"])) for name in ("size", "min_moments", "overlap")
    )
    if least > size:
        problems.append(f"window.min_moments is {least}, expected at most window.size = {size}")
    if overlap >= size:
        problems.append(f"window.overlap is {overlap}, expected less than window.size = {size}")
    nearest, furthest = (float(str(values[f"points.{name}_range"])) for name in ("min", "max"))
    if 0 < furthest <= nearest:
        problems.append(
            f"points.max_range is {furthest:g}, expected above points.min_range = {nearest:g} or 0"
        )
    if values["points.organized"] and values["points.source"] != "newest":
        problems.append("points.organized needs points.source 'newest': a window has no rows")
    map_frame, odom_frame = str(values["tf.map_frame"]), str(values["tf.odom_frame"])
    if not _FRAME_NAME.fullmatch(map_frame):
        problems.append(f"tf.map_frame is {map_frame!r:.60}, expected a frame name")
    if odom_frame:
        problems.append(
            f"tf.odom_frame is {odom_frame!r:.60}: map -> odom would join up-to-scale lengths with "
            "metres, and no scale source is available; leave it empty"
        )
    return problems


def _flat_cameras(cameras: Sequence[CameraParams]) -> dict[str, Value]:
    return {
        f"{camera.name}.{field.name}": getattr(camera, field.name)
        for camera in cameras
        for field in dataclasses.fields(camera)
        if field.name != "name"
    }
