# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is known of one camera's lens while it runs: its CameraInfo, and when that changes.

A CameraInfo comes with every frame and almost never says anything new; what follows from it (the
model, the maps that straighten frames) is made once, for frames of the size that comes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .camera_model import CameraInfoLike, CameraModel, fingerprint, read_camera_info
from .decode import BadInputError
from .frame_optics import FrameOptics, RimFinder
from .rectify import Rectification

__all__ = ["CameraCalibration", "missing_info"]

Floats = NDArray[np.float64]


class CameraCalibration:
    """One camera's calibration and optics; used by one thread at a time.

    Args:
        max_fov_deg: Widest angle of a straightened frame.

    Attributes:
        has_info: A CameraInfo has come, good or bad.
        problem: What is wrong with it; "" where nothing is.
    """

    def __init__(self, max_fov_deg: float) -> None:
        self.has_info = False
        self.problem = ""
        self._max_fov_deg = max_fov_deg
        self._known: tuple[object, ...] | None = None
        self._info: CameraInfoLike | None = None
        self._rectified: bool | None = None
        self._frame_hw = (0, 0)
        self._model: CameraModel | None = None
        self._used = False  # a frame has got this model
        self._rims = RimFinder()
        self._optics = FrameOptics()

    def take(self, info: CameraInfoLike, rectified: bool | None = None) -> str:
        """Take over a CameraInfo.

        Args:
            info: As it came.
            rectified: Whether the frames are straight already; None: as the lens says.

        Returns:
            What is another than the frames so far had, in words; "" where nothing is.
        """
        self.has_info = True
        known = (fingerprint(info), rectified)
        if known == self._known:
            return ""
        self._known, self._info, self._rectified = known, info, rectified
        before = self._model if self._used else None
        self._make()
        return "" if before is None else _difference(before, self._model)

    def of_frame(
        self, size_hw: tuple[int, int], gray_HW: NDArray[np.uint8]
    ) -> tuple[Floats | None, FrameOptics]:
        """K of a frame that is decoded now (None where unknown), and how its pixels come about.

        Args:
            size_hw: (H, W) of the frame.
            gray_HW: The frame, small and grey, as it was delivered.
        """
        if size_hw != self._frame_hw:
            self._frame_hw, self._rims = size_hw, RimFinder()
            self._make()
        rim_HW = self._rims.add(gray_HW)
        if rim_HW is not self._optics.rim_HW:
            self._optics = FrameOptics(self._optics.rectification, rim_HW)
        if self._model is None:
            return None, self._optics
        self._used = True
        straight = self._optics.rectification
        return self._model.K if straight is None else straight.K, self._optics

    def _make(self) -> None:
        """The model and its maps for the CameraInfo and the frame size that there are."""
        self._used, self.problem, self._model = False, "", None
        straight = None
        if self._info is not None:
            try:
                self._model = read_camera_info(self._info, self._frame_hw, self._rectified)
                if all(self._frame_hw) and not self._model.is_pinhole:
                    straight = Rectification(self._model, self._max_fov_deg)
            except BadInputError as error:
                self.problem = str(error)
            except ValueError as error:
                self._model, self.problem = None, f"its lens cannot be straightened: {error}"
        self._optics = FrameOptics(straight, self._optics.rim_HW)


def _difference(before: CameraModel, now: CameraModel | None) -> str:
    """What changed, in words; "" where nothing did."""
    if now is None:
        return "its CameraInfo holds no usable K any more"
    if (before.lens, before.D) != (now.lens, now.D):
        return f"lens {before.lens} {list(before.D)} became {now.lens} {list(now.D)}"
    if not np.array_equal(before.K, now.K):
        old, new = (
            ", ".join(f"{value:.1f}" for value in K[[0, 1, 0, 1], [0, 1, 2, 2]])
            for K in (before.K, now.K)
        )
        return f"fx, fy, cx, cy were {old} px and are {new} px"
    return ""


def missing_info(camera: str, source: str) -> str:
    """NO_CAMERA_INFO of a camera whose CameraInfo should come on a topic."""
    return (
        f"nothing on {source}; K stays unknown. Set {camera}.camera_info_topic to its "
        "topic, or to '' where there is none"
    )
