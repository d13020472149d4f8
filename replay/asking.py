"""Asks the questions of the file at their pictures and keeps the answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time

from g2vlm_interfaces.msg import PixelMark
from g2vlm_interfaces.srv import SpatialQuery
from g2vlm_map.recordings.source import split_stamp
from g2vlm_model.interface import AnswerStatus, CrossCheck

from .link import NodeLink
from .questions import Question
from .recorder import Timeline


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
        measured_value: the same read off the geometry, or None.
        queue_ms, prefill_ms, decode_ms: the node's times.
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
    measured_value: float | None = None
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    total_ms: float = 0.0
    points: tuple[tuple[float, float, float], ...] = ()
    labels: tuple[str, ...] = ()


class Asker:
    """Sends each question once the scene of its picture, or the first after it, is there.

    Args:
        questions: of the file.
        stamps_ns: stamps of the pictures.
        link: the way to the node.
        timeline: which scenes there are.
        timeout_s: of one question; 0 leaves it to the node.
    """

    def __init__(
        self,
        questions: list[Question],
        stamps_ns: tuple[int, ...],
        link: NodeLink,
        timeline: Timeline,
        timeout_s: float,
    ) -> None:
        self._stamps_ns = stamps_ns
        self._link = link
        self._timeline = timeline
        self._timeout_s = timeout_s
        self._order = questions
        self._open = list(questions)
        self._sent: list[tuple[Question, int, float, Future[Any], list[float]]] = []

    def ask_due(self, *, at_end: bool = False, at_most: int | None = None) -> int:
        """Send what is due; at the end also what waits for the last scene.

        Args:
            at_end: no further picture will come.
            at_most: send no more than this many; None sends all.

        Returns:
            How many were sent.
        """
        scenes = sorted(self._timeline.scene_s)
        still_open: list[Question] = []
        sent = 0
        for question in self._open:
            full = at_most is not None and sent >= at_most
            scene_ns = None if full else self._scene_for(question, scenes, at_end)
            if scene_ns is None:
                still_open.append(question)
            else:
                self._send(question, scene_ns)
                sent += 1
        self._open = still_open
        return sent

    def wait(self, check: Callable[[], None], timeout_s: float) -> None:
        """Wait for the replies to what was sent; `check` raises where the node has died."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and any(not item[3].done() for item in self._sent):
            check()
            time.sleep(0.01)

    def answers(self) -> list[Answer]:
        """All questions in the order of the file, each with what became of it."""
        by_question = {id(item[0]): item for item in self._sent}
        found = []
        for question in self._order:
            item = by_question.get(id(question))
            if item is None:
                words = "no scene was published at or after its picture"
                found.append(Answer(question, 0, "NOT_ASKED", words))
            else:
                found.append(_answer(*item))
        return found

    def _scene_for(self, question: Question, scenes: list[int], at_end: bool) -> int | None:
        if not scenes:
            return None
        if question.picture is None:
            return scenes[-1] if at_end else None
        wanted = self._stamps_ns[question.picture]
        return next((stamp for stamp in scenes if stamp >= wanted), None)

    def _send(self, question: Question, scene_ns: int) -> None:
        picture_ns = scene_ns if question.picture is None else self._stamps_ns[question.picture]
        request = SpatialQuery.Request()
        request.question = question.text
        request.marks = [
            PixelMark(camera="", stamp=_time(picture_ns), u=mark.u, v=mark.v, label=mark.label)
            for mark in question.marks
        ]
        request.stamp = _time(scene_ns)
        request.timeout_s = float(self._timeout_s)
        request.max_tokens = question.max_tokens
        started = time.monotonic()
        took_ms: list[float] = []
        future = self._link.ask(request)
        future.add_done_callback(lambda _: took_ms.append((time.monotonic() - started) * 1e3))
        self._sent.append((question, scene_ns, started, future, took_ms))


def _answer(
    question: Question, scene_ns: int, started: float, future: Future[Any], took_ms: list[float]
) -> Answer:
    if not future.done():
        waited = time.monotonic() - started
        return Answer(question, scene_ns, "NO_REPLY", f"no reply within {waited:.0f} s")
    reply = future.result()
    status = AnswerStatus(reply.status)
    measured = float(reply.measured_value)
    return Answer(
        question=question,
        scene_ns=scene_ns,
        status=status.name,
        message=reply.message,
        text=reply.text,
        value=float(reply.value) if reply.has_value else None,
        unit=reply.unit,
        is_metric=reply.is_metric,
        confidence=float(reply.confidence),
        cross_check=CrossCheck(reply.cross_check).name,
        measured_value=None if math.isnan(measured) else measured,
        queue_ms=reply.queue_ms,
        prefill_ms=reply.prefill_ms,
        decode_ms=reply.decode_ms,
        total_ms=took_ms[0] if took_ms else 0.0,
        points=tuple((point.x, point.y, point.z) for point in reply.points),
        labels=tuple(reply.labels),
    )


def _time(stamp_ns: int) -> Any:
    seconds, nanoseconds = split_stamp(stamp_ns)
    return Time(sec=seconds, nanosec=nanoseconds)
