# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What an active node hears: cameras, other sensors, the robot's frames; and when it rests."""

from __future__ import annotations

import time
from typing import Any

from g2vlm_map.pipeline import Pipeline
from g2vlm_ros.outputs import Outputs
from g2vlm_ros.params import NodeParams
from g2vlm_ros.robot_frames import RobotFrames
from g2vlm_ros.sensor_subscriptions import SensorSubscriptions
from g2vlm_ros.subscriptions import CameraSubscriptions

__all__ = ["TWINS_S", "Active"]

_TICK_S = 0.05
# What was killed stays in the graph for 20 s (Fast DDS): a node that was started again is no twin.
TWINS_S = 25.0
_NOBODY_LISTENS = "nobody listens to an output (lazy)"


class Active:
    """From activation to `destroy`.

    Args:
        node: The node.
        params: Checked parameters.
        pipeline: Started already.
        outputs: Told of the robot's frames.
        clock: Of the timer, which must not follow simulated time.

    Raises:
        Exception: What rclpy raises where a topic cannot be subscribed; nothing stays subscribed.
    """

    def __init__(
        self, node: Any, params: NodeParams, pipeline: Pipeline, outputs: Outputs, clock: Any
    ) -> None:
        self._node, self._pipeline, self._outputs = node, pipeline, outputs
        self._cameras: CameraSubscriptions | None = None
        self._heard: CameraSubscriptions | None = None  # of which a frame may still be looked at
        self._sensors: SensorSubscriptions | None = None
        self._alone_at = time.monotonic()  # when no other node had this one's name
        self._resting = False  # paused by this object, and not by somebody else
        self._timer: Any = None
        self._frames = RobotFrames(node, params, pipeline)
        try:
            outputs.start(self._frames)
            self._sensors = SensorSubscriptions(node, params, pipeline, self._frames)
            self._cameras = CameraSubscriptions(node, params, pipeline)
            self._cameras.on_frame_id = self._frames.learn
            self._timer = node.create_timer(_TICK_S, self._tick, clock=clock)
        except BaseException:
            self.unsubscribe()
            self.destroy()
            raise

    @property
    def text(self) -> str:
        """What is heard, in words."""
        assert self._cameras is not None and self._sensors is not None  # noqa: PT018
        heard = ", ".join([*self._cameras.topics, *self._sensors.topics])
        return f"{heard}; transforms by {self._frames.tf_kind or 'nobody'}"

    def check(self, params: NodeParams, open_questions: int) -> None:
        """Bring up to date what follows from who publishes and who listens; once a period.

        Args:
            params: Those in force.
            open_questions: Who waits for an answer listens too.
        """
        if self._cameras is not None:
            self._cameras.check()
        self._look_for_twins()
        wanted = not params.lazy or self._outputs.heard or open_questions > 0
        if self._resting and wanted:
            self._resting = False
            self._pipeline.pause(False)
        elif not self._resting and not wanted and not self._pipeline.paused:
            self._resting = True
            self._pipeline.pause(True, _NOBODY_LISTENS)

    def _look_for_twins(self) -> None:
        """NAME_TAKEN while another node has this one's full name: then nobody knows who answers."""
        own = (self._node.get_name(), self._node.get_namespace())
        others = self._node.get_node_names_and_namespaces().count(own) - 1
        now = time.monotonic()
        self._alone_at = self._alone_at if others > 0 else now
        taken = others > 0 and now - self._alone_at >= TWINS_S
        full = f"{own[1].rstrip('/')}/{own[0]}"
        self._pipeline.board.condition(
            "NAME_TAKEN",
            taken,
            f"{others} more called {full}: questions and goals reach both, whoever asks hears the "
            "one that answers first; give each robot's node a namespace",
        )

    def unsubscribe(self) -> None:
        """Hear nothing any more, and tell all threads to end; before the pipeline stops."""
        self._outputs.dense.worker.cancel()
        if self._cameras is not None:
            self._heard = self._cameras
            self._cameras.destroy()
        if self._sensors is not None:
            self._sensors.destroy()
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        self._cameras = self._sensors = self._timer = None

    def destroy(self, timeout_s: float = 0.5) -> None:
        """Let go of the robot's frames; when no scene is published any more.

        Args:
            timeout_s: How long to wait for the threads, all together; what lasts longer ends alone.
        """
        deadline = time.monotonic() + timeout_s
        if self._heard is not None:
            self._heard.wait(timeout_s)
        self._outputs.stop(max(0.0, deadline - time.monotonic()))
        self._frames.close()

    def _tick(self) -> None:
        """What follows transforms and the odometry."""
        if self._sensors is not None:
            self._frames.tick()
            self._sensors.tick()
            self._outputs.tick()
