# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rigid transforms, and poses that come with a stamp: kept for a while, looked up in between.

`T_a_b` (4, 4) maps coordinates of b to coordinates of a. Small rotations are vectors in rad, on
the left: R' = exp(r) R, in the axes that R maps to.
"""

from __future__ import annotations

import threading
from bisect import bisect_left

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Floats",
    "StampedPoses",
    "between",
    "cross_matrix",
    "inverse",
    "metric",
    "quaternion_xyzw",
    "rigid",
    "rotation",
    "rotation_vector",
]

Floats = NDArray[np.float64]
_NS = 1_000_000_000


def rigid(R: Floats, t_3: Floats) -> Floats:
    """(4, 4) of a rotation and a translation."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t_3
    return T


def inverse(T_a_b: Floats) -> Floats:
    """T_b_a of a rigid T_a_b."""
    R_b_a = T_a_b[:3, :3].T
    return rigid(R_b_a, -R_b_a @ T_a_b[:3, 3])


def metric(T_a_b: Floats, metres_per_unit: float) -> Floats:
    """The transform with its translation in metres."""
    return rigid(T_a_b[:3, :3], T_a_b[:3, 3] * metres_per_unit)


def rotation(vector_3: Floats) -> Floats:
    """(3, 3) rotation about a vector by its length in rad."""
    return np.asarray(cv2.Rodrigues(np.asarray(vector_3, np.float64))[0], np.float64)


def rotation_vector(R: Floats) -> Floats:
    """(3,) axis times angle of a rotation; of one that is only nearly orthonormal, the nearest."""
    return np.asarray(cv2.Rodrigues(np.asarray(R, np.float64))[0], np.float64).reshape(3)


def cross_matrix(vector_3: Floats) -> Floats:
    """(3, 3) matrix whose product with x is the cross product of the vector with x."""
    x, y, z = vector_3
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def between(T_ref_a: Floats, T_ref_b: Floats, share: float) -> Floats:
    """The pose at a share of the way from a to b, 0..1: straight line, shortest arc."""
    turn = rotation_vector(T_ref_a[:3, :3].T @ T_ref_b[:3, :3])
    shift = T_ref_b[:3, 3] - T_ref_a[:3, 3]
    return rigid(T_ref_a[:3, :3] @ rotation(share * turn), T_ref_a[:3, 3] + share * shift)


def quaternion_xyzw(R: NDArray[np.floating]) -> tuple[float, float, float, float]:
    """Unit quaternion (x, y, z, w) of a (3, 3) rotation, w >= 0.

    The largest of the four components is computed from the diagonal and divides the others,
    which keeps the precision for every rotation.
    """
    m = np.asarray(R, np.float64)
    squares = np.array(
        [
            1.0 + m[0, 0] - m[1, 1] - m[2, 2],
            1.0 - m[0, 0] + m[1, 1] - m[2, 2],
            1.0 - m[0, 0] - m[1, 1] + m[2, 2],
            1.0 + m[0, 0] + m[1, 1] + m[2, 2],
        ]
    )
    sums = np.array(
        [
            [0.0, m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [m[0, 1] + m[1, 0], 0.0, m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], 0.0, m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], 0.0],
        ]
    )
    largest = int(np.argmax(squares))
    quaternion = sums[largest]
    quaternion[largest] = squares[largest]
    quaternion /= np.linalg.norm(quaternion) * (1.0 if quaternion[3] >= 0 else -1.0)
    x, y, z, w = (float(component) for component in quaternion)
    return x, y, z, w


class StampedPoses:
    """A moving frame: the poses of the last seconds, in the order of their stamps.

    What cannot be true is refused or begins anew, and is counted: `refused` holds the number by
    cause. "order": a stamp that is not later than the newest one; "value": no rigid transform.
    These are refused. "loop": stamps that went back by more than a second, as in a bag that starts
    again; "leap": a motion faster than anything that drives. These forget what was before, so that
    nothing is interpolated across them. Safe between threads.

    Args:
        keep_s: Poses older than the newest by more than this are forgotten.
        max_gap_s: Two poses further apart are not interpolated.
        max_speed, max_turn: m/s and rad/s of the fastest motion that is believed.
    """

    ORDER, VALUE, LOOP, LEAP = "order", "value", "loop", "leap"
    _BACK_NS = _NS
    _SLACK_M, _SLACK_RAD = 0.3, 0.3  # of a step of whatever time: a filter's correction

    def __init__(
        self,
        keep_s: float = 30.0,
        max_gap_s: float = 0.5,
        max_speed: float = 40.0,
        max_turn: float = 15.0,
    ) -> None:
        self._keep_ns, self._gap_ns = int(keep_s * _NS), int(max_gap_s * _NS)
        self._max_speed, self._max_turn = max_speed, max_turn
        self._lock = threading.Lock()
        self._stamps: list[int] = []
        self._poses: list[Floats] = []
        self.refused = dict.fromkeys((self.ORDER, self.VALUE, self.LOOP, self.LEAP), 0)

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def newest(self) -> tuple[int, Floats] | None:
        """Stamp and pose of the newest; None before the first."""
        with self._lock:
            return (self._stamps[-1], self._poses[-1]) if self._stamps else None

    def add(self, stamp_ns: int, T_ref_frame: Floats) -> str:
        """Take a pose over.

        Args:
            stamp_ns: When.
            T_ref_frame: (4, 4), metres.

        Returns:
            "" where it goes on from the one before, else the cause; see the class.
        """
        with self._lock:
            cause = self._judge(stamp_ns, T_ref_frame)
            if cause:
                self.refused[cause] += 1
            if cause in (self.ORDER, self.VALUE):
                return cause
            if cause:
                self._stamps, self._poses = [], []
            self._stamps.append(stamp_ns)
            self._poses.append(T_ref_frame)
            gone = bisect_left(self._stamps, stamp_ns - self._keep_ns)
            if gone > len(self._stamps) // 4:  # not one by one: a list moves all behind it
                del self._stamps[:gone], self._poses[:gone]
        return cause

    def at(self, stamp_ns: int) -> Floats | None:
        """(4, 4) pose at a stamp; None before the oldest, after the newest and within a gap."""
        with self._lock:
            after = bisect_left(self._stamps, stamp_ns)
            if after == len(self._stamps):
                return None
            if self._stamps[after] == stamp_ns:
                return self._poses[after]
            if after == 0:
                return None
            start, end = self._stamps[after - 1 : after + 1]
            T_a, T_b = self._poses[after - 1 : after + 1]
        if end - start > self._gap_ns:
            return None
        return between(T_a, T_b, (stamp_ns - start) / (end - start))

    def _judge(self, stamp_ns: int, T: Floats) -> str:
        if T.shape != (4, 4) or not np.isfinite(T).all():
            return self.VALUE
        off = np.abs(T[:3, :3] @ T[:3, :3].T - np.eye(3)).max()
        if off > 1e-3 or np.linalg.det(T[:3, :3]) < 0:
            return self.VALUE
        if not self._stamps:
            return ""
        step_ns = stamp_ns - self._stamps[-1]
        if step_ns < -self._BACK_NS:
            return self.LOOP
        if step_ns <= 0:
            return self.ORDER
        before, seconds = self._poses[-1], step_ns / _NS
        shift = float(np.linalg.norm(T[:3, 3] - before[:3, 3]))
        turn = float(np.linalg.norm(rotation_vector(before[:3, :3].T @ T[:3, :3])))
        if shift > self._SLACK_M + self._max_speed * seconds:
            return self.LEAP
        if turn > self._SLACK_RAD + self._max_turn * seconds:
            return self.LEAP
        return ""
