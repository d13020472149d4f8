# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Checks of cameras: their CameraInfo, their lens, and whether their frames can be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from g2vlm_map.calibration import missing_info
from g2vlm_map.camera_model import read_camera_info
from g2vlm_map.decode import BadInputError
from g2vlm_map.recordings.source import RecordingError
from g2vlm_ros.camera_topics import is_straight
from g2vlm_ros.doctor.check_topics import likely
from g2vlm_ros.doctor.findings import Finding, absence_s
from g2vlm_ros.doctor.hearing import Hearing
from g2vlm_ros.doctor.seen import Seen
from g2vlm_ros.doctor.wanted import Want
from g2vlm_ros.params import CameraParams

__all__ = ["check_camera_info", "check_frames_decode", "check_rectification"]

_RECTIFY = "image_rect"


def check_frames_decode(seen: Seen) -> Iterator[Finding]:
    """Frames that the node would refuse."""
    for camera, want, frames in _cameras(seen):
        try:
            frames.frame_hw()
        except RecordingError as error:
            yield Finding(
                "BAD_IMAGES",
                want.topic,
                str(error),
                f"set the driver of {camera.name} to rgb8, or to JPEG with "
                f"{camera.name}.image_transport: compressed",
                ("NO_IMAGES", "NO_CAMERA_INFO"),
            )


def check_camera_info(seen: Seen) -> Iterator[Finding]:
    """A CameraInfo that is missing, unusable, or for pictures of another size."""
    for camera, want, frames in _cameras(seen):
        told = seen.want("info", camera.name)
        if told is None or any(item.topic == told.topic for item in seen.mismatches):
            continue
        info = seen.of(told)
        if info is None:
            yield _no_info(seen, camera, told)
            continue
        try:
            hw = frames.frame_hw()
        except RecordingError:
            continue  # told of by its own check
        straight = is_straight(camera, want.topic)
        yield from _judge_info(camera, told, info.newest, hw, straight)


def _no_info(seen: Seen, camera: CameraParams, told: Want) -> Finding:
    found = [] if seen.types_of(told.topic) else likely(seen, told)
    shown = f"; others carry {told.msgtype}: {', '.join(found[:3])}" if found else ""
    line = f"{told.parameter}: {found[0]}" if found else f"{told.parameter}: ''"
    text = missing_info(camera.name, told.topic)
    return Finding("NO_CAMERA_INFO", told.topic, text + shown, line, margin_s=absence_s(seen))


def _judge_info(
    camera: CameraParams, told: Want, info: Any, hw: tuple[int, int], straight: bool | None
) -> Iterator[Finding]:
    try:
        read_camera_info(info, hw, straight)
        height, width = read_camera_info(info, (0, 0), straight).size_hw
    except BadInputError as error:
        yield Finding(
            "BAD_CAMERA_INFO",
            told.topic,
            str(error),
            f"calibrate {camera.name} at {hw[1]} x {hw[0]} (ros2 run camera_calibration "
            f"cameracalibrator), or {camera.name}.camera_info_topic: ''",
            ("CALIBRATION_DOUBTFUL",),
        )
        return
    if (info.width or info.height) and (height, width) != hw:
        yield Finding(
            "INFO_OF_OTHER_SIZE",
            told.topic,
            f"it is for {width} x {height} px, the frames are {hw[1]} x {hw[0]}: K is scaled as "
            "of a picture that was resized; of one that was cut it is wrong",
            f"let the driver of {camera.name} send frames of {width} x {height}, or the "
            f"CameraInfo of {hw[1]} x {hw[0]}",
            ("CALIBRATION_DOUBTFUL",),
        )


def check_rectification(seen: Seen) -> Iterator[Finding]:
    """A bent lens that nobody straightens, or that is straightened twice."""
    for camera, want, _ in _cameras(seen):
        told = seen.want("info", camera.name)
        info = None if told is None else seen.of(told)
        if info is not None and _bends(info.newest):
            yield from _judge_lens(camera, want, info.newest)
        depth, beside = seen.want("depth", camera.name), seen.want("depth_info", camera.name)
        heard = None if beside is None else seen.of(beside)
        if depth is None or heard is None or _is_named_straight(depth):
            continue
        if _bends(heard.newest):
            yield Finding(
                "NOT_RECTIFIED",
                depth.topic,
                f"{_lens(heard.newest)} in its CameraInfo; depth is taken as of straight rays",
                f"{depth.parameter}: the rectified depth (image_proc)",
                ("SCALE_CONFLICT",),
            )


def _judge_lens(camera: CameraParams, want: Want, info: Any) -> Iterator[Finding]:
    named = _is_named_straight(want)
    if camera.rectified == "true" and not named:
        text = (
            f"{camera.name}.rectified is true, but {want.topic} is not named as rectified and its "
            f"CameraInfo has {_lens(info)}: nobody straightens the frames"
        )
    elif camera.rectified == "false" and named:
        text = (
            f"{camera.name}.rectified is false, but {want.topic} is named as rectified: its frames "
            "are straightened a second time"
        )
    else:
        return
    yield Finding(
        "NOT_RECTIFIED", want.topic, text, f"{camera.name}.rectified: auto",
        ("CALIBRATION_DOUBTFUL", "LOW_OVERLAP", "FEW_MATCHES"),
    )  # fmt: skip


def _is_named_straight(want: Want) -> bool:
    return any(part.startswith(_RECTIFY) for part in want.topic.split("/"))


def _bends(info: Any) -> bool:
    """Whether a CameraInfo has a lens that bends straight lines."""
    try:
        return not read_camera_info(info, (0, 0), False).is_pinhole
    except BadInputError:
        return False  # told of by its own check


def _lens(info: Any) -> str:
    shown = ", ".join(f"{float(value):.3g}" for value in info.d)
    return f"a bent lens ({info.distortion_model} {shown})"


def _cameras(seen: Seen) -> Iterator[tuple[CameraParams, Want, Hearing]]:
    """Cameras whose frames came."""
    for camera in seen.params.topics:
        want, frames = seen.want("frames", camera.name), seen.frames_of(camera.name)
        if want is not None and frames is not None:
            yield camera, want, frames
