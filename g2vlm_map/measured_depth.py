# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth of another sensor in the place of the model's: `depth.source` sensor or fused.

`MeasuredDepth.applied` is called once for each pass, once its geometry lies on the cameras' rays.
A frame whose depth image has come, by stamp, gets its depth:

    sensor    the sensor's where it has a reading; elsewhere nothing is valid
    fused     the sensor's where it has a reading; elsewhere the model's, brought to it (depth_fill)

Either way a keyframe's depth is in metres up to one factor that its segment keeps (`PassUnits`), so
the map's lengths come from the sensor. A frame without such a depth keeps the model's, brought to
metres by the other frames of its window; DEPTH_MISSING says so, and why, as long as it is the
newest one that lacks it.

Shape letters: N frames, H W pixels of the model's picture.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import Frame, FrameWindow, GeometryPrediction

from .depth_fill import DepthFit, filled, fit, laid_over
from .known_rays import on_rays, seen_by
from .options import DepthOptions
from .scale.sources.depth_ratio import in_millimetres
from .sensing import DepthSample, Sample, depth_step
from .status import StatusBoard

__all__ = ["MeasuredDepth", "MeasuredGeometry"]

Floats32 = NDArray[np.float32]

_MOST_BYTES = 64 * 2**20  # of all samples; two seconds of a VGA camera at 30 Hz are 37 MB
_MOST_ELSEWHERE = 0.6  # spread of the log ratio; more, and the two see different things
_LEAST_ALIKE = 0.2  # rank correlation with the model's depth; less, and it is no depth of this view
_ALIVE_S = 2.0  # since its last image a depth topic is waited for


@dataclass(frozen=True)
class MeasuredGeometry(GeometryPrediction):
    """A pass's geometry with measured depth in it; lengths stay in units of the pass.

    Args:
        metres_per_unit: Metres in one unit of the pass.
        measured_N: bool; frames whose depth a sensor measured.
    """

    metres_per_unit: float = 1.0
    measured_N: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))


class MeasuredDepth:
    """Keeps depth images until the pass of their frames is done; safe between threads.

    Args:
        options: The group `depth`.
        board: Holds DEPTH_MISSING, and is told SENSOR_REFUSED.
    """

    def __init__(self, options: DepthOptions, board: StatusBoard) -> None:
        self._options = options
        self._board = board
        self._arrival = threading.Condition()
        self._samples: deque[DepthSample] = deque()
        self._heard_s: dict[str, float] = {}
        self._laid: dict[str, Floats32 | str] = {}  # of the window's frames, or why there is none

    @property
    def wanted(self) -> bool:
        """Whether measured depth is used."""
        return self._options.source != "model"

    def forget(self) -> None:
        """Begin with nothing."""
        with self._arrival:
            self._samples.clear()
            self._heard_s = {}
            self._laid = {}
        self._board.condition("DEPTH_MISSING", False)

    def sense(self, sample: Sample) -> None:
        """Keep a depth image; from any thread, in any order."""
        if not (self.wanted and isinstance(sample, DepthSample)):
            return
        depth, K = np.asarray(sample.depth_HW), np.asarray(sample.K, np.float64)
        good = depth.ndim == 2 and depth.size > 0 and K.shape == (3, 3) and np.isfinite(K).all()
        if not good or K[0, 0] <= 0 or K[1, 1] <= 0:
            self._refuse(f"depth of camera {sample.camera!r} is {depth.shape} with K {K.tolist()}")
            return
        # float16 is what a keyframe keeps, too: it rounds by 1 in 2048.
        kept = sample.thinned(depth_step(depth.shape[1]), np.float16)
        with self._arrival:
            self._heard_s[sample.camera] = time.monotonic()
            self._samples.append(kept)
            while sum(item.depth_HW.nbytes for item in self._samples) > _MOST_BYTES:
                self._samples.popleft()
            self._arrival.notify_all()

    def applied(self, geometry: GeometryPrediction, window: FrameWindow) -> GeometryPrediction:
        """The geometry of a pass with what was measured in it.

        Args:
            geometry: On the rays of the cameras; is not changed.
            window: That it is of.
        """
        if not self.wanted:
            return geometry
        frames = window.frames
        self._await(frames)
        known, self._laid = self._laid, {}
        fits: dict[int, DepthFit] = {}
        for index, frame in enumerate(frames):
            before = known.get(frame.key)
            laid = before if isinstance(before, np.ndarray) else self._find(frame, geometry, index)
            if isinstance(laid, np.ndarray):
                fitted = fit(laid, _model_depth(geometry, index))
                laid = self._doubt(fitted) or laid
                if isinstance(laid, np.ndarray) and fitted is not None:
                    fits[index] = fitted
            self._laid[frame.key] = laid
        self._tell(frames)
        if not fits:
            return geometry
        log_metres = float(np.median([fitted.log_metres for fitted in fits.values()]))
        return self._with_depth(geometry, window, fits, math.exp(log_metres))

    def _await(self, frames: tuple[Frame, ...]) -> None:
        """Wait a little for depth of the newest frames, which may come behind the picture."""
        newest = {frame.camera: frame.stamp_ns for frame in frames}
        now, tolerance_ns = time.monotonic(), self._options.tolerance_s * 1e9

        def all_there() -> bool:
            alive = [name for name in newest if now - self._heard_s.get(name, -1e9) < _ALIVE_S]
            return all(
                max((one.stamp_ns for one in self._samples if one.camera == name), default=0)
                >= newest[name] - tolerance_ns
                for name in alive
            )

        with self._arrival:
            self._arrival.wait_for(all_there, self._options.wait_s)

    def _find(self, frame: Frame, geometry: GeometryPrediction, index: int) -> Floats32 | str:
        """The depth image that belongs to a frame, on the model's pixels; or why there is none."""
        with self._arrival:
            own = [sample for sample in self._samples if sample.camera == frame.camera]
        if not own:
            return "no depth image of it has come"
        nearest = min(own, key=lambda sample: abs(sample.stamp_ns - frame.stamp_ns))
        apart_s = (nearest.stamp_ns - frame.stamp_ns) * 1e-9
        if abs(apart_s) > self._options.tolerance_s:
            side = "older" if apart_s < 0 else "newer"
            return (
                f"the depth image nearest to it is {abs(apart_s):.3f} s {side}, depth.tolerance_s "
                f"is {self._options.tolerance_s:g}"
            )
        told = in_millimetres(nearest.depth_HW.astype(np.float32))
        if told:
            return told
        laid = laid_over(nearest, geometry.K[index].astype(np.float64), geometry.image_size)
        share = float((laid > 0).mean())
        if share < self._options.min_share:
            return (
                f"its depth image has readings on {share:.1%} of the picture, depth.min_share is "
                f"{self._options.min_share:.1%}"
            )
        return laid

    def _doubt(self, fitted: DepthFit | None) -> str:
        """Why a depth image is none of the view that the picture shows; "" where it may be."""
        if fitted is None:
            return "no pixel has both its depth and the model's"
        if fitted.spread > _MOST_ELSEWHERE or fitted.correlation < _LEAST_ALIKE:
            return (
                f"its depth does not fit the picture: over the model's it scatters by "
                f"{fitted.spread:.2f} (log; at most {_MOST_ELSEWHERE:g}), their ranks correlate by "
                f"{fitted.correlation:.2f} (at least {_LEAST_ALIKE:g}); is it registered to this "
                "camera, and of its time?"
            )
        return ""

    def _tell(self, frames: tuple[Frame, ...]) -> None:
        """Say which of the newest frames lack their depth."""
        newest = {frame.camera: frame for frame in frames}
        asked = {frames[0].camera, *self._heard_s}  # others of a rig may have no depth sensor
        texts = [
            f"camera {frame.camera!r}: {why}"
            for frame in newest.values()
            if frame.camera in asked and isinstance(why := self._laid[frame.key], str)
        ]
        text = f"depth.source is {self._options.source}, the model's depth stands: "
        self._board.condition("DEPTH_MISSING", bool(texts), text + "; ".join(texts))

    def _refuse(self, text: str) -> None:
        self._board.event("SENSOR_REFUSED", text, time.monotonic())

    def _with_depth(
        self,
        geometry: GeometryPrediction,
        window: FrameWindow,
        fits: dict[int, DepthFit],
        metres: float,
    ) -> MeasuredGeometry:
        local, valid = geometry.local_points.copy(), geometry.valid.copy()
        confidence = geometry.confidence.copy()
        seen = seen_by(window.frames, geometry.image_size)
        measured_N = np.zeros(len(local), bool)
        for index, fitted in fits.items():
            laid = self._laid[window.frames[index].key]
            assert isinstance(laid, np.ndarray), laid
            mask = seen[index]
            laid = laid if mask is None else laid * mask
            depth_HW = laid
            if self._options.source == "fused":
                depth_HW = filled(laid, _model_depth(geometry, index), fitted)
            there = laid > 0
            local[index, ..., 2] = depth_HW / np.float32(metres)
            confidence[index] = np.where(there, np.float32(1), confidence[index] * (depth_HW > 0))
            valid[index] = there | (valid[index] & (depth_HW > 0))
            measured_N[index] = True
        laid_on = on_rays(
            replace(geometry, local_points=local, valid=valid, confidence=confidence),
            geometry.K.astype(np.float64),
            geometry.T_world_cam.astype(np.float64),
        )
        own = {item.name: getattr(laid_on, item.name) for item in fields(GeometryPrediction)}
        return MeasuredGeometry(**own, metres_per_unit=metres, measured_N=measured_N)


def _model_depth(geometry: GeometryPrediction, index: int) -> Floats32:
    """(H, W) z-depth of a frame as the model predicts it; 0 where there is none."""
    depth = geometry.local_points[index, ..., 2]
    with np.errstate(invalid="ignore"):
        usable = geometry.valid[index] & np.isfinite(depth) & (depth > 0)
    return np.where(usable, depth, np.float32(0))
