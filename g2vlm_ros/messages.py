# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The project's types to ROS messages and back; the only file that knows their fields."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseStamped, TransformStamped, Twist
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, PointField
from std_msgs.msg import Header

from g2vlm_interfaces.msg import SceneStatus
from g2vlm_interfaces.msg import SpatialAnswer as AnswerMsg
from g2vlm_map.cameras import NS
from g2vlm_map.poses import quaternion_xyzw
from g2vlm_map.questions import Mark, Question, Reply
from g2vlm_map.recordings.source import RecordingError
from g2vlm_map.recordings.transforms import transform_from
from g2vlm_map.status import Snapshot
from g2vlm_map.world import World
from g2vlm_model.interface import RuntimeInfo
from g2vlm_ros.topics import unit_frame

__all__ = [
    "POINT_FIELDS",
    "answer_message",
    "camera_info_message",
    "covariance",
    "hardware_id",
    "header",
    "marks",
    "matrix",
    "nanoseconds",
    "pose",
    "question",
    "status_message",
    "transform",
    "twist",
]

POINT_FIELDS = [
    PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
    for index, name in enumerate(("x", "y", "z", "rgb", "confidence"))
]


def header(stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header of an input's stamp."""
    return Header(stamp=_time(stamp_ns), frame_id=frame_id)


def nanoseconds(stamp: Any) -> int:
    """builtin_interfaces/Time in nanoseconds."""
    return int(stamp.sec) * NS + int(stamp.nanosec)


def matrix(translation: Any, rotation: Any) -> NDArray[np.float64] | None:
    """(4, 4) of a Vector3 or Point and a Quaternion; None where they are no rigid transform."""
    try:
        return transform_from(translation, rotation)
    except RecordingError:
        return None


def pose(T_ref_cam: NDArray[np.float64]) -> Any:
    """geometry_msgs/Pose of a (4, 4) transform."""
    message = Pose()
    message.position.x, message.position.y, message.position.z = map(float, T_ref_cam[:3, 3])
    rotation = message.orientation
    rotation.x, rotation.y, rotation.z, rotation.w = quaternion_xyzw(T_ref_cam[:3, :3])
    return message


def twist(velocity_6: NDArray[np.float64]) -> Any:
    """geometry_msgs/Twist of m/s and rad/s."""
    message = Twist()
    numbers = velocity_6.tolist()
    message.linear.x, message.linear.y, message.linear.z = numbers[:3]
    message.angular.x, message.angular.y, message.angular.z = numbers[3:]
    return message


def covariance(covariance_66: NDArray[np.float64]) -> Any:
    """The 36 numbers of a (6, 6) covariance: x y z, then rotations about X Y Z."""
    return np.ascontiguousarray(covariance_66, np.float64).reshape(36)


def transform(T_parent_child: NDArray[np.float64], stamp_ns: int, parent: str, child: str) -> Any:
    """geometry_msgs/TransformStamped of a (4, 4) transform."""
    message = TransformStamped(header=header(stamp_ns, parent), child_frame_id=child)
    offset, rotation = message.transform.translation, message.transform.rotation
    offset.x, offset.y, offset.z = map(float, T_parent_child[:3, 3])
    rotation.x, rotation.y, rotation.z, rotation.w = quaternion_xyzw(T_parent_child[:3, :3])
    return message


def camera_info_message(
    K: NDArray[np.floating], size: tuple[int, int], stamp_ns: int, frame_id: str
) -> Any:
    """CameraInfo of the model's frame: an undistorted pinhole camera.

    Args:
        K: (3, 3) in pixels of that frame.
        size: (H, W) of that frame.
        stamp_ns: Stamp of the depth image that it belongs to.
        frame_id: Optical frame.
    """
    fx, fy, cx, cy = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
    return CameraInfo(
        header=header(stamp_ns, frame_id),
        height=size[0],
        width=size[1],
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def marks(listed: Iterable[Any]) -> list[Mark]:
    """Marks of a request; nothing is checked here."""
    return [
        Mark(item.u, item.v, item.label, item.camera, nanoseconds(item.stamp)) for item in listed
    ]


def question(message: Any) -> Question:
    """A service request in the project's types; nothing is checked here."""
    return Question(
        text=message.question,
        marks=tuple(marks(message.marks)),
        cameras=tuple(message.cameras),
        stamp_ns=nanoseconds(message.stamp),
        timeout_s=message.timeout_s,
        max_tokens=message.max_tokens,
        scope=message.scope,
        reason=message.reason,
    )


def answer_message(reply: Reply, map_frame: str = "") -> Any:
    """g2vlm_interfaces/SpatialAnswer of a reply.

    Args:
        reply: About a scene or the map.
        map_frame: Frame of the map in metres; for an answer about the map.
    """
    answer = reply.answer
    message = AnswerMsg(
        status=int(answer.status),
        message=answer.message,
        text=answer.text,
        has_value=answer.value is not None,
        value=0.0 if answer.value is None else float(answer.value),
        unit=answer.unit,
        is_metric=answer.is_metric,
        sigma=_or_nan(answer.sigma),
        points=[Point(x=float(x), y=float(y), z=float(z)) for x, y, z in answer.points],
        labels=list(answer.labels),
        confidence=float(answer.confidence),
        is_calibrated=answer.is_calibrated,
        cross_check=int(answer.cross_check),
        measured_value=_or_nan(answer.measured_value),
        kind=answer.kind,
        source=int(answer.source),
        reply=answer.reply,
        text_value=_or_nan(answer.text_value),
        measured_sigma=_or_nan(answer.measured_sigma),
        measured_choice=answer.measured_choice,
        queue_ms=float(reply.queue_ms),
        prefill_ms=float(answer.prefill_ms),
        decode_ms=float(answer.decode_ms),
        model_id=answer.model_id,
    )
    if reply.recalled is not None:
        frame = unit_frame(map_frame, answer.is_metric)
        message.header = header(reply.recalled.stamp_ns, frame)
        message.poses = [
            PoseStamped(header=header(it.stamp_ns, frame), pose=pose(it.T_level_base))
            for it in reply.recalled.poses
        ]
    elif reply.record is not None:
        frame = unit_frame(reply.record.frame_id, answer.is_metric)
        message.header = header(reply.record.stamp_ns, frame)
    return message


def status_message(snapshot: Snapshot, world: World, map_frame: str) -> Any:
    """g2vlm_interfaces/SceneStatus.

    Args:
        snapshot: How the pipeline stands.
        world: The map.
        map_frame: Frame of poses and path at present.
    """
    scale = world.scale
    has_scene = snapshot.scene_segment == snapshot.segment  # else it is of the one before
    info, building, latency = snapshot.runtime, snapshot.runtime.building, snapshot.latency
    state = SceneStatus.STATE_INACTIVE
    if snapshot.running:
        state = SceneStatus.STATE_RUNNING if snapshot.scenes else SceneStatus.STATE_WAITING
        state = SceneStatus.STATE_DEGRADED if snapshot.degraded else state
    return SceneStatus(
        state=state,
        reason_codes=[reason.code for reason in snapshot.reasons],
        reason_texts=[reason.text for reason in snapshot.reasons],
        frames_received=snapshot.received,
        frames_used=snapshot.used,
        frames_dropped=snapshot.dropped,
        drop_reasons=[name for name, _ in snapshot.drops],
        drop_counts=[count for _, count in snapshot.drops],
        scenes=snapshot.scenes,
        keyframes=snapshot.keyframes,
        segment=snapshot.segment,
        overlap_frames=snapshot.overlap,
        first_scene_stamp=_time(snapshot.first_scene_stamp_ns if has_scene else 0),
        scene_stamp=_time(snapshot.scene_stamp_ns if has_scene else 0),
        runtime=info.runtime,
        device=info.device,
        precision=info.precision,
        model_id=info.model_id,
        build_fraction=-1.0 if building is None else building.fraction,
        build_seconds_left=_or_negative(None if building is None else building.seconds_left),
        shared_view=snapshot.shared_view,
        latency_ms=latency.total,
        observe_ms=latency.observe,
        publish_ms=latency.publish,
        pass_s=snapshot.pass_s,
        queries_received=snapshot.questions_received,
        queries_answered=snapshot.questions_answered,
        queries_rejected=snapshot.questions_rejected,
        queries_waiting=snapshot.questions_waiting,
        map_version=world.version,
        map_frame=map_frame,
        up_source=world.up_source,
        map_keyframes=len(world.keyframes),
        map_loops=world.loops,
        is_metric=scale.metric,
        scale_source="+".join(scale.sources) or "none",
        scale=scale.metres_per_unit if math.isfinite(scale.sigma) else math.nan,
        scale_sigma=_finite(scale.sigma),
        depth_scale=math.exp(scale.log_depth_scale)
        if math.isfinite(scale.depth_sigma)
        else math.nan,
        depth_scale_sigma=_finite(scale.depth_sigma),
    )


def hardware_id(info: RuntimeInfo) -> str:
    """Device and model, for the diagnostics."""
    return f"{info.model_id} on {info.device} ({info.runtime}, {info.precision})"


def _time(stamp_ns: int) -> Any:
    return Time(sec=stamp_ns // NS, nanosec=stamp_ns % NS)


def _or_negative(value: float | None) -> float:
    return -1.0 if value is None else float(value)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
