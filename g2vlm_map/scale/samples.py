# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What other sensors said lately, kept until a keyframe asks for it; safe between threads."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from ..poses import Floats
from ..sensing import DepthSample, Extrinsics, Gravity, OdometrySample, PointSample, Sample
from .odometry_history import OdometryHistory, Stand

__all__ = ["Samples"]

_Timed = TypeVar("_Timed", PointSample, DepthSample, Gravity)

_KEPT_NS = 4_000_000_000  # of each kind: a keyframe is asked about up to two passes later
_KEPT_BYTES = 48_000_000  # of each kind, of depth of each camera
_LEAST_NS = 1_000_000_000  # a history that is cut shorter than this is complained of
_MOST_POINTS = 20_000  # of a cloud
_MOST_COLUMNS = 200  # of a depth image
_MAX_COMPLAINTS = 8


class Samples:
    """Buffers of what `Pipeline.sense` hands in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._complaints: deque[str] = deque(maxlen=_MAX_COMPLAINTS)
        self._extrinsics: dict[str, Floats] = {}
        self.forget()

    def forget(self) -> None:
        """Drop all samples; extrinsics hold on."""
        with self._lock:
            self._odometry = OdometryHistory()
            self._points = _Recent[PointSample]("clouds")
            self._scans = _Recent[PointSample]("scans")
            self._depths: dict[str, _Recent[DepthSample]] = {}  # by camera
            self._gravity = _Recent[Gravity]("gravity")

    def add(self, sample: Sample) -> None:
        """Keep a sample; what is wrong with it is told by `complaints`."""
        with self._lock:
            if isinstance(sample, OdometrySample):
                text = self._odometry.add(sample)
                if text:
                    self._complaints.append(text)
            elif isinstance(sample, PointSample):
                points = _thinned_points(sample)
                kept = self._scans if sample.is_scan else self._points
                self._complain(kept.add(points, points.points_M3.nbytes))
            elif isinstance(sample, DepthSample):
                step, name = 1 + sample.depth_HW.shape[1] // _MOST_COLUMNS, sample.camera
                depth = sample.thinned(step, np.float32)
                own = self._depths.setdefault(name, _Recent[DepthSample](f"depths of {name}"))
                self._complain(own.add(depth, depth.depth_HW.nbytes))
            elif isinstance(sample, Gravity):
                self._complain(self._gravity.add(sample, 100))
            elif isinstance(sample, Extrinsics):
                self._add_extrinsics(sample)

    def complain(self, text: str) -> None:
        """Remember what is wrong with a sensor, to be told once."""
        with self._lock:
            self._complain(text)

    def _complain(self, text: str) -> None:
        if text and text not in self._complaints:
            self._complaints.append(text)

    def complaints(self) -> list[str]:
        """What was wrong since the last call."""
        with self._lock:
            told = list(self._complaints)
            self._complaints.clear()
        return told

    def odometry(self, stamp_ns: int) -> Stand | None:
        """See `OdometryHistory.at`.

        Raises:
            NotYetError: All samples are older.
        """
        with self._lock:
            return self._odometry.at(stamp_ns)

    def points(self, stamp_ns: int, within_ns: int, scan: bool) -> PointSample | None:
        """The cloud, or the row of a 2D lidar, nearest to a stamp."""
        with self._lock:
            return (self._scans if scan else self._points).nearest(stamp_ns, within_ns)

    def depth(self, camera: str, stamp_ns: int, within_ns: int) -> DepthSample | None:
        """A camera's measured depth nearest to a stamp."""
        with self._lock:
            own = self._depths.get(camera)
            return None if own is None else own.nearest(stamp_ns, within_ns)

    def up(self, stamp_ns: int, within_ns: int) -> Gravity | None:
        """Which way is up at a stamp."""
        with self._lock:
            return self._gravity.nearest(stamp_ns, within_ns)

    def T_base_cam(self, camera: str) -> Floats | None:
        """(4, 4) where a camera sits on the robot, metres; None where nobody told."""
        with self._lock:
            return self._extrinsics.get(camera)

    def T_base_cams(self) -> dict[str, Floats]:
        """(4, 4) where each camera sits on the robot, metres, of those of which it is known."""
        with self._lock:
            return dict(self._extrinsics)

    def _add_extrinsics(self, sample: Extrinsics) -> None:
        T = np.asarray(sample.T_base_cam, np.float64)
        good = T.shape == (4, 4) and np.isfinite(T).all()
        if not good or abs(np.linalg.det(T[:3, :3]) - 1) > 0.05:
            self._complaints.append(f"extrinsics of camera {sample.camera!r} are no pose: left out")
            return
        self._extrinsics[sample.camera] = T


class _Recent(Generic[_Timed]):
    """The newest samples of one kind, by time and by memory.

    Args:
        what: They are, for complaints.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._samples: deque[tuple[_Timed, int]] = deque()
        self._bytes = 0

    def add(self, sample: _Timed, nbytes: int) -> str:
        """Keep a sample of that size; why the history is too short, "" where it is not."""
        self._samples.append((sample, nbytes))
        self._bytes += nbytes
        while abs(sample.stamp_ns - self._samples[0][0].stamp_ns) > _KEPT_NS:
            self._drop()  # of long ago, or of before a leap of time
        full = False
        while self._bytes > _KEPT_BYTES and len(self._samples) > 1:
            self._drop()
            full = True
        span_ns = abs(sample.stamp_ns - self._samples[0][0].stamp_ns)
        if full and span_ns < _LEAST_NS:
            return (
                f"{self._what} come so fast that only the newest {_LEAST_NS / 1e9:g} s or less of "
                "them are kept: some keyframes find none; publish fewer"
            )
        return ""

    def nearest(self, stamp_ns: int, within_ns: int) -> _Timed | None:
        """The one nearest to a stamp; None where none is near."""
        samples = (item for item, _ in self._samples)
        best = min(samples, key=lambda item: abs(item.stamp_ns - stamp_ns), default=None)
        if best is None or abs(best.stamp_ns - stamp_ns) > within_ns:
            return None
        return best

    def _drop(self) -> None:
        self._bytes -= self._samples.popleft()[1]


def _thinned_points(sample: PointSample) -> PointSample:
    """Points enough for a median, in memory of their own."""
    step = 1 + len(sample.points_M3) // _MOST_POINTS
    return replace(sample, points_M3=np.array(sample.points_M3[::step], np.float32))
