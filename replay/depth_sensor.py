# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A recording's depth: laid over straight frames for scores, and as the depth image of a sensor.

A lens that bends is straightened by the node, and so must the depth be that its own is held
against. Where `depth.source` asks for a sensor, the recording's depth is handed in just ahead of
the frame that it is of, whenever the recorder got it: what is late in a recording is late in the
recorder, too. The same depth then is what the map was given and what it is scored against, and the
report says so.

Shape letters: H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.camera_model import CameraInfoLike, read_camera_info
from g2vlm_map.recordings import NS, Calibration, LeftOut, Recording, RigRecording
from g2vlm_map.rectify import Rectification
from g2vlm_map.sensing import DepthSample
from g2vlm_ros.camera_topics import is_straight
from g2vlm_ros.params import NodeParams

from .errors import ReplayInputError

__all__ = ["NOTE", "DepthSensor", "StraightRecording", "depth_sensor", "straight_recording"]

NOTE = (
    "depth.source is {source}: the map was given the depth that AbsRel and \u03b4 compare with, so "
    "they say nothing of the model."
)


class StraightRecording:
    """A recording whose true depth lies over its frames as the node straightens them.

    Args:
        recording: whose lens bends.
        lens: its camera, of frames of any size of that shape.
        max_fov_deg: widest angle of a straight frame, as `images.rectified_fov_deg`.
    """

    def __init__(self, recording: Recording, lens: CameraInfoLike, max_fov_deg: float) -> None:
        self._recording, self._lens, self._max_fov_deg = recording, lens, max_fov_deg
        self._made: dict[tuple[int, int], Rectification] = {}
        self.info = recording.info
        self.frames, self.samples = recording.frames, recording.samples
        self.true_poses = recording.true_poses

    def true_depths(
        self, stamps_ns: Iterable[int], left_out: list[LeftOut] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Straightened; what is of another shape than the camera's frames is left out."""
        for stamp_ns, depth_HW in self._recording.true_depths(stamps_ns, left_out):
            size_hw = (depth_HW.shape[0], depth_HW.shape[1])
            try:
                if size_hw not in self._made:
                    model = read_camera_info(self._lens, size_hw, rectified=False)
                    self._made[size_hw] = Rectification(model, self._max_fov_deg)
            except ValueError as error:
                if left_out is not None:
                    left_out.append(LeftOut(f"depth at {stamp_ns / NS:.3f} s", str(error)))
                continue
            yield stamp_ns, self._made[size_hw].nearest(depth_HW)


def straight_recording(recording: Recording, params: NodeParams) -> Recording:
    """The recording with its true depth as the node's depth lies: straight where that is made so.

    Args:
        recording: what is played; of a rig the reference camera counts.
        params: of the node that plays it.
    """
    info = recording.info
    if info.calibration is None or is_straight(params.topics[0], info.image_topic) is True:
        return recording
    if info.calibration.is_pinhole:
        return recording
    lens, fov_deg = info.calibration.camera_info(), params.images.rectified_fov_deg
    try:
        Rectification(read_camera_info(lens, info.size_hw, rectified=False), fov_deg)
    except ValueError:  # the node refuses such a lens, and leaves the frames as they are
        return recording
    return StraightRecording(recording, lens, fov_deg)


class DepthSensor:
    """The depth of a recording's (reference) camera.

    Args:
        recording: that holds it.
        camera: name that samples give the camera.
        calibration: of the camera.
    """

    def __init__(self, recording: Recording, camera: str, calibration: Calibration) -> None:
        self._recording, self._camera, self._calibration = recording, camera, calibration

    def of(self, stamp_ns: int) -> DepthSample | None:
        """The depth that belongs to a frame; None where it has none."""
        for _, depth_HW in self._recording.true_depths([stamp_ns]):
            return DepthSample(stamp_ns, self._camera, depth_HW, self._K(depth_HW))
        return None

    def _K(self, depth_HW: NDArray[np.float32]) -> NDArray[np.float64]:
        """K in pixels of the depth, which is registered to the frames."""
        K = np.array(self._calibration.K, np.float64)
        height, width = self._calibration.size_hw
        if not (height and width):
            height, width = self._recording.info.size_hw
        stretch = np.array([depth_HW.shape[1] / width, depth_HW.shape[0] / height])
        K[:2, :2] *= stretch[:, None]
        K[:2, 2] = (K[:2, 2] + 0.5) * stretch - 0.5
        return K


def depth_sensor(recording: Recording, source: str, camera: str) -> DepthSensor | None:
    """The sensor that a run wants; None where it wants none.

    Args:
        recording: what is played.
        source: the parameter `depth.source`.
        camera: name of its reference camera.

    Raises:
        ReplayInputError: It wants one, and the recording has no depth of its frames, or no K.
    """
    if source == "model":
        return None
    info = recording.info
    if info.calibration is None:
        raise ReplayInputError(
            f"depth.source is {source}, and {info.path} has no K of its camera: depth cannot be "
            "laid over its frames"
        )
    if not info.calibration.is_pinhole:
        raise ReplayInputError(
            f"depth.source is {source}, and the lens of {info.path} is bent: depth is expected to "
            "be registered to straight frames"
        )
    own = recording.reference if isinstance(recording, RigRecording) else recording
    if next(iter(own.true_depths(info.stamps_ns)), None) is None:
        raise ReplayInputError(
            f"depth.source is {source}, and {info.path} has no depth that belongs to one of its "
            f"{len(info.stamps_ns)} frames; name its topic with --truth-depth-topic"
        )
    return DepthSensor(own, camera, info.calibration)
