# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where the camera of a recording was: ground truth, TF, odometry, or a map of the project's own.

    truth      what the recording says is the truth (`g2vlm_map.recordings`)
    tf         TF from its root to the camera, whoever estimates it: SLAM, a localiser
    odometry   Odometry, or the link of TF that is one, with the camera's place on the robot
    map        the recording through the pipeline, as a robot would: poses of the keyframes

Drift of odometry and leaps of a localiser do little harm inside of a window of some seconds, and
all the harm between windows that are far apart.

Shape letters: M poses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.camera_model import named_straight
from g2vlm_map.decode import SampleBits
from g2vlm_map.options import PipelineOptions
from g2vlm_map.pipeline import InputFrame, Pipeline
from g2vlm_map.pixels import CompressedPixels, RawPixels
from g2vlm_map.recordings import (
    NS,
    Recording,
    RecordingError,
    TopicChoice,
    TruePoses,
    is_bag,
    open_recording,
)
from g2vlm_map.recordings.source import COMPRESSED
from g2vlm_map.sensing import Extrinsics, OdometrySample
from g2vlm_model.runtimes import load_runtime

from .base import DataError

__all__ = ["SOURCES", "CameraPath", "find_path"]

_LOG = logging.getLogger(__name__)
Floats = NDArray[np.float64]

SOURCES = {  # the best first
    "truth": "true poses",
    "tf": "poses by TF",
    "odometry": "poses by odometry",
    "map": "poses by a map of its own",
}
_GAP_S = (0.1, 0.5)  # between neighbours in time: what is always bridged, and what never is
_USUAL = 2.5  # usual distances of poses that are bridged
_PATIENCE_S = 300.0
_HOUR_S = 3600.0


@dataclass(frozen=True)
class CameraPath:
    """Poses of a camera, and who says so.

    Args:
        stamps_ns: (M,) int64, increasing.
        T_world_cam_M44: (M, 4, 4) float64, optical axes.
        origin: In words.
        source: One of `SOURCES`.
        metric: Whether positions are metres.
        max_gap_s: Poses that are farther apart have nothing between them.
    """

    stamps_ns: NDArray[np.int64]
    T_world_cam_M44: Floats
    origin: str
    source: str
    metric: bool
    max_gap_s: float


def find_path(
    recording: Recording, topics: TopicChoice, source: str = "auto", model: str = "nano"
) -> tuple[CameraPath | None, list[str]]:
    """Look for a camera's poses.

    Args:
        recording: Of the camera.
        topics: With which it was opened.
        source: One of `SOURCES`, "none", or "auto": the first of them that there is.
        model: Of the map.

    Returns:
        The poses or None, and why the sources before were passed over.

    Raises:
        DataError: There is none of the source that is asked for.
    """
    if source == "none":
        return None, []
    find: dict[str, Callable[[], CameraPath | str]] = {
        "truth": lambda: _path(recording.true_poses(), "truth", "nothing in it is called one"),
        "tf": lambda: _by_tf(recording, topics),
        "odometry": lambda: _by_odometry(recording),
        "map": lambda: _by_map(recording, model),
    }
    if source not in (*SOURCES, "auto"):
        raise DataError(
            f"the source of poses is {source!r}, expected auto, none or one of {[*SOURCES]}"
        )
    notes: list[str] = []
    for name in SOURCES if source == "auto" else (source,):
        try:
            found = find[name]()
        except RecordingError as error:
            found = str(error)
        if isinstance(found, CameraPath):
            return found, notes
        notes.append(f"no {SOURCES[name]}: {found}")
    if source == "auto":
        return None, notes
    told = " ".join(recording.info.notes)
    raise DataError(f"{recording.info.path} has {notes[-1]}. {told}".rstrip())


def _path(poses: TruePoses | None, source: str, without: str) -> CameraPath | str:
    if poses is None or not len(poses.stamps_ns):
        return without
    steps_s = np.diff(poses.stamps_ns) / NS
    usual_s = float(np.median(steps_s)) if len(steps_s) else 0.0
    gap_s = float(np.clip(_USUAL * usual_s, *_GAP_S))
    return CameraPath(
        poses.stamps_ns, poses.T_world_cam_M44, poses.origin, source, poses.is_metric, gap_s
    )


def _by_tf(recording: Recording, topics: TopicChoice) -> CameraPath | str:
    if not is_bag(recording.info.path):
        return "a folder has no TF"
    poses = open_recording(recording.info.path, replace(topics, pose="/tf")).true_poses()
    still = "nothing in TF moves its camera"
    if poses is None or len(poses.stamps_ns) < 2:
        return still
    return _path(poses, "tf", still)


def _by_odometry(recording: Recording) -> CameraPath | str:
    T_base_cam: Floats | None = None
    by_stamp: dict[int, Floats] = {}
    for _, sample in recording.samples("camera"):
        if isinstance(sample, Extrinsics):
            T_base_cam = sample.T_base_cam
        elif isinstance(sample, OdometrySample):
            by_stamp[sample.stamp_ns] = sample.T_odom_base
    if len(by_stamp) < 2:
        return "it holds no odometry of the robot that carries the camera"
    if T_base_cam is None:
        return "TF does not say where the camera sits on the robot"
    stamps_ns = np.array(sorted(by_stamp), np.int64)
    T_odom_cam_M44 = np.stack([by_stamp[int(stamp)] for stamp in stamps_ns]) @ T_base_cam
    poses = TruePoses(stamps_ns, T_odom_cam_M44, "odometry and the camera's place on the robot", 0)
    return _path(poses, "odometry", "")


def _by_map(recording: Recording, model: str) -> CameraPath | str:
    """Keyframes of the largest part of the map that the pipeline makes of the recording."""
    info, options = recording.info, PipelineOptions()
    options = replace(
        options,
        images=replace(options.images, max_jump_s=_HOUR_S, timeout_s=_HOUR_S),
        loops=replace(options.loops, wait=True),
    )
    camera = options.cameras[0]
    _LOG.info("%s: no poses in it; making a map of it with %s", info.path, model)
    runtime = load_runtime("torch", model)
    try:
        with Pipeline(runtime, options) as pipeline:
            if info.calibration is not None:
                straight = True if named_straight(info.image_topic) else None
                pipeline.calibrate(camera, info.calibration.camera_info(), straight)
            _play(recording, pipeline, camera)
            world = pipeline.world
    finally:
        runtime.close()
    numbers = [placed.segment for placed in world.keyframes]
    if not numbers:
        return "the pipeline made no map of it"
    largest = max(set(numbers), key=numbers.count)
    placed = sorted(
        (one.keyframe.stamp_ns, one.T_map_body) for one in world.keyframes if one.segment == largest
    )
    metric = world.scale.metric and world.segment == largest
    T_M44 = np.stack([T for _, T in placed])
    if metric:
        T_M44[:, :3, 3] *= world.scale.metres_per_unit
    origin = (
        f"the map that {runtime.info.model_id} made of it: {len(placed)} of {len(numbers)} "
        f"keyframes, in {'metres' if metric else 'map units: ' + world.scale.reason}"
    )
    stamps_ns = np.array([stamp for stamp, _ in placed], np.int64)
    return CameraPath(stamps_ns, T_M44, origin, "map", metric, _GAP_S[0])


def _play(recording: Recording, pipeline: Pipeline, camera: str) -> None:
    """Hand a recording in, frame by frame, each when the one before is done."""
    samples = recording.samples(camera)
    sample = next(samples, None)
    used = SampleBits(camera)
    compressed = recording.info.image_type == COMPRESSED
    for frame in recording.frames():
        while sample is not None and sample[0] <= frame.time_ns:
            pipeline.sense(sample[1])
            sample = next(samples, None)
        message = frame.load()
        pixels = CompressedPixels(message) if compressed else RawPixels(message, used)
        pipeline.add(InputFrame(pixels, frame.stamp_ns, camera, frame.frame_id))
        pipeline.wait(_PATIENCE_S)
