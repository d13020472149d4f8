"""Questions: admission, waiting, deadlines, cancelling. One thread asks the model.

Every question is answered exactly once, with a status, whatever happens: turned away at once
when it is malformed or all places are taken, TIMEOUT when its time is over, CANCELLED when
the node is reset or deactivated. Geometry goes first: the runtime lets a window in between
two tokens of an answer. No rclpy.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from g2vlm_map.answers.crosscheck import check_answer
from g2vlm_map.scenes import SceneRecord, SceneStore, SceneUnknownError
from g2vlm_model.interface import (
    AnswerStatus,
    PixelMark,
    SpatialAnswer,
    SpatialQuery,
    SpatialRuntime,
)

__all__ = ["MarkRequest", "QueryDesk", "QueryLimits", "QueryReply", "QueryRequest"]

_LOG = logging.getLogger(__name__)

MAX_MARKS = 16
MAX_LABEL_CHARS = 32
MAX_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class MarkRequest:
    """A mark as asked for: camera name ("" is the first), stamp (0 the newest), pixel, label."""

    camera: str
    stamp_ns: int
    u: float
    v: float
    label: str


@dataclass(frozen=True)
class QueryRequest:
    """A question as it came in; see `srv/SpatialQuery`."""

    question: str
    marks: tuple[MarkRequest, ...] = ()
    cameras: tuple[str, ...] = ()
    stamp_ns: int = 0
    timeout_s: float = 0.0
    max_tokens: int = 0


@dataclass(frozen=True)
class QueryReply:
    """An answer and the scene that it is about (None where there was none)."""

    answer: SpatialAnswer
    record: SceneRecord | None
    queue_ms: float


@dataclass(frozen=True)
class QueryLimits:
    """Places and defaults; see the parameters `query.*`."""

    queue: int = 8
    timeout_s: float = 30.0
    max_tokens: int = 64


Respond = Callable[[QueryReply], None]
Event = Callable[[AnswerStatus, str], None]


@dataclass(eq=False)
class _Ticket:
    """A question that was let in."""

    request: QueryRequest
    query: SpatialQuery
    respond: Respond
    arrived: float
    deadline: float
    cancelled: threading.Event = field(default_factory=threading.Event)


class QueryDesk:
    """The only way to the model's answers.

    Args:
        runtime: The loaded model.
        scenes: What questions are about.
        cameras: The names that exist.
        limits: Places and defaults; may be replaced at any time.
        on_status: Called once for every answer with its status and message, from any thread.
    """

    def __init__(
        self,
        runtime: SpatialRuntime,
        scenes: SceneStore,
        cameras: Sequence[str],
        limits: QueryLimits,
        on_status: Event,
    ) -> None:
        self.limits = limits
        self._runtime = runtime
        self._scenes = scenes
        self._cameras = tuple(cameras)
        self._on_status = on_status
        self._wakeup = threading.Condition()
        self._waiting: deque[_Ticket] = deque()
        self._running: _Ticket | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="g2vlm-ask", daemon=True)

    @property
    def waiting(self) -> int:
        """Questions that wait for their turn."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, why: str) -> None:
        """Answer everything that is open with CANCELLED and end the thread."""
        with self._wakeup:
            self._stopping = True
        self.cancel_all(why)
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, request: QueryRequest, respond: Respond) -> None:
        """Let a question in or turn it away; `respond` is called once, here or later.

        Args:
            request: The question.
            respond: Takes the reply, in the caller's or the desk's thread.
        """
        now = time.monotonic()
        try:
            ticket = self._admit(request, respond, now)
        except SceneUnknownError as error:
            status = AnswerStatus.REJECTED if len(self._scenes) else AnswerStatus.NO_SCENE
            self._reply(respond, SpatialAnswer(status, str(error)), None, 0.0)
            return
        except ValueError as error:
            self._reply(respond, SpatialAnswer(AnswerStatus.REJECTED, str(error)), None, 0.0)
            return
        with self._wakeup:
            full, stopping = len(self._waiting) >= self.limits.queue, self._stopping
            if not full and not stopping:
                self._waiting.append(ticket)
                self._wakeup.notify()
                return
        if stopping:
            answer = SpatialAnswer(AnswerStatus.CANCELLED, "the node is being deactivated")
        else:
            answer = SpatialAnswer(
                AnswerStatus.OVERLOADED,
                f"all {self.limits.queue} places are taken (query.queue); ask less often",
            )
        self._reply(respond, answer, None, 0.0)

    def expire(self) -> None:
        """Answer the waiting questions whose time is over; to be called every so often."""
        now = time.monotonic()
        with self._wakeup:
            late = [ticket for ticket in self._waiting if now >= ticket.deadline]
            for ticket in late:
                self._waiting.remove(ticket)
        for ticket in late:
            self._late(ticket)

    def cancel_all(self, why: str) -> None:
        """Answer all waiting questions with CANCELLED and stop the one in work."""
        with self._wakeup:
            open_tickets = list(self._waiting)
            self._waiting.clear()
            if self._running is not None:
                self._running.cancelled.set()
            self._wakeup.notify_all()
        for ticket in open_tickets:
            self._finish(ticket, SpatialAnswer(AnswerStatus.CANCELLED, why), None)

    def _admit(self, request: QueryRequest, respond: Respond, now: float) -> _Ticket:
        """Check all that can be checked before the model is free.

        Raises:
            ValueError: A malformed question.
            SceneUnknownError: Nothing to ask about.
        """
        timeout_s = request.timeout_s or self.limits.timeout_s
        if not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise ValueError(f"timeout_s is {timeout_s:g}, expected 0..{MAX_TIMEOUT_S:g}")
        query = SpatialQuery(
            request.question, max_tokens=request.max_tokens or self.limits.max_tokens
        )
        self._check_names(request)
        record = self._scenes.find(request.stamp_ns)
        self._marks(request, record)
        return _Ticket(request, query, respond, now, now + timeout_s)

    def _check_names(self, request: QueryRequest) -> None:
        unknown = [name for name in request.cameras if name not in self._cameras]
        if unknown:
            raise ValueError(f"cameras names {unknown[:3]!r:.80}, expected some of {self._cameras}")
        if len(request.marks) > MAX_MARKS:
            raise ValueError(f"question has {len(request.marks)} marks, at most {MAX_MARKS}")
        for mark in request.marks:
            if not (math.isfinite(mark.u) and math.isfinite(mark.v)):
                raise ValueError(f"mark is at ({mark.u:g}, {mark.v:g}), expected finite pixels")
            if len(mark.label) > MAX_LABEL_CHARS or not mark.label.isprintable():
                raise ValueError(
                    f"mark's label is {mark.label!r:.60}, expected at most {MAX_LABEL_CHARS} "
                    "printable characters"
                )
            if request.cameras and mark.camera and mark.camera not in request.cameras:
                raise ValueError(f"mark names camera {mark.camera!r:.60}, outside of `cameras`")

    @staticmethod
    def _marks(request: QueryRequest, record: SceneRecord) -> tuple[PixelMark, ...]:
        default = request.cameras[0] if request.cameras else ""
        return tuple(
            record.mark(mark.camera or default, mark.stamp_ns, mark.u, mark.v, mark.label)
            for mark in request.marks
        )

    def _run(self) -> None:
        while True:
            with self._wakeup:
                self._wakeup.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                self._running = ticket = self._waiting.popleft()
            try:
                self._serve(ticket)
            finally:
                with self._wakeup:
                    self._running = None

    def _serve(self, ticket: _Ticket) -> None:
        remaining = ticket.deadline - time.monotonic()
        if remaining <= 0:
            self._late(ticket)
            return
        queue_ms = (time.monotonic() - ticket.arrived) * 1e3
        try:
            with self._scenes.use(ticket.request.stamp_ns) as record:
                query = replace(
                    ticket.query,
                    marks=self._marks(ticket.request, record),
                    max_seconds=remaining,
                )
                said = self._runtime.ask(record.scene, query, cancelled=ticket.cancelled.is_set)
                answer = check_answer(said, record.scene, query)
                self._finish(ticket, record.in_segment_units(answer), record, queue_ms)
                return
        except (ValueError, SceneUnknownError) as error:
            answer = SpatialAnswer(AnswerStatus.REJECTED, str(error))
        except Exception as error:  # a foreign runtime's: one question must not end the node
            answer = SpatialAnswer(AnswerStatus.FAILED, f"{type(error).__name__}: {error}")
        self._finish(ticket, answer, None, queue_ms)

    def _late(self, ticket: _Ticket) -> None:
        waited = time.monotonic() - ticket.arrived
        text = f"waited {waited:.2f} s, the whole time allowed, for its turn"
        self._finish(ticket, SpatialAnswer(AnswerStatus.TIMEOUT, text), None)

    def _finish(
        self,
        ticket: _Ticket,
        answer: SpatialAnswer,
        record: SceneRecord | None,
        queue_ms: float | None = None,
    ) -> None:
        waited_ms = (time.monotonic() - ticket.arrived) * 1e3 if queue_ms is None else queue_ms
        self._reply(ticket.respond, answer, record, waited_ms)

    def _reply(
        self,
        respond: Respond,
        answer: SpatialAnswer,
        record: SceneRecord | None,
        queue_ms: float,
    ) -> None:
        self._on_status(answer.status, answer.message)
        try:
            respond(QueryReply(answer, record, queue_ms))
        except Exception as error:  # a foreign runtime's answer, or nobody to send it to any more
            # Whoever asked gets a word where that is possible; the desk goes on either way.
            text = f"the answer cannot be sent: {type(error).__name__}: {error}"
            _LOG.error("%s", text)
            with suppress(Exception):
                failed = SpatialAnswer(AnswerStatus.FAILED, text)
                respond(QueryReply(failed, record, queue_ms))
