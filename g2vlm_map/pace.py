# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whether passes are quick enough for the time that questions have: RUNTIME_SLOW where not.

A question waits for the pass that runs when it comes. It is said before the first window, from the
pass that the runtime has tried (`RuntimeInfo.trial_s`), and from each pass on.
"""

from __future__ import annotations

from g2vlm_model.interface import TRIAL_HW

from .status import StatusBoard

__all__ = ["Pace"]

_SHARE = 3 / 4 * TRIAL_HW[1] / TRIAL_HW[0]  # patches of a picture of 4:3 by those of the tried one


class Pace:
    """What a pass takes, held against a limit.

    Args:
        board: Holds the condition.
        trial_s: Of one picture of `TRIAL_HW`; 0 where nobody has tried.
        frames: Of a whole window. The time is taken as linear in them; attention makes it more.
    """

    def __init__(self, board: StatusBoard, trial_s: float, frames: int) -> None:
        self._board = board
        self._seconds = trial_s * _SHARE * frames
        self._what = f"a pass over {frames} frames of 4:3 will take about"

    def took(self, seconds: float, limit_s: float) -> None:
        """A pass is over.

        Args:
            seconds: That it took.
            limit_s: As `hold_against`.
        """
        self._seconds, self._what = seconds, "the last pass took"
        self.hold_against(limit_s)

    def hold_against(self, limit_s: float) -> None:
        """Set or clear RUNTIME_SLOW.

        Args:
            limit_s: Of a question that names none, waiting included (query.timeout_s).
        """
        self._board.condition(
            "RUNTIME_SLOW",
            self._seconds > limit_s,
            f"{self._what} {self._seconds:.3g} s, and query.timeout_s is {limit_s:g} s: a question "
            "that comes meanwhile may have no time left; raise it, lower window.size, or choose a "
            "faster device or precision",
        )
