# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whether passes and answers are quick enough for the time of questions: RUNTIME_SLOW where not.

A question waits for the pass that runs when it comes, and each token of its answer takes a step. It
is said before the first window, from what the runtime has tried (`RuntimeInfo.trial_s` and
`token_s`), and from each pass on.
"""

from __future__ import annotations

from g2vlm_model.interface import TRIAL_HW, RuntimeInfo

from .answers.options import QuestionOptions
from .status import StatusBoard

__all__ = ["Pace"]

_SHARE = 3 / 4 * TRIAL_HW[1] / TRIAL_HW[0]  # patches of a picture of 4:3 by those of the tried one


class Pace:
    """What a pass and an answer take, held against the time of a question.

    Args:
        board: Holds the condition.
        info: What the runtime has tried.
        frames: Of a whole window. The time is taken as linear in them; attention makes it more.
    """

    def __init__(self, board: StatusBoard, info: RuntimeInfo, frames: int) -> None:
        self._board = board
        self._seconds, self._token_s = info.trial_s * _SHARE * frames, info.token_s
        self._what = f"a pass over {frames} frames of 4:3 will take about"

    def took(self, seconds: float, info: RuntimeInfo, query: QuestionOptions) -> None:
        """A pass is over.

        Args:
            seconds: That it took.
            info: Of the runtime, which may be another one by now.
            query: As `hold_against`.
        """
        self._seconds, self._what = seconds, "the last pass took"
        self._token_s = info.token_s
        self.hold_against(query)

    def hold_against(self, query: QuestionOptions) -> None:
        """Set or clear RUNTIME_SLOW.

        Args:
            query: Time, waiting included, and tokens of a question that names none.
        """
        said = [text for text in (self._of_passes(query), self._of_answers(query)) if text]
        self._board.condition("RUNTIME_SLOW", bool(said), "; ".join(said))

    def _of_passes(self, query: QuestionOptions) -> str:
        if self._seconds <= query.timeout_s:
            return ""
        return (
            f"{self._what} {self._seconds:.3g} s, and query.timeout_s is {query.timeout_s:g} s: a "
            "question that comes meanwhile may have no time left; raise it, lower window.size, or "
            "choose a faster device or precision"
        )

    def _of_answers(self, query: QuestionOptions) -> str:
        """Of the words alone: reading the question and its pictures comes on top."""
        seconds = query.max_tokens * self._token_s
        if seconds <= query.timeout_s:
            return ""
        return (
            f"an answer of query.max_tokens = {query.max_tokens} will take {seconds:.3g} s and "
            f"more ({self._token_s:.3g} s a token), and query.timeout_s is {query.timeout_s:g} s: "
            f"it will end within {int(query.timeout_s / self._token_s)} tokens; raise it, lower "
            "query.max_tokens, or choose a faster device or precision"
        )
