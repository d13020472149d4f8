"""A question's words in, one token of the answer after the other out.

Every use of the device is one `DeviceGate.step` of bounded size: `PREFILL_TOKENS` tokens of
the question, or one token of the answer. Between two steps an observation can run, the
question can be cancelled, and its time can run out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ...cache import KeyValueCache
from ...generate import Sampler, decode, prefill_ids
from ...interface import AnswerStatus, SpatialQuery
from ...model import G2VLM
from ...tokenizer import PromptIds, Tokenizer
from .gate import DeviceGate

__all__ = ["AnswerWriter", "Draft", "Stopped", "Stopwatch", "Words"]

PREFILL_TOKENS = 128


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


@dataclass(frozen=True)
class Words:
    """A question as the model reads it.

    Args:
        ids: From `AnswerWriter.question_ids`.
        added_1TD: What its references add to the embeddings of these ids and of the answer's
            first input, T = 1 + number of ids; None adds nothing.
    """

    ids: Sequence[int]
    added_1TD: Tensor | None = None


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


class AnswerWriter:
    """Writes answers with one model.

    Args:
        model: In evaluation mode.
        tokenizer: Of its folder.
        prompts: The fixed texts.
        gate: Turns on the device.
    """

    def __init__(
        self, model: G2VLM, tokenizer: Tokenizer, prompts: PromptIds, gate: DeviceGate
    ) -> None:
        self._model = model
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
        words: Words,
        cache: KeyValueCache,
        query: SpatialQuery,
        stopwatch: Stopwatch,
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        """Read the question and write the answer.

        Args:
            draft: Filled token by token, so that it holds what was ready when it stops.
            words: The question.
            cache: Of the scene; longer afterwards, the caller truncates it.
            query: Token limit and sampling.
            stopwatch: Asked before each step.
            on_text: Called with the text so far after each token.

        Raises:
            Stopped: Cancelled, or out of time.
        """
        self._read(words, query.max_tokens + 1, cache, stopwatch)
        draft.read_s = stopwatch.seconds
        first_11D = None if words.added_1TD is None else words.added_1TD[:, -1:]
        sampler = Sampler(query.temperature, query.seed)
        steps = decode(self._model, cache, sampler, added_11D=first_11D)
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
            draft.ended = step.token == self._model.special_ids.eos
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

    def _read(
        self, words: Words, answer_tokens: int, cache: KeyValueCache, stopwatch: Stopwatch
    ) -> None:
        """Append the question to the cache, which gets room for it and for the answer."""
        ids, added = words.ids, words.added_1TD
        for first in range(0, len(ids), PREFILL_TOKENS):
            stopwatch.check()
            piece = slice(first, first + PREFILL_TOKENS)
            with self._gate.step():
                cache.reserve(len(ids) - first + answer_tokens)
                own = None if added is None else added[:, :-1][:, piece]
                prefill_ids(self._model, ids[piece], cache, own)
