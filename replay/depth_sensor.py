# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A recording's depth as the depth image of a sensor: where `depth.source` asks for one.

It is handed in just ahead of the frame that it is of, whenever the recorder got it: what is late in
a recording is late in the recorder, too. The same depth then is what the map was given and what it
is scored against, and the report says so.

Shape letters: H W pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.recordings import Calibration, Recording, RigRecording
from g2vlm_map.sensing import DepthSample

from .errors import ReplayInputError

__all__ = ["NOTE", "DepthSensor", "depth_sensor"]

NOTE = (
    "depth.source is {source}: the map was given the depth that AbsRel and \u03b4 compare with, so "
    "they say nothing of the model."
)


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
