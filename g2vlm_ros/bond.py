# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One end of a bond: a lifecycle manager such as Nav2's sees that the node lives.

Both ends say `active` on the topic `bond` some times a second under one id, the node's name; an
end that leaves says so, and the other one says that it has seen it (ROS's bond_core). The manager
acts where heartbeats stay out. The node does not, as Nav2's own nodes do not: a manager that is
held up must not lose the node over it.

The heartbeats come from the node's executor: they stop where that hangs, which is the point.
"""

from __future__ import annotations

import enum
import time
import uuid
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.qos import QoSProfile

__all__ = ["Bond", "BondState", "make_bond"]

HEARTBEAT_S = 0.1
_CONNECT_S = 10.0  # without a manager the node falls silent after this time
_DISCONNECT_S = 2.0  # how long a leaving end repeats that it leaves
_ACKED_S = 0.1


class BondState(enum.Enum):
    """Where a bond stands."""

    WAITING = "waits for the manager"
    ALIVE = "formed"
    LEAVING = "says that it leaves"
    OVER = "says nothing"


def make_bond(node: Any, timeout_s: float) -> Bond | None:
    """Offer a bond to whatever manager activates this node.

    Args:
        node: Has just become active.
        timeout_s: What the node says of its heartbeat, and after which it remarks that the
            manager's stay out; 0: no bond.

    Returns:
        The bond; None where none is wanted, or the messages of `bond` are not installed.
    """
    if not timeout_s:
        return None
    try:
        from bond.msg import Status
    except ImportError:
        node.get_logger().info(
            "no bond with a lifecycle manager: the package bond is not installed; with Nav2's "
            "manager install it, or set the manager's bond_timeout to 0"
        )
        return None
    return Bond(node, timeout_s, Status)


class Bond:
    """See the module. All methods run in the executor's thread.

    Args:
        node: The node; its name is the id.
        timeout_s: See `make_bond`.
        status: The message type bond/msg/Status.
    """

    def __init__(self, node: Any, timeout_s: float, status: Any) -> None:
        self._node = node
        self._status = status
        self._timeout_s = timeout_s
        self._own = str(uuid.uuid4())
        self._other = ""
        self.state = BondState.WAITING
        self._since_s = self._heard_s = time.monotonic()
        self._remarked = False
        self._publisher = node.create_publisher(status, "bond", QoSProfile(depth=5))
        self._subscription = node.create_subscription(
            status, "bond", self._on_status, QoSProfile(depth=100)
        )
        # Not the node's clock: a paused simulation is no reason to look dead.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(HEARTBEAT_S, self._beat, clock=steady)

    def leave(self) -> None:
        """The node stops being active: tell the manager."""
        if self.state in (BondState.WAITING, BondState.ALIVE):
            formed = self.state is BondState.ALIVE
            self._enter(BondState.LEAVING if formed else BondState.OVER)
            self._say(active=False)

    def destroy(self) -> None:
        """Leave, and free what the bond holds."""
        self.leave()
        self._node.destroy_timer(self._timer)
        self._publisher.wait_for_all_acked(Duration(seconds=_ACKED_S))  # else it goes unsaid
        self._node.destroy_publisher(self._publisher)
        self._node.destroy_subscription(self._subscription)

    def _enter(self, state: BondState) -> None:
        self.state, self._since_s = state, time.monotonic()

    def _on_status(self, message: Any) -> None:
        if message.id != self._node.get_name() or message.instance_id == self._own:
            return
        if self.state is BondState.OVER or message.instance_id != (
            self._other or message.instance_id
        ):
            return  # e.g. the end of a bond of before
        self._other = message.instance_id
        if message.active:
            self._heard_s, self._remarked = time.monotonic(), False
            if self.state is BondState.WAITING:
                self._enter(BondState.ALIVE)
        else:
            leaving = self.state is BondState.LEAVING
            self._enter(BondState.OVER)
            if not leaving:
                self._say(active=False)

    def _beat(self) -> None:
        now_s = time.monotonic()
        for_s = now_s - self._since_s
        if self.state is BondState.WAITING and for_s > _CONNECT_S:
            self._enter(BondState.OVER)  # nobody manages this node
        if self.state is BondState.LEAVING and for_s > _DISCONNECT_S:
            self._enter(BondState.OVER)
        if self.state is BondState.ALIVE and now_s - self._heard_s > self._timeout_s:
            self._remark(now_s - self._heard_s)
        if self.state in (BondState.WAITING, BondState.ALIVE):
            self._say(active=True)
        elif self.state is BondState.LEAVING:
            self._say(active=False)

    def _remark(self, silent_s: float) -> None:
        if not self._remarked:
            self._remarked = True
            self._node.get_logger().warning(
                f"no heartbeat of the lifecycle manager for {silent_s:.1f} s; the node goes on"
            )

    def _say(self, *, active: bool) -> None:
        message = self._status(
            id=self._node.get_name(),
            instance_id=self._own,
            active=active,
            heartbeat_timeout=self._timeout_s,
            heartbeat_period=HEARTBEAT_S,
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
