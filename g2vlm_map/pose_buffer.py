"""Poses with stamps, and the pose at any instant between two of them.

Rotations are interpolated along the shortest turn, translations along the line. Stamps may come
late or twice; a pose that leaps is the business of whoever asks.
"""

from __future__ import annotations

import bisect
import threading

import numpy as np
from numpy.typing import NDArray

from .mapping.rotations import exp_rotation, log_rotations

__all__ = ["PoseBuffer"]

Floats = NDArray[np.float64]
NS = 1_000_000_000


class PoseBuffer:
    """The newest poses of something that moves; safe between threads.

    Args:
        keep: How many; the oldest fall out.
        max_gap_s: Between two poses that lie further apart nothing is known.
    """

    def __init__(self, keep: int = 4000, max_gap_s: float = 0.5) -> None:
        self._keep = keep
        self._max_gap_ns = round(max_gap_s * NS)
        self._lock = threading.Lock()
        self._stamps: list[int] = []
        self._poses: list[Floats] = []

    def __len__(self) -> int:
        return len(self._stamps)

    def add(self, stamp_ns: int, T: NDArray[np.floating]) -> None:
        """Add a pose; another one of the same stamp replaces it.

        Args:
            stamp_ns: When.
            T: (4, 4) pose, finite.
        """
        pose = np.array(T, np.float64)
        with self._lock:
            place = bisect.bisect_left(self._stamps, stamp_ns)
            if place < len(self._stamps) and self._stamps[place] == stamp_ns:
                self._poses[place] = pose
                return
            self._stamps.insert(place, stamp_ns)
            self._poses.insert(place, pose)
            if len(self._stamps) > self._keep + self._keep // 4:
                self._stamps = self._stamps[-self._keep :]
                self._poses = self._poses[-self._keep :]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._stamps, self._poses = [], []

    def at(self, stamp_ns: int) -> Floats | None:
        """(4, 4) pose at an instant; None outside of what is known or in a gap of it."""
        with self._lock:
            after = bisect.bisect_left(self._stamps, stamp_ns)
            if after < len(self._stamps) and self._stamps[after] == stamp_ns:
                return self._poses[after].copy()
            if not 0 < after < len(self._stamps):
                return None
            start, end = self._stamps[after - 1], self._stamps[after]
            a, b = self._poses[after - 1], self._poses[after]
        if end - start > self._max_gap_ns:
            return None
        share = (stamp_ns - start) / (end - start)
        turn = log_rotations((a[:3, :3].T @ b[:3, :3])[None])[0]
        T = np.eye(4)
        T[:3, :3] = a[:3, :3] @ exp_rotation(share * turn)
        T[:3, 3] = (1 - share) * a[:3, 3] + share * b[:3, 3]
        return T

    def between(self, start_ns: int, end_ns: int) -> Floats | None:
        """(4, 4) pose at the end in the axes of the start; None where one of them is unknown."""
        start, end = self.at(start_ns), self.at(end_ns)
        if start is None or end is None:
            return None
        T: Floats = np.linalg.inv(start) @ end
        return T
