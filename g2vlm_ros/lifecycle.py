# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""rclpy's lifecycle node, with one and the same behaviour from Jazzy on."""

from __future__ import annotations

from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode

from g2vlm_model.interface.words import plain

__all__ = ["SteadyLifecycleNode"]


class SteadyLifecycleNode(LifecycleNode):  # type: ignore[misc]  # rclpy's types are not followed
    """Answers a transition that the present state does not have with `success: false`.

    rclpy 7 (Jazzy) raises in the service's callback instead: the caller gets no answer, and the
    exception ends the executor and the process. The callback is private in rclpy, and there is no
    other place between the request and the state machine.
    """

    def _LifecycleNodeMixin__on_change_state(self, request: Any, response: Any) -> Any:
        try:
            return super()._LifecycleNodeMixin__on_change_state(request, response)
        except rclpy_implementation.RCLError as error:
            self.get_logger().error(f"refused: {plain(' '.join(str(error).split()))}")
            response.success = False
            return response

    def forget_destroyed(self) -> None:
        """Take what was destroyed off the list of the node's callback group.

        rclpy keeps a weak reference for each publisher, subscription, timer and service that was
        ever made: 10 kB for each time that this node is configured and activated.
        """
        group = self.default_callback_group
        group.entities = {entity for entity in group.entities if entity() is not None}
