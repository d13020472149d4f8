# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where the base was at any time, as its odometry says, and when that cannot be believed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ..poses import Floats, StampedPoses
from ..sensing import OdometrySample

__all__ = ["NotYetError", "OdometryHistory", "Stand"]

_NS = 1_000_000_000
_MAX_ACCELERATION = 20.0  # m/s^2
_SLACK_M = 0.05  # beyond what speed and acceleration allow
_RECENT = 10  # steps whose speed is the speed of now

_TOLD = {
    StampedPoses.VALUE: "odometry is no rigid pose, or holds numbers that are not finite: left out",
    StampedPoses.LOOP: "odometry's stamps went back: it starts anew",
    StampedPoses.LEAP: "odometry leaps further than anything drives: no length is taken across it",
}


class NotYetError(LookupError):
    """The samples around a stamp have not arrived yet."""


@dataclass(frozen=True, eq=False)
class Stand:
    """Where the base was.

    Args:
        T_odom_base: (4, 4), metres.
        epoch: Poses of different epochs have nothing to do with each other: odometry leapt, was
            reset, or its clock was, between them.
        sigma_share: Standard deviation of lengths as a share of them, as told; 0: not told.
    """

    T_odom_base: Floats
    epoch: int
    sigma_share: float


class OdometryHistory:
    """The newest samples since the last leap. Not locked: its owner is.

    `StampedPoses` refuses what nothing does; lengths are worth a closer look: a step that is far
    beyond the speed of the steps before it and a hard acceleration is a reset.
    """

    def __init__(self) -> None:
        self._poses = StampedPoses()
        self._speeds: deque[float] = deque(maxlen=_RECENT)
        self._epoch = 0
        self._sigma_share = 0.0

    def add(self, sample: OdometrySample) -> str:
        """Take a sample in; what is wrong with it, "" where nothing is."""
        newest = self._poses.newest
        T = np.asarray(sample.T_odom_base, np.float64)
        told = "" if newest is None else self._reset(newest, sample.stamp_ns, T)
        if told:
            self._begin_anew()
            newest = None
        cause = self._poses.add(sample.stamp_ns, T)
        if cause in (StampedPoses.LOOP, StampedPoses.LEAP):
            self._epoch += 1
            self._speeds.clear()
        elif not cause and newest is not None:
            seconds = (sample.stamp_ns - newest[0]) / _NS
            self._speeds.append(float(np.linalg.norm(T[:3, 3] - newest[1][:3, 3])) / seconds)
        self._sigma_share = sample.sigma_share
        return told or _TOLD.get(cause, "")

    def at(self, stamp_ns: int) -> Stand | None:
        """Where the base was, interpolated; None where the samples do not say.

        Raises:
            NotYetError: All samples are older.
        """
        newest = self._poses.newest
        if newest is None or stamp_ns > newest[0]:
            raise NotYetError
        T_odom_base = self._poses.at(stamp_ns)
        return None if T_odom_base is None else Stand(T_odom_base, self._epoch, self._sigma_share)

    def _begin_anew(self) -> None:
        self._poses = StampedPoses()
        self._speeds.clear()
        self._epoch += 1

    def _reset(self, newest: tuple[int, Floats], stamp_ns: int, T: Floats) -> str:
        """Why a step is none that was driven; "" where it may be, or nobody knows the speed."""
        seconds = (stamp_ns - newest[0]) / _NS
        if not self._speeds or seconds <= 0 or T.shape != (4, 4):
            return ""
        way = float(np.linalg.norm(T[:3, 3] - newest[1][:3, 3]))
        allowed = 2 * max(self._speeds) * seconds + 0.5 * _MAX_ACCELERATION * seconds**2 + _SLACK_M
        if not way > allowed:
            return ""
        return (
            f"odometry leaps by {way:.2f} m in {seconds:.3f} s, where at most {allowed:.2f} m are "
            "driven: no length is taken across it"
        )
