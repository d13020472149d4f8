"""An answer as it grows, when it has to end, and the loop that writes it; no framework.

What computes the tokens is an iterator of steps. Every use of the device is one
`DeviceGate.step`: between two steps an observation can run, the question can be cancelled, and
its time can run out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ..interface import AnswerStatus, SpatialQuery
from ..tokenizer import PromptIds, Tokenizer
from .gate import DeviceGate

__all__ = ["PREFILL_TOKENS", "AnswerWriter", "Draft", "Step", "Stopped", "Stopwatch"]

PREFILL_TOKENS = 128  # of a question, in one step of the device


class Stopped(Exception):  # noqa: N818 - not an error: the question was ended
    """A question that ends before its answer does.

    Args:
        status: TIMEOUT or CANCELLED.
    """

    def __init__(self, status: AnswerStatus) -> None:
        super().__init__(status.name)
        self.status = status


class Stopwatch:
    """Says when a question has to end; its `max_seconds` counts from the construction.

    Args:
        query: The question.
        cancelled: Asked by `check`.
    """

    def __init__(self, query: SpatialQuery, cancelled: Callable[[], bool] | None) -> None:
        self._started = time.perf_counter()
        self._cancelled = cancelled
        self._limit_s = query.max_seconds

    @property
    def seconds(self) -> float:
        """Since the construction."""
        return time.perf_counter() - self._started

    def check(self) -> None:
        """Raise `Stopped` where the question has to end now."""
        if self._cancelled is not None and self._cancelled():
            raise Stopped(AnswerStatus.CANCELLED)
        if self._limit_s is not None and self.seconds > self._limit_s:
            raise Stopped(AnswerStatus.TIMEOUT)


@dataclass
class Draft:
    """An answer as it grows.

    Attributes:
        ids: Answer tokens, without the end token.
        text: Of `ids`.
        ended: The end token came.
        log_probability: Sum over the chosen tokens, the end token included.
        choices: Number of tokens in that sum.
        read_s: Stopwatch time at which the question had been read.
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    ended: bool = False
    log_probability: float = 0.0
    choices: int = 0
    read_s: float | None = None

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities of the tokens; 0 where none was chosen."""
        return math.exp(self.log_probability / self.choices) if self.choices else 0.0


class Step(Protocol):
    """One decoded token."""

    @property
    def token(self) -> int:
        """Its id."""
        ...

    @property
    def log_probability(self) -> float:
        """Natural logarithm of its probability at temperature 1."""
        ...


class AnswerWriter:
    """Writes answers from the tokens that a model computes.

    Args:
        tokenizer: Of its folder.
        prompts: The fixed texts.
        gate: Turns on the device.
    """

    def __init__(self, tokenizer: Tokenizer, prompts: PromptIds, gate: DeviceGate) -> None:
        self._tokenizer = tokenizer
        self._prompts = prompts
        self._gate = gate

    def question_ids(self, text: str) -> tuple[int, ...]:
        """Ids of a question and of the template behind it.

        Raises:
            ValueError: The text spells one of the special tokens that structure the prompt.
        """
        ids = self._tokenizer.encode(text)
        special = self._prompts.special
        reserved = {special.bos, special.eos, special.start_of_image, special.end_of_image}
        found = sorted(reserved.intersection(ids))
        if found:
            names = [self._tokenizer.decode([token], skip_special=False) for token in found]
            raise ValueError(
                f"question spells {', '.join(map(repr, names))}, which the prompt itself is "
                "built from; leave it out"
            )
        return self._prompts.question(ids)

    def write(
        self,
        draft: Draft,
        steps: Iterator[Step],
        query: SpatialQuery,
        stopwatch: Stopwatch,
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        """Write the answer to a question that has been read.

        Args:
            draft: Filled token by token, so that it holds what was ready when it stops.
            steps: Computes a token of the answer each time it is asked, without end.
            query: Token limit.
            stopwatch: Asked before each step.
            on_text: Called with the text so far after each token.

        Raises:
            Stopped: Cancelled, or out of time.
            RuntimeError: Numbers that are not finite.
        """
        draft.read_s = stopwatch.seconds
        # One step more than tokens are allowed: only it can tell a whole answer of that length.
        for _ in range(query.max_tokens + 1):
            stopwatch.check()
            with self._gate.step():
                step = next(steps)
            if math.isnan(step.log_probability):
                raise RuntimeError(
                    "the language head returned numbers that are not finite: they overflow in "
                    "this precision; load the runtime with precision 'bf16' or 'fp32'"
                )
            draft.ended = step.token == self._prompts.special.eos
            if not draft.ended and len(draft.ids) == query.max_tokens:
                return
            draft.log_probability += step.log_probability
            draft.choices += 1
            if draft.ended:
                return
            draft.ids.append(step.token)
            draft.text = self._tokenizer.decode(draft.ids)
            if on_text is not None:
                on_text(draft.text)
