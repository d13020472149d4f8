# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The tour of a drive, round after round without a jump.

A tour ends on its own first leg. So the next round begins where the first one passed that place;
the odometry goes on from where it was, the stamps too.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..drives import NS, START_NS, Drive, DriveFrame
from ..messages import MessageMaker
from ..motion import TICK_S
from ..stream import Due, RobotMessages, Streams

__all__ = ["RoundFrame", "Rounds"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Round:
    """One round: what of the drive is repeated, and by how much it comes later."""

    first_ns: int
    shift_ns: int


@dataclass(frozen=True, eq=False)
class RoundFrame:
    """A moment of the camera in a round.

    Args:
        frame: With the drive's own stamp.
        number: Running on over all rounds.
        shift_ns: By how much it is later than its stamp.
    """

    frame: DriveFrame
    number: int
    shift_ns: int


class Rounds:
    """The streams of a robot that does its tour again and again.

    Args:
        drive: The tour.
        streams: What is sent.
        loop: Whether there is a second round.
        alone: Render pictures that are not kept one by one, and leave out those that are past.
    """

    def __init__(self, drive: Drive, streams: Streams, loop: bool, alone: bool) -> None:
        self._drive, self._streams, self._loop = drive, streams, loop
        self._alone, self._start_ns = alone, 0
        self._maker: MessageMaker | None = None
        pose = drive.motion.pose_M3
        early = pose[: len(pose) // 2]
        apart = np.linalg.norm(early[:, :2] - pose[-1, :2], axis=1)
        apart += 0.3 * (1.0 - np.cos(early[:, 2] - pose[-1, 2]))
        tick_ns = round(TICK_S * NS)
        self._again_ns = START_NS + int(np.argmin(apart)) * tick_ns
        self._end_ns = START_NS + (len(pose) - 1) * tick_ns

    def use(self, maker: MessageMaker, start_ns: int) -> None:
        """Begin: who makes messages, and the monotonic clock at the start of the first round."""
        self._maker, self._start_ns = maker, start_ns

    def frames(self) -> Iterator[RoundFrame]:
        """The moments of the camera; these may be made ahead of time."""
        number = itertools.count()
        for turn in self._rounds():
            first = int(np.searchsorted(self._drive.stamp_N, turn.first_ns))
            for index in range(first, len(self._drive.stamp_N)):
                running = next(number)
                due_ns = int(self._drive.stamp_N[index]) + turn.shift_ns - START_NS
                past = time.monotonic_ns() > self._start_ns + due_ns
                if past and self._alone and self._start_ns:
                    continue
                frame = self._drive.frame(index, alone=self._alone)
                yield RoundFrame(frame, running, turn.shift_ns)

    def static(self) -> Due:
        """/tf_static."""
        return self._made(0).static()

    def pictures(self, frames: Iterator[RoundFrame]) -> Iterator[list[Due]]:
        """The messages of each moment of the camera."""
        for item in frames:
            made = self._made(item.shift_ns)
            yield _later(made.frame(item.frame, item.number), item.shift_ns)

    def ranges(self) -> Iterator[list[Due]]:
        """The messages of each scan."""
        scans = self._drive.scans
        for turn in self._rounds():
            made = self._made(turn.shift_ns)
            for stamp, ranges in zip(scans.stamp_S.tolist(), scans.range_SA, strict=True):
                if stamp >= turn.first_ns:
                    yield _later(made.scan(stamp, ranges), turn.shift_ns)

    def wheels(self) -> Iterator[list[Due]]:
        """The messages of each odometry sample."""
        samples = self._drive.odometry
        truth = self._drive.T_world_base(samples.stamp_M)
        T_odom_round: Floats = np.eye(4)
        for turn in self._rounds():
            made = self._made(turn.shift_ns)
            first = int(np.searchsorted(samples.stamp_M, turn.first_ns))
            if turn.shift_ns:
                T_odom_round = T_odom_round @ np.linalg.inv(samples.T_odom_base_M44[first])
            for index in range(first, len(samples.stamp_M)):
                T = T_odom_round @ samples.T_odom_base_M44[index]
                stamp, twist = int(samples.stamp_M[index]), samples.twist_M2[index]
                yield _later(made.odometry(stamp, T, twist, truth[index]), turn.shift_ns)
            T_odom_round = T_odom_round @ samples.T_odom_base_M44[-1]

    def _rounds(self) -> Iterator[_Round]:
        yield _Round(START_NS, 0)
        for number in itertools.count(1) if self._loop else ():
            yield _Round(self._again_ns, number * (self._end_ns - self._again_ns))

    def _made(self, shift_ns: int) -> RobotMessages:
        assert self._maker is not None, "use() comes first"
        maker = replace(self._maker, offset_ns=self._maker.offset_ns + shift_ns)
        return RobotMessages(self._drive, maker, self._streams)


def _later(sent: list[Due], shift_ns: int) -> list[Due]:
    return [replace(due, time_ns=due.time_ns + shift_ns) for due in sent]
