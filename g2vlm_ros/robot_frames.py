# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where cameras and sensors sit on the robot, and where its own odometry says that it is.

Extrinsics come from parameters or from TF, odometry from TF or a topic; both go to the pipeline
as samples, and are kept for what is broadcast. A transform that is missing has its reason in the
status; nothing waits for it but what needs it.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from g2vlm_map.odometry import OdometryFeed
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.poses import Floats, StampedPoses, inverse, rotation_vector
from g2vlm_map.sensing import Extrinsics
from g2vlm_ros.frame_options import mounting
from g2vlm_ros.params import NodeParams
from g2vlm_ros.tf import TransformBuffer, TransformUnknownError, transform_buffer

__all__ = ["RobotFrames"]

_PATIENCE_S = 1.0  # a transform may come this long after whatever needs it
_MOVED_M, _MOVED_RAD = 0.005, 0.01  # of a camera that was said to be fixed
_NS = 1_000_000_000
_LEAPS = {
    StampedPoses.LEAP: "moved faster than anything that drives; was it reset, or do two speak?",
    StampedPoses.LOOP: "has stamps that went back: its clock or its recording started again",
}


class RobotFrames:
    """From activation to deactivation.

    Args:
        node: The node.
        params: Checked parameters.
        pipeline: Told of extrinsics and odometry; TF_MISSING and the like are set on its board.
    """

    def __init__(self, node: Any, params: NodeParams, pipeline: Pipeline) -> None:
        self._params, self._pipeline = params, pipeline
        self._reference = params.cameras[0]
        self._optical: dict[str, tuple[str, float]] = {}  # camera -> its frame, since when
        self._extrinsics: dict[str, Floats] = {}
        self._fixed: set[str] = set()  # cameras whose extrinsics a parameter gave
        self._checked = 0.0
        self.odometry = OdometryFeed(params.sensors.odometry_sigma)
        self._newest_scene_ns = 0
        self._buffer: TransformBuffer | None = None
        if params.needs_transforms:
            self._buffer = transform_buffer(node)
        for camera in params.topics:
            T_base_cam = mounting(f"{camera.name}.extrinsics", camera.extrinsics)
            if T_base_cam is not None:
                self._fixed.add(camera.name)
                self._take_extrinsics(camera.name, T_base_cam)

    @property
    def base(self) -> str:
        """Frame whose pose is told; "" while nobody knows the reference camera's."""
        return self._params.frames.base or self._optical.get(self._reference, ("", 0.0))[0]

    @property
    def tf_kind(self) -> str:
        """Who answers lookups: "tf2_ros", "own", or "" where none are needed."""
        return "" if self._buffer is None else self._buffer.kind

    def close(self) -> None:
        """Unsubscribe."""
        if self._buffer is not None:
            self._buffer.close()
            self._buffer = None

    def note_scene(self, stamp_ns: int) -> None:
        """A scene of this stamp has come."""
        if stamp_ns < self._newest_scene_ns - _NS and self._buffer is not None:
            self._buffer.restart()
        self._newest_scene_ns = stamp_ns

    def learn(self, camera: str, frame_id: str) -> None:
        """A camera's frames have this optical frame."""
        known = self._optical.get(camera)
        if known is None or known[0] != frame_id:
            self._optical[camera] = (frame_id, time.monotonic())

    def T_base(self, frame: str, stamp_ns: int) -> Floats:
        """T_base_frame (4, 4) of a sensor at a stamp.

        Raises:
            TransformUnknownError: It is not known; why.
        """
        if frame.lstrip("/") == self.base:
            return np.eye(4)
        if self._buffer is None or not self.base:
            raise TransformUnknownError("the base's frame is not known yet")
        return self._buffer.lookup(self.base, frame, stamp_ns)

    def T_cam(self, camera: str, frame: str) -> Floats | None:
        """T_cam_frame (4, 4) of a sensor beside a camera; None where it has the camera's own axes.

        Without a tree of transforms a sensor is believed to be registered to its camera.

        Raises:
            TransformUnknownError: It is not known; why.
        """
        if self._buffer is None:
            return None
        if camera not in self._optical:
            raise TransformUnknownError(f"no frame of camera {camera!r} has come yet")
        optical = self._optical[camera][0]
        if frame.lstrip("/") == optical:
            return None
        return self._buffer.lookup(optical, frame, 0)

    def tick(self) -> None:
        """Look for what is new; some times a second."""
        frames = self._params.frames
        if self._buffer is None or not frames.base:
            return
        now = time.monotonic()
        if now - self._checked >= _PATIENCE_S or len(self._extrinsics) < len(self._optical):
            self._checked = now
            for camera, (frame, since) in list(self._optical.items()):
                if camera not in self._fixed:
                    self._find_extrinsics(camera, frame, now - since)
        if frames.odom and not self._params.sensors.odometry_topic:
            self._poll_odometry(self._buffer, frames.odom, frames.base)
        self._judge_odometry()

    def take_odometry(self, stamp_ns: int, T_odom_base: Floats, source: str) -> None:
        """Take a pose of the robot's own odometry over.

        Args:
            stamp_ns: When.
            T_odom_base: (4, 4), metres.
            source: Who says so, for the texts.
        """
        sample, cause = self.odometry.take(stamp_ns, T_odom_base)
        if cause in _LEAPS:
            text = f"{source} {_LEAPS[cause]} ({self.odometry.refused[cause]} times so far)"
            self._pipeline.board.event("ODOMETRY_JUMP", text, time.monotonic())
        if sample is not None:
            self._pipeline.sense(sample)

    def _find_extrinsics(self, camera: str, frame: str, waited_s: float) -> None:
        try:
            T_base_cam = self.T_base(frame, 0)
        except TransformUnknownError as error:
            known = camera in self._extrinsics
            self._pipeline.board.condition(
                "TF_MISSING",
                not known and waited_s > _PATIENCE_S,
                f"{error}; broadcast it, or set {camera}.extrinsics",
                camera,
            )
            return
        self._pipeline.board.condition("TF_MISSING", False, source=camera)
        before = self._extrinsics.get(camera)
        if before is None:
            self._take_extrinsics(camera, T_base_cam)
            return
        moved = inverse(before) @ T_base_cam
        shift = float(np.linalg.norm(moved[:3, 3]))
        turn = float(np.linalg.norm(rotation_vector(moved[:3, :3])))
        self._pipeline.board.condition(
            "EXTRINSICS_CHANGED",
            shift > _MOVED_M or turn > _MOVED_RAD,
            f"{frame} has moved on {self.base} by {shift:.3f} m and {np.degrees(turn):.1f} deg "
            "since it was taken over; cameras are expected to be fixed, the first place is kept",
            camera,
        )

    def _take_extrinsics(self, camera: str, T_base_cam: Floats) -> None:
        self._extrinsics[camera] = T_base_cam
        self._pipeline.sense(Extrinsics(camera, T_base_cam))

    def _poll_odometry(self, buffer: TransformBuffer, odom: str, base: str) -> None:
        try:
            stamp_ns = buffer.newest(odom, base)
            if stamp_ns and stamp_ns != self.odometry.newest_ns:
                T_odom_base = buffer.lookup(odom, base, stamp_ns)
                self.take_odometry(stamp_ns, T_odom_base, f"TF {odom} -> {base}")
        except TransformUnknownError:
            return  # `_judge_odometry` says so where it lasts

    def _judge_odometry(self) -> None:
        """TF_MISSING while odometry is asked for and stays behind the scenes."""
        frames, sensors = self._params.frames, self._params.sensors
        if not (frames.odom or sensors.odometry_topic) or not self._newest_scene_ns:
            return
        late = (self._newest_scene_ns - self.odometry.newest_ns) / _NS
        source = sensors.odometry_topic or f"TF {frames.odom} -> {frames.base}"
        said = f"its newest is {late:.1f} s older than the newest scene"
        if not self.odometry.newest_ns:
            said = "nothing has come"
        self._pipeline.board.condition(
            "TF_MISSING", late > _PATIENCE_S, f"{source}: {said}", "odometry"
        )
