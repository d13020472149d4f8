"""Reads questions and answers them: the half of an executor that no framework touches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..config import ModelConfig
from ..extras.references import Reference
from ..interface import SpatialQuery
from ..tokenizer import Tokenizer, prompt_ids
from .context import SceneContext
from .drafts import PREFILL_TOKENS, AnswerWriter, Draft, Stopwatch
from .gate import DeviceGate
from .questions import SceneQuestions
from .scene import EncodedScene

__all__ = ["Answerer", "Question"]


@dataclass(frozen=True)
class Question:
    """A question as the model reads it.

    Args:
        ids: Its tokens, with those of the template behind it.
        references: What they name, where the model was taught it.
    """

    ids: tuple[int, ...]
    references: tuple[Reference, ...] = ()


class Answerer:
    """Answers questions about scenes of one model; `read` and `write` of an `Executor`.

    Args:
        config: Of the model.
        tokenizer: Of its folder.
        gate: Turns on the device.
        encode_again: See `SceneQuestions`.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        gate: DeviceGate,
        encode_again: Callable[[EncodedScene], SceneContext] | None = None,
    ) -> None:
        self._gate = gate
        self._questions = SceneQuestions(config, tokenizer, gate, encode_again)
        self._writer = AnswerWriter(tokenizer, prompt_ids(tokenizer, config.tokens), gate)

    def read(self, scene: EncodedScene, query: SpatialQuery) -> Question:
        """A question's words as the model reads them; needs no device.

        Args:
            scene: What it is about.
            query: With checked marks.

        Raises:
            ValueError: The question spells a special token.
        """
        text = self._questions.text(scene, query)
        ids = self._writer.question_ids(text)
        return Question(ids, self._questions.references(scene, query, text))

    def write(
        self,
        scene: EncodedScene,
        question: Question,
        query: SpatialQuery,
        draft: Draft,
        stopwatch: Stopwatch,
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        """Answer a question, with the scene's turn held; the scene is unchanged afterwards.

        Args:
            scene: Of this model.
            question: From `read`.
            query: Marks, token limit and sampling.
            draft: Filled as the answer grows.
            stopwatch: Asked before each step.
            on_text: Called with the text so far after each token.

        Raises:
            Stopped: Cancelled, or out of time.
            ValueError: The scene was closed meanwhile.
        """
        with self._questions.prepared(scene, query.marks, stopwatch) as context:
            self._questions.name(context, question.references, len(question.ids))
            self._append(question.ids, query.max_tokens + 1, context, stopwatch)
            self._writer.write(draft, context.decode(query), query, stopwatch, on_text)

    def _append(
        self, ids: Sequence[int], answer_tokens: int, context: SceneContext, stopwatch: Stopwatch
    ) -> None:
        """Append the question; room is made for all of it and for the answer."""
        for first in range(0, len(ids), PREFILL_TOKENS):
            stopwatch.check()
            piece = ids[first : first + PREFILL_TOKENS]
            with self._gate.step():
                context.read(piece, len(ids) - first - len(piece) + answer_tokens)
