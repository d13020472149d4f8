# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions: admission, waiting, deadlines, cancelling. One thread asks the model.

Every question is answered exactly once, with a status, whatever happens: turned away at once
when it is malformed, not understood or all places are taken, TIMEOUT when its time is over or it
cannot be answered in it, CANCELLED when the asker, a reset or a stop says so. The earliest deadline
is served first (`question_line.py`). A question keeps the scene that was the newest
when it was asked, also while newer ones come. Geometry goes first: the runtime lets a window in
between two tokens of an answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from g2vlm_model.interface import (
    AnswerStatus,
    SpatialAnswer,
    SpatialQuery,
    SpatialRuntime,
)

from .answers.asked import Mark, Question, Recalled, Reply, Respond, Scope
from .answers.deciding import decided, said_nothing
from .answers.grammar import understand
from .answers.intent import Intent, Kind
from .answers.recall import answered, is_of_poses, recall
from .answers.reliability import KnownReliability
from .answers.support import darkness, missing
from .answers.units import in_asked_unit
from .around import Around, told_of_map
from .live_marks import LivePictures
from .looking_back import LookingBack, told
from .marking import check_asked, placed
from .options import PipelineOptions, StatusOptions
from .question_line import Cancel, QuestionLine, Stage, Ticket, Watch
from .scale.estimate import ScaleEstimate
from .scenes import SceneRecord, ScenesInUseError, SceneStore, SceneUnknownError
from .status import StatusBoard
from .world import World

__all__ = ["Mark", "Question", "QuestionDesk", "Reply", "Respond", "Scope"]

_LOG = logging.getLogger(__name__)

MAX_TIMEOUT_S = 3600.0


class QuestionDesk:
    """The only way to the model's answers.

    Args:
        runtime: The loaded model.
        scenes: What questions are about.
        options: May be replaced at any time; the names of the cameras stay.
        on_reply: Called once for every answer, from any thread, before the asker hears of it.
        world: The map, asked for once when an answer is there: scale, poses and what stands
            around are of one state of it.
        board: Told of errors that nobody foresaw.
        live: Pictures that marks may be on beside those of scenes.
    """

    def __init__(
        self,
        runtime: SpatialRuntime,
        scenes: SceneStore,
        options: PipelineOptions,
        on_reply: Respond,
        world: Callable[[], World] = World,
        board: StatusBoard | None = None,
        live: LivePictures | None = None,
    ) -> None:
        self.options = options
        self._live = live or LivePictures()
        self._world = world
        self._around = Around(lambda: self.options)
        self._back = LookingBack(runtime)
        self._board = board or StatusBoard(StatusOptions())
        self._runtime = runtime
        self._scenes = scenes
        self._on_reply = on_reply
        self._wakeup = threading.Condition()
        self._line = QuestionLine(lambda: self.options.query.queue)
        self._running: Ticket | None = None
        self._began = 0.0  # monotonic time at which it was taken up
        self._reliability = KnownReliability()
        self._stopped = ""  # why nothing is answered at present
        self._thread: threading.Thread | None = None
        self.stop("the pipeline has not been started", 0.0)

    @property
    def waiting(self) -> int:
        """Questions that wait for their turn."""
        return len(self._line)

    def start(self) -> None:
        """Start the thread; where the one before still waits for the model, it goes first."""
        with self._wakeup:
            self._stopped = ""
        self._thread = threading.Thread(
            target=self._run, args=(self._thread,), name="g2vlm-ask", daemon=True
        )
        self._thread.start()

    def stop(self, why: str, timeout_s: float) -> None:
        """Answer everything that is open with CANCELLED and end the thread.

        Args:
            why: For the answers, also of questions that come later.
            timeout_s: How long to wait for the model, which looks at the cancellation between
                two tokens.
        """
        with self._wakeup:
            self._stopped = why
        self.cancel_all(why)
        if self._thread is not None:
            self._thread.join(timeout_s)

    def ended(self, timeout_s: float | None) -> bool:
        """Whether the model is asked no more; waits for that, without a limit where None."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def submit(self, question: Question, respond: Respond, watch: Watch | None = None) -> Cancel:
        """Take a question; its answer comes to `respond`, at once or later.

        Args:
            question: Nothing about it is checked yet.
            respond: Called exactly once, from the caller's or the desk's thread.
            watch: Told how it stands meanwhile, from any thread; holds that up.

        Returns:
            What cancels it: the answer is CANCELLED, at once where it waits, else when the model
            has made one more step; nothing happens where it was answered already.
        """
        now = time.monotonic()
        try:
            if self._stopped:
                raise _TurnedAwayError(AnswerStatus.CANCELLED, self._stopped)
            ticket = self._admit(question, respond, now)
        except _TurnedAwayError as error:
            self._reply(respond, Reply(SpatialAnswer(error.status, str(error)), None, 0.0))
            return lambda: None
        ticket.watch = watch
        with self._wakeup:
            stopped = str(self._stopped)
            gone = [(ticket, SpatialAnswer(AnswerStatus.CANCELLED, stopped))]
            if not stopped:
                gone = [*self._line.put(ticket), *self._hopeless(now)]
                self._wakeup.notify()
        self._finish_all(gone)
        return partial(self._cancel, ticket)

    def expire(self) -> None:
        """Answer the questions that cannot be answered in time; to be called every so often."""
        with self._wakeup:
            gone = self._hopeless(time.monotonic())
        self._finish_all(gone)

    def cancel_all(self, why: str) -> None:
        """Answer all waiting questions with CANCELLED and stop the one in work."""
        answer = SpatialAnswer(AnswerStatus.CANCELLED, why)
        with self._wakeup:
            gone = [(ticket, answer) for ticket in self._line.clear()]
            if self._running is not None:
                self._running.cancel(why)
            self._wakeup.notify_all()
        self._finish_all(gone)

    def _cancel(self, ticket: Ticket) -> None:
        why = "the asker cancelled the question"
        with self._wakeup:
            waited = self._line.remove(ticket)
            ticket.cancel(why)
        if waited:
            self._finish_all([(ticket, SpatialAnswer(AnswerStatus.CANCELLED, why))])

    def _hopeless(self, now: float) -> list[tuple[Ticket, SpatialAnswer]]:
        running_s = now - self._began
        return self._line.hopeless(now, self._running, running_s)

    def _finish_all(self, gone: Sequence[tuple[Ticket, SpatialAnswer]]) -> None:
        """Answer those that left the line, and let the others know where they stand now."""
        for ticket, answer in gone:
            self._finish(ticket, answer)
        for position, ticket in enumerate(self._line, 1):
            ticket.tell(Stage.QUEUED, position=position)

    def _admit(self, question: Question, respond: Respond, now: float) -> Ticket:
        """Check all that can be checked before the model is free; the scene is held from now on.

        Raises:
            _TurnedAwayError: A malformed question, one that cannot be answered, nothing to ask
                about, or too much to hold.
        """
        timeout_s = question.timeout_s or self.options.query.timeout_s
        try:
            if not 0 < timeout_s <= MAX_TIMEOUT_S:
                raise ValueError(f"timeout_s is {timeout_s:g}, expected 0..{MAX_TIMEOUT_S:g}")
            max_tokens = question.max_tokens or self.options.query.max_tokens
            reason = question.reason or self.options.query.reason
            query = SpatialQuery(question.text, max_tokens=max_tokens, reason=reason)
            check_asked(question, self.options.cameras)
            intent = _of_map(question)
            if intent is not None:
                return Ticket(query, intent, None, respond, now, now + timeout_s, Scope.MAP)
            record = self._scenes.hold(question.stamp_ns)
        except SceneUnknownError as error:
            known = len(self._scenes) > 0
            status = AnswerStatus.REJECTED if known else AnswerStatus.NO_SCENE
            raise _TurnedAwayError(status, str(error)) from error
        except ScenesInUseError as error:
            raise _TurnedAwayError(AnswerStatus.OVERLOADED, str(error)) from error
        except ValueError as error:
            raise _TurnedAwayError(AnswerStatus.REJECTED, str(error)) from error
        try:
            query = replace(query, marks=placed(question, record, self._live))
            intent = self._understand(query, record)
        except ValueError as error:
            self._scenes.release(record)
            raise _TurnedAwayError(AnswerStatus.REJECTED, str(error)) from error
        except _TurnedAwayError:
            self._scenes.release(record)
            raise
        return Ticket(query, intent, record, respond, now, now + timeout_s, question.scope)

    def _understand(self, query: SpatialQuery, record: SceneRecord) -> Intent:
        """What is asked, where everything is there that it needs.

        Raises:
            _TurnedAwayError: UNSUPPORTED, with what would help.
        """
        labels = [mark.label for mark in query.marks]
        intent = understand(query.question, labels)
        if intent.kind is Kind.UNKNOWN and self.options.query.free_text:
            return intent
        lack = missing(intent, labels, len(record.frames)) or darkness(record.window)
        if lack:
            raise _TurnedAwayError(AnswerStatus.UNSUPPORTED, lack)
        return intent

    def _run(self, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        while True:
            with self._wakeup:
                self._wakeup.wait_for(lambda: len(self._line) or self._is_over())
                if self._is_over():
                    return
                self._running, self._began = ticket, _ = self._line.take(), time.monotonic()
            self._finish_all(())
            try:
                with self._board.guard("questions", "answering one"):
                    self._serve(ticket)
            finally:
                with self._wakeup:
                    self._running = None

    def _is_over(self) -> bool:
        return bool(self._stopped) or self._thread is not threading.current_thread()

    def _serve(self, ticket: Ticket) -> None:
        waited_s = time.monotonic() - ticket.arrived
        remaining_s = ticket.deadline - time.monotonic()
        if remaining_s <= 0:
            text = f"waited {waited_s:.2f} s, the whole time allowed, for its turn"
            self._finish(ticket, SpatialAnswer(AnswerStatus.TIMEOUT, text))
            return
        recalled = None
        try:
            if ticket.record is None:
                answer, recalled = self._of_map(ticket)
            else:
                answer, recalled = self._of_scene(ticket, ticket.record, remaining_s)
            answer = in_asked_unit(answer, ticket.query.question)
        except ValueError as error:
            answer = SpatialAnswer(AnswerStatus.REJECTED, str(error))
        except BaseException as error:  # a foreign runtime's, exits and panics too: go on
            answer = SpatialAnswer(AnswerStatus.FAILED, f"{type(error).__name__}: {error}")
        if ticket.cancelled.is_set():
            answer = SpatialAnswer(AnswerStatus.CANCELLED, ticket.why, text=answer.text)
        self._finish(ticket, answer, waited_s * 1e3, recalled)

    def _of_map(self, ticket: Ticket) -> tuple[SpatialAnswer, Recalled]:
        """The answer that the map's keyframes give: their poses, or their pictures."""
        world, info = self._world(), self._runtime.info
        if ticket.intent.kind is not Kind.LAST_SEEN:
            ticket.tell(Stage.MEASURING)
            return answered(ticket.intent, recall(ticket.intent, world), world, info.model_id)
        ticket.tell(Stage.READING)
        sought = self._back.search(
            ticket.intent.things[0], world, ticket.deadline, ticket.cancelled.is_set
        )
        known, least = self._reliability.of(info), self.options.query.min_confidence
        return told(ticket.intent, sought, world, known, least, info.model_id)

    def _of_scene(
        self, ticket: Ticket, record: SceneRecord, remaining_s: float
    ) -> tuple[SpatialAnswer, Recalled | None]:
        """The answer about a scene, as it stands in the map when the words are there."""
        query = replace(ticket.query, max_seconds=remaining_s)
        said = self._said(ticket, record, query) if ticket.asks_model else said_nothing()
        ticket.tell(Stage.MEASURING, said.text)
        world = self._world()
        record = record.at(world)
        metres = world.scale if record.segment == world.segment else ScaleEstimate()
        answer = decided(
            *(said, record, query, ticket.intent, record.metric(metres)),
            self.options.query.min_confidence,
            self._reliability.of(self._runtime.info),
            self._around.of(record, world, ticket.intent),
        )
        answer = record.given_out(answer, metres)
        return told_of_map(answer, record, world) if ticket.scope == Scope.MAP else (answer, None)

    def _said(self, ticket: Ticket, record: SceneRecord, query: SpatialQuery) -> SpatialAnswer:
        """The model's words."""
        ticket.tell(Stage.READING)
        said = self._runtime.ask(
            record.scene,
            query,
            on_text=ticket.watch and partial(ticket.tell, Stage.ANSWERING),
            cancelled=ticket.cancelled.is_set,
        )
        if said.status in (AnswerStatus.OK, AnswerStatus.TRUNCATED):
            with self._wakeup:
                self._line.learn(ticket, time.monotonic() - self._began)
        return said

    def _finish(
        self,
        ticket: Ticket,
        answer: SpatialAnswer,
        queue_ms: float | None = None,
        recalled: Recalled | None = None,
    ) -> None:
        waited_ms = (time.monotonic() - ticket.arrived) * 1e3 if queue_ms is None else queue_ms
        try:
            self._reply(ticket.respond, Reply(answer, ticket.record, waited_ms, recalled))
        finally:
            if ticket.record is not None:
                self._scenes.release(ticket.record)

    def _reply(self, respond: Respond, reply: Reply) -> None:
        self._on_reply(reply)
        try:
            respond(reply)
        except Exception as error:  # a foreign runtime's answer, or nobody to send it to any more
            # Whoever asked gets a word where that is possible; the desk goes on either way.
            text = f"the answer cannot be sent: {type(error).__name__}: {error}"
            failed = SpatialAnswer(AnswerStatus.FAILED, text)
            _LOG.error("%s", failed.message)
            with suppress(Exception):
                respond(Reply(failed, reply.record, reply.queue_ms))


def _of_map(question: Question) -> Intent | None:
    """The question where the map's keyframes answer it, before there is a scene or long after."""
    if question.marks:
        return None
    intent = understand(question.text)
    sought = intent.kind is Kind.LAST_SEEN and len(intent.things) == 1 and "it" not in intent.things
    return intent if sought or is_of_poses(intent, question.scope == Scope.MAP) else None


class _TurnedAwayError(Exception):
    """A question gets its answer, with this status, without the model."""

    def __init__(self, status: AnswerStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
