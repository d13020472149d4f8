# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions that wait for the model: the earliest deadline first, a bounded number of them.

Without cutting one question short for another, earliest deadline first meets every deadline that
any order meets (Jackson's rule, 1955). Where no order meets one any more, that is said at once: a
robot that waits for an answer could do something else meanwhile.
"""

from __future__ import annotations

import bisect
import enum
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from g2vlm_model.interface import AnswerStatus, SpatialAnswer, SpatialQuery

from .answers.asked import Respond, Scope
from .answers.deciding import NOT_ASKED
from .answers.intent import Intent, Kind
from .scenes import SceneRecord

__all__ = ["Cancel", "Progress", "QuestionLine", "Stage", "Ticket", "Watch"]

_LOG = logging.getLogger(__name__)

_REMEMBERED = 8  # answers, the fastest of which is the least that the next one takes


class Stage(enum.IntEnum):
    """How far a question is; the same numbers as in Ask.action."""

    QUEUED = 0
    READING = 1  # the model reads the question behind the scene's frames
    ANSWERING = 2  # it writes
    MEASURING = 3  # the words are held against the reconstruction


@dataclass(frozen=True)
class Progress:
    """How a question stands before it is answered.

    Args:
        stage: How far it is.
        text: What the model has written so far.
        position: Of QUEUED: its place in the order of service, 1 the next; else 0.
    """

    stage: Stage
    text: str = ""
    position: int = 0


Watch = Callable[[Progress], object]
Cancel = Callable[[], None]


@dataclass(eq=False)
class Ticket:
    """A question that was let in, with the scene that it was asked about.

    Args:
        query: With marks on frames of the scene.
        intent: The question, understood.
        record: The scene, held open; None where poses of the map answer it.
        respond: Takes the answer.
        arrived, deadline: Monotonic clock, seconds.
        scope: As asked.
        watch: Told how it stands; None where nobody looks.
    """

    query: SpatialQuery
    intent: Intent
    record: SceneRecord | None
    respond: Respond
    arrived: float
    deadline: float
    scope: int = Scope.SCENE
    watch: Watch | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    why: str = ""  # it was cancelled
    _telling: threading.Lock = field(default_factory=threading.Lock)
    _told: Progress | None = None

    @property
    def asks_model(self) -> bool:
        """Whether the model is asked, and not the reconstruction alone."""
        if self.record is None:
            return self.intent.kind is Kind.LAST_SEEN
        return self.intent.kind not in NOT_ASKED

    def cancel(self, why: str) -> None:
        """End it when the model has made one more step."""
        self.why = self.why or why
        self.cancelled.set()

    def tell(self, stage: Stage, text: str = "", position: int = 0) -> None:
        """Let whoever watches know; the same thing once, and nothing of a stage that is over."""
        if self.watch is None:
            return
        progress = Progress(stage, text, position)
        with self._telling:
            if self._told is not None and (progress == self._told or stage < self._told.stage):
                return
            self._told = progress
            try:
                self.watch(progress)
            except Exception as error:  # who looks on must not end the answer
                _LOG.error("nobody looks on any more: %s: %s", type(error).__name__, error)
                self.watch = None


class QuestionLine:
    """The tickets that wait, in the order of service; its user locks it.

    Args:
        places: How many may wait; asked for at each arrival.
    """

    def __init__(self, places: Callable[[], int]) -> None:
        self._places = places
        self._waiting: list[Ticket] = []
        # Seconds of the last answers, without and with the model.
        self._took: tuple[deque[float], deque[float]] = (
            deque(maxlen=_REMEMBERED),
            deque(maxlen=_REMEMBERED),
        )

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(tuple(self._waiting))

    def put(self, ticket: Ticket) -> list[tuple[Ticket, SpatialAnswer]]:
        """Take a ticket in; those that have to go for it, or it itself, with their answers.

        Where all places are taken, whoever has most time left goes.
        """
        bisect.insort(self._waiting, ticket, key=lambda other: other.deadline)
        places = self._places()
        if len(self._waiting) <= places:
            return []
        text = f"all {places} places are taken (query.queue), by questions with earlier deadlines"
        answer = SpatialAnswer(AnswerStatus.OVERLOADED, f"{text}; ask less often")
        return [(self._waiting.pop(), answer)]

    def take(self) -> Ticket:
        """The ticket whose turn it is."""
        return self._waiting.pop(0)

    def remove(self, ticket: Ticket) -> bool:
        """Take a ticket out; whether it waited."""
        waits = ticket in self._waiting
        if waits:
            self._waiting.remove(ticket)
        return waits

    def clear(self) -> list[Ticket]:
        """Take all out."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def learn(self, ticket: Ticket, seconds: float) -> None:
        """How long an answer took."""
        self._took[ticket.asks_model].append(seconds)

    def hopeless(
        self, now: float, running: Ticket | None, running_s: float
    ) -> list[tuple[Ticket, SpatialAnswer]]:
        """Take out those that cannot be answered in time, with their answers.

        A deadline is given up only where it would be missed even if every answer ahead, and its
        own, took no longer than the fastest of the last `_REMEMBERED` of its kind. A question that
        would be the next on an idle desk stays: part of an answer may be worth having.

        Args:
            now: Monotonic clock, seconds.
            running: In work; None where nothing is.
            running_s: For how long.
        """
        free = 0.0 if running is None else max(0.0, self._least(running) - running_s)
        kept: list[Ticket] = []
        gone = []
        for ticket in self._waiting:
            own, left = self._least(ticket), ticket.deadline - now
            ahead = len(kept) + (running is not None)
            if now >= ticket.deadline:
                waited_s = now - ticket.arrived
                why = f"waited {waited_s:.2f} s, the whole time allowed, for its turn"
            elif ahead and free + own > left:
                why = (
                    f"cannot be answered in time: it would take {free + own:.2f} s at least, "
                    f"behind {ahead} with earlier deadlines, and {left:.2f} s are left"
                )
            else:
                kept.append(ticket)
                free += own
                continue
            gone.append((ticket, SpatialAnswer(AnswerStatus.TIMEOUT, why)))
        self._waiting = kept
        return gone

    def _least(self, ticket: Ticket) -> float:
        """Seconds that an answer takes at least; 0 while nobody knows."""
        return min(self._took[ticket.asks_model], default=0.0)
