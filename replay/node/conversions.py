# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The replay's types to ROS messages and back."""

from __future__ import annotations

import array
import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from g2vlm_interfaces.msg import PixelMark
from g2vlm_interfaces.srv import SpatialQuery
from g2vlm_map.recordings import (
    NS,
    Calibration,
    RecordedFrame,
    Recording,
    RigRecording,
    cameras_of,
)
from g2vlm_map.recordings.bag import BagRecording
from g2vlm_map.recordings.bag_sensors import RobotTopics
from g2vlm_map.recordings.source import CAMERA_INFO, COMPRESSED
from g2vlm_map.sensing import Extrinsics
from g2vlm_model.interface import AnswerSource, AnswerStatus, CrossCheck
from g2vlm_ros.messages import camera_info_message, header

from ..asking import Answer
from ..depth_sensor import DepthSensor
from ..map_metrics import ScaleSample
from ..outcome import RanWith, SceneTimes, StatusSample
from ..question_file import Question

DEPTH_TOPIC = "/g2vlm_replay/depth/image"
DEPTH_INFO_TOPIC = "/g2vlm_replay/depth/camera_info"


@dataclass(frozen=True)
class PlayMessage:
    """A message that is due at a time.

    Args:
        time_ns: when it was received while recording; the replay's clock.
        stamp_ns: stamp of its header.
        topic: where it goes.
        content: a message, or its bytes as they were recorded.
        frame: index of the frame, -1 for what is none.
        camera: of a rig that the frame is of; "" where there is one camera.
        moment_ns: stamp of the reference camera's frame, where this is the last frame of its
            moment; -1 where others follow.
        cameras: how many frames that moment has.
    """

    time_ns: int
    stamp_ns: int
    topic: str
    content: Any
    frame: int = -1
    camera: str = ""
    moment_ns: int = -1
    cameras: int = 1


def robot_of(recording: Recording) -> RobotTopics | None:
    """The robot that carries the camera, where the recording knows one."""
    bag = reference_of(recording)
    return bag.robot if isinstance(bag, BagRecording) else None


def reference_of(recording: Recording) -> Recording:
    """A rig's reference camera, or the recording itself."""
    return recording.reference if isinstance(recording, RigRecording) else recording


def base_of(recording: Recording) -> NDArray[np.float64] | None:
    """T_base_cam (4, 4) in metres where the node is told of a base, else None."""
    for _, sample in recording.samples(""):
        if isinstance(sample, Extrinsics):
            return sample.T_base_cam
    return None


def robot_topics_of(recording: Recording) -> dict[str, str]:
    """Message type by topic of what the robot says beside its camera."""
    bag = reference_of(recording)
    return bag.robot_topics if isinstance(bag, BagRecording) else {}


def topics_of(recording: Recording) -> dict[str, str]:
    """Message type by topic of what is to be played."""
    topics = {}
    for camera in cameras_of(recording).values():
        topics[camera.info.image_topic] = camera.info.image_type
        if camera.info.info_topic:
            topics[camera.info.info_topic] = CAMERA_INFO
    return topics | robot_topics_of(recording)


def messages_of(recording: Recording) -> Iterator[PlayMessage]:
    """The cameras' messages in the order of their times; a bag's bytes as they were recorded."""
    if not isinstance(recording, RigRecording):
        for message in _messages(recording):
            yield replace(message, moment_ns=message.stamp_ns) if message.frame >= 0 else message
        return
    streams = [
        _of_camera(name, camera, alone=place > 0)
        for place, (name, camera) in enumerate(recording.cameras.items())
    ]
    yield from _by_moment(heapq.merge(*streams, key=lambda message: message.time_ns))


def _of_camera(name: str, camera: Recording, *, alone: bool) -> Iterator[PlayMessage]:
    """A camera's messages with its name; `alone`: without what the robot says."""
    own = (camera.info.image_topic, camera.info.info_topic)
    for message in _messages(camera):
        if not alone or message.topic in own:
            yield replace(message, camera=name)


def _by_moment(messages: Iterable[PlayMessage]) -> Iterator[PlayMessage]:
    """Messages whose frames tell where a moment ends: where a camera's next frame comes."""
    held: list[PlayMessage] = []
    seen: dict[str, int] = {}  # camera -> stamp, of the moment that is held
    reference = ""

    def ended() -> Iterator[PlayMessage]:
        last = max((k for k, message in enumerate(held) if message.frame >= 0), default=-1)
        stamp_ns = seen.get(reference, next(iter(seen.values()), -1))
        for k, message in enumerate(held):
            if k == last:
                message = replace(message, moment_ns=stamp_ns, cameras=len(seen))
            yield message

    for message in messages:
        if message.frame >= 0:
            reference = reference or message.camera
            if message.camera in seen:
                yield from ended()
                held, seen = [], {}
            seen[message.camera] = message.stamp_ns
        held.append(message)
    yield from ended()


def _messages(recording: Recording) -> Iterator[PlayMessage]:
    """One camera's."""
    if isinstance(recording, BagRecording):
        for item in recording.messages():
            yield PlayMessage(item.time_ns, item.stamp_ns, item.topic, item.data, item.frame)
        return
    info = recording.info
    for frame in recording.frames():
        if info.calibration is not None:
            message = _camera_info(info.calibration, info.size_hw, frame)
            yield PlayMessage(frame.time_ns, frame.stamp_ns, info.info_topic, message)
        yield PlayMessage(
            frame.time_ns, frame.stamp_ns, info.image_topic, _image(frame, info.image_type),
            frame.index,
        )  # fmt: skip


def with_depth(
    messages: Iterable[PlayMessage], depth: DepthSensor, image_topic: str, frame_id: str
) -> Iterator[PlayMessage]:
    """Messages with the depth of each frame of a topic, and its CameraInfo, ahead of it."""
    for message in messages:
        sample = None
        if message.frame >= 0 and message.topic == image_topic:
            sample = depth.of(message.stamp_ns)
        if sample is not None:
            due = (message.time_ns, message.stamp_ns)
            size = (sample.depth_HW.shape[0], sample.depth_HW.shape[1])
            info = camera_info_message(sample.K, size, message.stamp_ns, frame_id)
            yield PlayMessage(*due, DEPTH_INFO_TOPIC, info)
            data = array.array("B")
            data.frombytes(np.ascontiguousarray(sample.depth_HW, "<f4").tobytes())
            stamped = header(message.stamp_ns, frame_id)
            image = Image(
                header=stamped, height=size[0], width=size[1], encoding="32FC1",
                is_bigendian=0, step=4 * size[1], data=data,
            )  # fmt: skip
            yield PlayMessage(*due, DEPTH_TOPIC, image)
        yield message


def request_of(question: Question, frame_ns: int, scene_ns: int, timeout_s: float) -> Any:
    """A SpatialQuery request; the marks are pixels of the frame with stamp `frame_ns`."""
    request = SpatialQuery.Request()
    request.question = question.text
    request.marks = [
        PixelMark(camera="", stamp=_time(frame_ns), u=mark.u, v=mark.v, label=mark.label)
        for mark in question.marks
    ]
    request.stamp = _time(scene_ns)
    request.timeout_s = float(timeout_s)
    request.max_tokens = question.max_tokens
    request.reason = question.reason
    return request


def answer_of(question: Question, scene_ns: int, reply: Any) -> Answer:
    """A SpatialAnswer message in the replay's types."""
    return Answer(
        question=question,
        scene_ns=scene_ns,
        status=AnswerStatus(reply.status).name,
        message=reply.message,
        text=reply.text,
        value=float(reply.value) if reply.has_value else None,
        unit=reply.unit,
        is_metric=reply.is_metric,
        confidence=float(reply.confidence),
        cross_check=CrossCheck(reply.cross_check).name,
        text_value=_or_none(reply.text_value),
        measured_value=_or_none(reply.measured_value),
        measured_sigma=_or_none(reply.measured_sigma),
        kind=reply.kind,
        source=AnswerSource(reply.source).name,
        reply=reply.reply,
        queue_ms=reply.queue_ms,
        prefill_ms=reply.prefill_ms,
        decode_ms=reply.decode_ms,
        points=tuple((point.x, point.y, point.z) for point in reply.points),
        labels=tuple(reply.labels),
    )


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else float(number)


def sample_of(status: Any, wall_s: float) -> StatusSample:
    """A SceneStatus message in the replay's types."""
    return StatusSample(
        wall_s=wall_s,
        received=int(status.frames_received),
        used=int(status.frames_used),
        dropped=int(status.frames_dropped),
        scenes=int(status.scenes),
        segment=int(status.segment),
        reasons=tuple(status.reason_codes),
        has_scene=bool(status.scene_stamp.sec or status.scene_stamp.nanosec),
        at_work=status.pass_s >= 0,
        is_asked=status.queries_received > status.queries_answered + status.queries_rejected,
        drops={
            name: int(count)
            for name, count in zip(status.drop_reasons, status.drop_counts, strict=True)
        },
    )


def scale_of(status: Any) -> ScaleSample:
    """What a SceneStatus message says of the scale at its newest scene."""
    stamp = status.scene_stamp
    unknown = math.isnan(status.scale_sigma), math.isnan(status.depth_scale_sigma)
    return ScaleSample(
        stamp.sec * NS + stamp.nanosec,
        int(status.segment),
        bool(status.is_metric),
        1.0 if unknown[0] else status.scale,
        math.inf if unknown[0] else status.scale_sigma,
        1.0 if unknown[1] else status.depth_scale,
        math.inf if unknown[1] else status.depth_scale_sigma,
        tuple(status.scale_source.split("+")) if status.is_metric else (),
    )


def times_of(status: Any) -> SceneTimes | None:
    """The times of the newest scene that a SceneStatus tells of, None before the first."""
    if status.latency_ms < 0:
        return None
    return SceneTimes(int(status.scenes), status.latency_ms, status.observe_ms, status.publish_ms)


def ran_with(status: Any) -> RanWith:
    """What a SceneStatus says that runs."""
    return RanWith(
        status.model_id,
        status.runtime,
        status.device,
        status.precision,
        status.scale_source,
        bool(status.is_metric),
    )


def _camera_info(calibration: Calibration, size_hw: tuple[int, int], frame: RecordedFrame) -> Any:
    """The camera as the recording describes it, with its lens."""
    known_hw = calibration.size_hw if all(calibration.size_hw) else size_hw
    message = camera_info_message(calibration.K, known_hw, frame.stamp_ns, frame.frame_id)
    if not calibration.is_pinhole:
        message.distortion_model = calibration.distortion_model
        message.d = [float(value) for value in calibration.distortion]
    return message


def _image(frame: RecordedFrame, image_type: str) -> Any:
    recorded = frame.load()
    stamped = header(frame.stamp_ns, frame.frame_id)
    data = array.array("B")
    data.frombytes(recorded.data)
    if image_type == COMPRESSED:
        return CompressedImage(header=stamped, format=recorded.format, data=data)
    return Image(
        header=stamped,
        height=recorded.height,
        width=recorded.width,
        encoding=recorded.encoding,
        is_bigendian=recorded.is_bigendian,
        step=recorded.step,
        data=data,
    )


def _time(stamp_ns: int) -> Any:
    return Time(sec=stamp_ns // NS, nanosec=stamp_ns % NS)
