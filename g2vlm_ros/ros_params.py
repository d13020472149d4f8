# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Parameters on the ROS side: declares the options, collects problems, lets changes through.

A bad value in a parameter file must not end the process before the lifecycle has begun, and
a misspelt name must not be ignored. So both are remembered here and fail `configure`, where
a lifecycle manager and a person can see why. Names that a file gives to all nodes are another
matter: those that this node does not know are meant for others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)

from g2vlm_map.option_fields import Option
from g2vlm_model.interface.words import plain
from g2vlm_ros.camera_topics import resolved_topics
from g2vlm_ros.params import (
    NodeParams,
    camera_options,
    is_camera_name,
    nearest,
    node_options,
    parse,
)

__all__ = ["ParameterDesk"]

# Declared by rclpy itself.
_BUILT_IN = ("use_sim_time", "start_type_description_service")
_QOS_OVERRIDES = "qos_overrides."
_QOS_POLICIES = ("history", "depth", "reliability")  # rclpy's defaults for overriding


class ParameterDesk:
    """Declares and watches the parameters of one node.

    Args:
        node: Made with `automatically_declare_parameters_from_overrides=True`, so that every
            name that somebody has set can be seen here.
        on_change: Called with the new values after an accepted change while configured.
        shared: Names that were given to all nodes alike (`param_files.shared_names`); unknown
            ones are left to others, with one line in the log.
    """

    def __init__(
        self,
        node: Any,
        on_change: Callable[[NodeParams], None],
        shared: Collection[str] = (),
    ) -> None:
        self._node = node
        self._shared = frozenset(shared)
        self._on_change = on_change
        self._given: dict[str, Any] = {
            name: parameter.value for name, parameter in node.get_parameters_by_prefix("").items()
        }
        self._declared: dict[str, Option] = {}
        self._problems: dict[str, str] = {}
        self._current: NodeParams | None = None
        self._declare(node_options())
        self._declare_cameras()
        node.add_on_set_parameters_callback(self._judge)
        node.add_post_set_parameters_callback(self._apply)

    @property
    def params(self) -> NodeParams | None:
        """The checked values from `load` to `release`."""
        return self._current

    def load(self) -> NodeParams:
        """Check all values together, at configure.

        Raises:
            ValueError: Every problem: bad values, unknown names, values that do not fit together.
        """
        self._declare_cameras()
        problems = list(self._problems.values())
        values = {
            name: self._node.get_parameter(name).value
            for name in self._wanted()
            if name in self._declared and name not in self._problems
        }
        strange = {name for name in self._given if not self._is_known(name)}
        try:
            params = parse(values, sorted(strange - self._shared))
        except ValueError as error:
            problems.append(str(error))
        else:
            problems += self._without_effect(params)
        if problems:
            raise ValueError("; ".join(problems))
        self._note_shared(strange & self._shared)
        self._current = params
        return params

    def release(self) -> None:
        """The node is unconfigured: everything may be set again."""
        self._current = None

    def _is_known(self, name: str) -> bool:
        return name in self._declared or name in _BUILT_IN or name.startswith(_QOS_OVERRIDES)

    def _without_effect(self, params: NodeParams) -> list[str]:
        """Problems with QoS overrides that nothing would take: those of other topics."""
        topics = {
            topic for camera in params.topics for topic in resolved_topics(self._node, camera)
        }
        taken = {
            f"{_QOS_OVERRIDES}{topic}.subscription.{policy}"
            for topic in topics
            for policy in _QOS_POLICIES
        }
        given = {name for name in self._given if name.startswith(_QOS_OVERRIDES)}
        return [
            f"{name} would have no effect: {', '.join(_QOS_POLICIES)} of the subscriptions of "
            f"{', '.join(sorted(topics - {''}))} can be overridden{nearest(name, taken)}"
            for name in sorted(given - taken - self._shared)
        ]

    def _note_shared(self, names: Collection[str]) -> None:
        """Say which names of a shared file are left to other nodes; a misspelt one shows here."""
        if names:
            known = self._declared.keys()
            listed = ", ".join(f"{name}{nearest(name, known)}" for name in sorted(names))
            self._node.get_logger().info(
                plain(f"left to other nodes, as they were given to all (/**): {listed}")
            )

    def _wanted(self) -> dict[str, Option]:
        """All parameters of the node and of the cameras that it has at present."""
        wanted = node_options()
        for camera in dict.fromkeys(self._node.get_parameter("cameras").value):
            wanted |= camera_options(camera) if is_camera_name(camera) else {}
        return wanted

    def _declare_cameras(self) -> None:
        known = self._declared
        self._declare({name: made for name, made in self._wanted().items() if name not in known})

    def _declare(self, options: Mapping[str, Option]) -> None:
        for name, made in options.items():
            value = self._given.get(name, made.default)
            if self._node.has_parameter(name):
                self._node.undeclare_parameter(name)
            try:
                value = made.check(name, value)
            except ValueError as error:
                self._problems[name] = str(error)
                value = made.default
            self._declared[name] = made
            # The override was judged here; the descriptor's own check would raise instead.
            self._node.declare_parameter(name, value, _descriptor(made), ignore_override=True)

    def _judge(self, parameters: Sequence[Any]) -> Any:
        """Accept or refuse a change: `ros2 param set` shows the reason."""
        changes = {p.name: p.value for p in parameters if p.name in self._declared}
        try:
            self._check(changes)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _check(self, changes: Mapping[str, Any]) -> None:
        for name, value in changes.items():
            self._declared[name].check(name, value)
            if name == "runtime" and ":" in str(value) and value != self._given.get(name):
                raise ValueError(
                    f"runtime {value!r:.80} is code of your own: it is taken from the start-up "
                    "parameters only (a parameter file, -p runtime:=...), never from a service"
                )
            if self._current is not None and not self._declared[name].changeable:
                raise ValueError(
                    f"{name} is fixed while the node is configured; deactivate and clean up, set "
                    "it, configure again"
                )
        if self._current is not None and changes:
            self._current.replaced(changes)

    def _apply(self, parameters: Sequence[Any]) -> None:
        changes = {p.name: p.value for p in parameters if p.name in self._declared}
        for name in changes:
            self._problems.pop(name, None)
        if self._current is not None and changes:
            self._current = self._current.replaced(changes)
            self._on_change(self._current)


def _descriptor(made: Option) -> Any:
    descriptor = ParameterDescriptor(description=made.text)
    kind, low, high = type(made.default), made.low, made.high
    if kind is float:
        # Otherwise `1` in a file, a whole number, would be refused where 1.0 is meant.
        descriptor.dynamic_typing = True
        if low is not None and high is not None:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
            ]
    elif kind is int and low is not None and high is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return descriptor
