# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A recording into a pipeline of this process: calibrations, what sensors said, frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from g2vlm_map.decode import SampleBits
from g2vlm_map.pipeline import InputFrame, Pipeline
from g2vlm_map.pixels import CompressedPixels, RawPixels
from g2vlm_map.recordings import RecordedFrame, Recording, RigRecording, cameras_of
from g2vlm_map.recordings.source import COMPRESSED
from g2vlm_map.sensing import Extrinsics
from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.runtimes import load_runtime
from g2vlm_ros.camera_topics import is_straight
from g2vlm_ros.frame_options import mounting
from g2vlm_ros.params import NodeParams

from .depth_sensor import DepthSensor
from .errors import NodeFailedError, ReplayInputError

__all__ = ["Feed", "await_build", "loaded"]

POLL_S = 0.05


def loaded(params: NodeParams) -> SpatialRuntime:
    """The runtime that the parameters name, warmed up.

    Raises:
        ReplayInputError: What was asked for is not there, or does not go together.
        NodeFailedError: It cannot be loaded for another reason.
    """
    try:
        return load_runtime(
            params.runtime,
            model=params.model,
            device=params.device,
            precision=params.precision,
            prompt_mode=params.prompt_mode,
            export=params.export,
            warm_up=True,
        )
    except Exception as error:  # whatever a model folder or a foreign runtime raises
        text = " ".join(str(error).split()) or type(error).__name__
        refused = isinstance(error, ValueError | FileNotFoundError)  # as the node tells them apart
        kind = ReplayInputError if refused else NodeFailedError
        raise kind(f"the model cannot be loaded: {text}") from error


def await_build(runtime: SpatialRuntime, tell: Callable[[str], object]) -> None:
    """Play nothing before a build is over: one runtime serves throughout."""
    while (building := runtime.info.building) is not None:
        tell(f"engine {100 * building.fraction:.0f} %")
        time.sleep(POLL_S)


class Feed:
    """Hands a recording to a pipeline, frame by frame, as whoever drives it says.

    Args:
        recording: One camera's, or a rig's.
        params: Whose cameras are those of the pipeline.
        pipeline: Takes it.
        depth: The recording's depth as a sensor's; None where the map does not want it.
    """

    def __init__(
        self,
        recording: Recording,
        params: NodeParams,
        pipeline: Pipeline,
        depth: DepthSensor | None = None,
    ) -> None:
        self._recording, self._pipeline, self._depth = recording, pipeline, depth
        self._cameras = {camera.name: camera for camera in params.topics}
        self._used: dict[str, SampleBits] = {}
        places = {
            name: mounting(f"{name}.extrinsics", camera.extrinsics)
            for name, camera in self._cameras.items()
        }
        self._given = {name: T for name, T in places.items() if T is not None}
        self.reference = pipeline.options.cameras[0]
        self._samples = recording.samples(self.reference)
        self._next_sample = next(self._samples, None)

    def calibrate(self) -> None:
        """Hand in what the parameters and the recording know of its cameras."""
        for name, T_base_cam in self._given.items():
            self._pipeline.sense(Extrinsics(name, T_base_cam))
        for name, camera in cameras_of(self._recording).items():
            calibration = camera.info.calibration
            if calibration is not None:
                told = calibration.camera_info()
                named = self._cameras[name or self.reference]
                straight = is_straight(named, camera.info.image_topic)
                self._pipeline.calibrate(name or self.reference, told, straight)

    def frames(self) -> Iterator[tuple[str, RecordedFrame]]:
        """(camera, frame) in playing order."""
        if isinstance(self._recording, RigRecording):
            return self._recording.rig_frames()
        return ((self.reference, frame) for frame in self._recording.frames())

    def sense_until(self, time_ns: int) -> None:
        """Hand in what the other sensors have said by then."""
        while self._next_sample is not None and self._next_sample[0] <= time_ns:
            sample = self._next_sample[1]
            # A parameter wins over the recording, as in the node.
            if not (isinstance(sample, Extrinsics) and sample.camera in self._given):
                self._pipeline.sense(sample)
            self._next_sample = next(self._samples, None)

    def add(self, camera: str, frame: RecordedFrame) -> None:
        """Hand in a frame, and ahead of it the depth that is of it."""
        known = cameras_of(self._recording)
        compressed = known.get(camera, self._recording).info.image_type == COMPRESSED
        used = self._used.setdefault(camera, SampleBits(camera))
        message = frame.load()
        pixels = CompressedPixels(message) if compressed else RawPixels(message, used)
        # A stamp may come twice: the pipeline takes the first frame of it.
        if camera == self.reference:
            sample = None if self._depth is None else self._depth.of(frame.stamp_ns)
            if sample is not None:
                self._pipeline.sense(sample)
        self._pipeline.add(InputFrame(pixels, frame.stamp_ns, camera, frame.frame_id))
