# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Asks the questions of the file at their frames and keeps the answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace

from g2vlm_model.interface import AnswerSource, CrossCheck

from .outcome import Timeline
from .question_file import Question

POLL_S = 0.05


@dataclass(frozen=True)
class Answer:
    """What came back for one question.

    Args:
        question: as asked.
        scene_ns: stamp of the scene that it was asked about.
        status: name of the AnswerStatus, or "NOT_ASKED" / "NO_REPLY".
        message: why, where it is not OK.
        text, value, unit: the answer; value None where there is none.
        is_metric: whether the unit is metric by a scale source.
        confidence: 0..1.
        cross_check: name of the CrossCheck.
        text_value, measured_value, measured_sigma: the number in the text, the same read off the
            geometry and its standard deviation, in `unit`, or None.
        kind, source: of the question as it was understood; whose reading the answer is.
        reply: the answer in words, which need not be the model's (`text`).
        queue_ms, prefill_ms, decode_ms: the pipeline's times.
        total_ms: from sending to receipt.
        points: places that the answer is about, camera axes.
        labels: a name for each.
    """

    question: Question
    scene_ns: int
    status: str
    message: str = ""
    text: str = ""
    value: float | None = None
    unit: str = ""
    is_metric: bool = False
    confidence: float = 0.0
    cross_check: str = CrossCheck.NOT_CHECKABLE.name
    text_value: float | None = None
    measured_value: float | None = None
    measured_sigma: float | None = None
    kind: str = ""
    source: str = AnswerSource.NONE.name
    reply: str = ""
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    total_ms: float = 0.0
    points: tuple[tuple[float, float, float], ...] = ()
    labels: tuple[str, ...] = ()


Ask = Callable[[Question, int, int], "Future[Answer]"]


@dataclass
class _Sent:
    """A question on its way."""

    scene_ns: int
    started_s: float
    reply: Future[Answer]
    total_ms: float = 0.0

    def arrived(self, _: Future[Answer]) -> None:
        """Note the time of the reply."""
        self.total_ms = (time.monotonic() - self.started_s) * 1e3


class Asker:
    """Sends each question once the scene of its frame, or the first after it, is there.

    Args:
        questions: of the file.
        stamps_ns: stamps of the frames.
        ask: sends a question, given with the stamp of the frame that its marks are pixels of and
            the stamp of the scene that it is about.
        timeline: which scenes there are.
    """

    def __init__(
        self, questions: list[Question], stamps_ns: tuple[int, ...], ask: Ask, timeline: Timeline
    ) -> None:
        self._stamps_ns = stamps_ns
        self._ask = ask
        self._timeline = timeline
        self._questions = questions
        self._open = list(range(len(questions)))
        self._sent: dict[int, _Sent] = {}

    def ask_due(self, *, at_end: bool = False, at_most: int | None = None) -> int:
        """Send what is due; at the end also what waits for the last scene.

        Args:
            at_end: no further frame will come.
            at_most: send no more than this many; None sends all.

        Returns:
            How many were sent.
        """
        scenes = sorted(self._timeline.scene_s)
        still_open: list[int] = []
        sent = 0
        for number in self._open:
            full = at_most is not None and sent >= at_most
            scene_ns = None if full else self._scene_for(self._questions[number], scenes, at_end)
            if scene_ns is None:
                still_open.append(number)
            else:
                self._send(number, scene_ns)
                sent += 1
        self._open = still_open
        return sent

    def wait(
        self, check: Callable[[], object], timeout_s: float, is_at_work: Callable[[], bool]
    ) -> None:
        """Wait for the replies to what was sent.

        Args:
            check: raises where the run has died.
            timeout_s: how long to wait while nothing is at work.
            is_at_work: whether a pass or an answer is.
        """
        idle_since = time.monotonic()
        replies = {item.reply for item in self._sent.values()}
        while time.monotonic() - idle_since < timeout_s and wait(replies, POLL_S).not_done:
            check()
            if is_at_work():
                idle_since = time.monotonic()

    def answers(self) -> list[Answer]:
        """All questions in the order of the file, each with what became of it."""
        return [self._answer(number) for number in range(len(self._questions))]

    def _scene_for(self, question: Question, scenes: list[int], at_end: bool) -> int | None:
        if not scenes:
            return None
        if question.frame is None:
            return scenes[-1] if at_end else None
        wanted = self._stamps_ns[question.frame]
        return next((stamp for stamp in scenes if stamp >= wanted), None)

    def _send(self, number: int, scene_ns: int) -> None:
        question = self._questions[number]
        frame_ns = scene_ns if question.frame is None else self._stamps_ns[question.frame]
        started_s = time.monotonic()
        sent = _Sent(scene_ns, started_s, self._ask(question, frame_ns, scene_ns))
        sent.reply.add_done_callback(sent.arrived)
        self._sent[number] = sent

    def _answer(self, number: int) -> Answer:
        question, sent = self._questions[number], self._sent.get(number)
        if sent is None:
            words = "no scene was published at or after its frame"
            return Answer(question, 0, "NOT_ASKED", words)
        if not sent.reply.done():
            waited_s = time.monotonic() - sent.started_s
            return Answer(question, sent.scene_ns, "NO_REPLY", f"no reply within {waited_s:.0f} s")
        return replace(sent.reply.result(), total_ms=sent.total_ms)
