# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Answers questions about scenes, without a framework: reads the words, prepares, decodes.

[chat prefix][geometric frames][semantic frames] is what every question stands behind. The
semantic frames are appended at a scene's first question, frame by frame, and stay. Marks that
are drawn into pictures change the semantic tokens of their frames, and with them everything
behind: such a question works on a fork of the context that is dropped afterwards.

Every use of the device is one `DeviceGate.step`: between two steps an observation can run, the
question can be cancelled, and its time can run out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import ModelConfig
from ..extras.references import Reference, find_references
from ..interface import AnswerStatus, NamedPlace, PixelMark, SpatialAnswer, SpatialQuery
from ..marks import marked_picture, marked_question
from ..positions import DecodeStep
from ..preprocess import semantic_patches
from ..reasoning import geometry_in_words
from ..tokenizer import Tokenizer, prompt_ids
from .gate import DeviceGate
from .scene import EncodedScene, SceneContext, Sought

__all__ = ["Answerer", "Draft", "Question", "Stopped"]

PREFILL_TOKENS = 128  # of a question, in one step of the device

OnText = Callable[[str], None]


class Stopped(Exception):  # noqa: N818 - not an error: the question was ended
    """A question ends before its answer does; its draft says why."""


@dataclass(frozen=True)
class Question:
    """A question as the model reads it.

    Args:
        ids: Its tokens, those of the template behind it and of what is reasoned, and the start of
            the answer.
        references: What they name, where the model was taught it.
    """

    ids: tuple[int, ...]
    references: tuple[Reference, ...] = ()


class Draft:
    """An answer as it grows, and when it has to end; `max_seconds` counts from the construction.

    Args:
        query: What is asked.
        cancelled: Asked by `check`.
        on_text: Called with the text so far after each token.

    Attributes:
        ids: Answer tokens, without the end token.
        text: Of `ids`.
        ended: The end token came.
        log_probability: Sum over the chosen tokens, the end token included.
        choices: Number of tokens in that sum.
        named: Where things that the question names were looked for.
        read_s: Seconds since the construction at which the question had been read.
        stopped: Why it ended early; None where it did not.
    """

    def __init__(
        self,
        query: SpatialQuery,
        cancelled: Callable[[], bool] | None = None,
        on_text: OnText | None = None,
    ) -> None:
        self.query = query
        self.on_text = on_text
        self.ids: list[int] = []
        self.text = ""
        self.ended = False
        self.log_probability = 0.0
        self.choices = 0
        self.named: tuple[NamedPlace, ...] = ()
        self.read_s: float | None = None
        self.stopped: AnswerStatus | None = None
        self._cancelled = cancelled
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the construction."""
        return time.perf_counter() - self._started

    def check(self) -> None:
        """Raise `Stopped` where the question has to end now."""
        if self._cancelled is not None and self._cancelled():
            self.stopped = AnswerStatus.CANCELLED
        elif self.query.max_seconds is not None and self.seconds > self.query.max_seconds:
            self.stopped = AnswerStatus.TIMEOUT
        if self.stopped is not None:
            raise Stopped

    def answer(self, model_id: str) -> SpatialAnswer:
        """What has been written by a model, and how it ended."""
        status = AnswerStatus.OK if self.ended else self.stopped or AnswerStatus.TRUNCATED
        messages = {
            AnswerStatus.OK: "",
            AnswerStatus.TRUNCATED: f"the answer was cut after max_tokens={self.query.max_tokens}",
            AnswerStatus.TIMEOUT: f"the answer was not ready within {self.query.max_seconds} s",
            AnswerStatus.CANCELLED: "the question was cancelled",
        }
        total_s = self.seconds
        read_s = total_s if self.read_s is None else self.read_s
        return SpatialAnswer(
            status=status,
            message=messages[status],
            text=self.text,
            # Geometric mean of the probabilities of the tokens.
            confidence=math.exp(self.log_probability / self.choices) if self.choices else 0.0,
            tokens=len(self.ids),
            named=self.named,
            prefill_ms=read_s * 1e3,
            decode_ms=(total_s - read_s) * 1e3,
            model_id=model_id,
        )


class Answerer:
    """Answers questions about scenes of one model.

    Args:
        config, tokenizer: Of the model.
        gate: Turns on the device.
    """

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer, gate: DeviceGate) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._prompts = prompt_ids(tokenizer, config.tokens)
        self._gate = gate
        self._drawn = config.mark_style == "drawn"

    def read(self, scene: EncodedScene, query: SpatialQuery) -> Question:
        """A question with checked marks as the model reads it; needs no device.

        Raises:
            ValueError: The text, or a mark's label in it, spells a special token: those structure
                the prompt, and an asker could end the question there and begin another turn.
        """
        style = self._config.mark_style
        text = marked_question(style, query.question, query.marks, scene.sizes_hw)
        ids = self._tokenizer.encode(text)
        told: list[int] = []
        if query.reason == "geometry":
            said = scene.geometry
            words = geometry_in_words(
                said.local_points, said.T_world_cam, query.marks, scene.sizes_hw
            )
            told = self._tokenizer.encode(words)
        special = self._prompts.special
        structure = {special.bos, special.eos, special.start_of_image, special.end_of_image}
        reserved = self._tokenizer.special | structure
        if found := sorted(reserved.intersection([*ids, *told])):
            names = [self._tokenizer.decode([token], skip_special=False) for token in found]
            raise ValueError(
                f"question spells {', '.join(map(repr, names))}, which the prompt itself is "
                "built from; leave it out"
            )
        references: tuple[Reference, ...] = ()
        if self._config.reference_features:
            references = find_references(self._tokenizer, text, query.marks, scene.sizes_hw)
        asked = (*self._prompts.question(ids), *self._prompts.reasoning(told))
        return Question((*asked, special.start_of_answer), references)

    def write(self, scene: EncodedScene, question: Question, draft: Draft) -> None:
        """Answer a question from `read`; the scene is unchanged afterwards.

        The draft is filled token by token, so that it holds what was ready when it stops, and
        is asked before each step whether to go on.

        Raises:
            Stopped: Cancelled, or out of time. Frames that are done are kept.
            ValueError: The scene was closed meanwhile.
            RuntimeError: Numbers that are not finite.
        """
        ids = question.ids
        with scene.turn(draft.check), self._prepared(scene, draft) as context:
            if self._config.reference_features:
                with self._step(draft):
                    context.name(question.references, len(ids) - 1)
                draft.named = self._named(context.sought, scene.sizes_hw)
            for first in range(0, len(ids), PREFILL_TOKENS):
                piece = ids[first : first + PREFILL_TOKENS]
                with self._step(draft):
                    # Room is made for all of the question and for the answer.
                    context.read(piece, len(ids) - first - len(piece) + draft.query.max_tokens)
            draft.read_s = draft.seconds
            self._decode(context.decode(draft.query), draft)

    def step_s(self, scene: EncodedScene) -> float:
        """Seconds of one step of an answer about a scene, which is unchanged afterwards.

        The scene's pictures are not read for it, which takes many times as long; behind a published
        prompt the first question's own pass is made. The second of two steps counts: the first
        one's libraries choose their kernels.
        """
        with self._gate.step():
            context = scene.made_context()
        before, seconds = context.mark(), 0.0
        for _ in range(2):
            began = time.perf_counter()
            with self._gate.step():
                context.read((self._prompts.special.start_of_answer,), 0)
            seconds = time.perf_counter() - began
        context.truncate(before)
        return seconds

    def _named(
        self, sought: Sequence[Sought], sizes_hw: Sequence[tuple[int, int]]
    ) -> tuple[NamedPlace, ...]:
        """The place of each thing, once for several mentions of one."""
        things = {(one.reference.words, one.reference.frame): one for one in sought}
        return tuple(
            _looked_at(self._tokenizer.decode(list(words)).strip(), one.weight_NRC, sizes_hw)
            for (words, _), one in things.items()
        )

    def _decode(self, steps: Iterator[DecodeStep], draft: Draft) -> None:
        # One step more than tokens are allowed: only it can tell a whole answer of that length.
        for _ in range(draft.query.max_tokens + 1):
            with self._step(draft):
                step = next(steps)
            if math.isnan(step.log_probability):
                raise RuntimeError(
                    "the language head returned numbers that are not finite: they overflow in "
                    "this precision; load the runtime with precision 'bf16' or 'fp32'"
                )
            draft.ended = step.token == self._prompts.special.eos
            if not draft.ended and len(draft.ids) == draft.query.max_tokens:
                return
            draft.log_probability += step.log_probability
            draft.choices += 1
            if draft.ended:
                return
            draft.ids.append(step.token)
            draft.text = self._tokenizer.decode(draft.ids)
            if draft.on_text is not None:
                draft.on_text(draft.text)

    @contextmanager
    def _step(self, draft: Draft) -> Iterator[None]:
        """One step of the device, where the question is still to be answered."""
        draft.check()
        with self._gate.step():
            yield

    @contextmanager
    def _prepared(self, scene: EncodedScene, draft: Draft) -> Iterator[SceneContext]:
        """A context to write a question and its answer into; the scene is as before afterwards."""
        context, marks = scene.context, draft.query.marks
        if context is None:
            with self._step(draft):
                context = scene.made_context()
        ends = scene.ends
        context.truncate(ends[-1])  # behind an interrupt
        # Frames from the first one on that marks are drawn into are this question's alone.
        count, drawn = len(scene.window), marks if self._drawn else ()
        first = min((mark.frame_index for mark in drawn), default=count)
        for index in range(len(ends) - 1, first):
            self._append_frame(scene, index, (), context, draft)
            ends.append(context.mark())
        if len(ends) - 1 > first:  # they stand there without marks, for other questions
            with self._step(draft):
                context = context.fork(ends[first])
        before = context.mark()
        try:
            for index in range(first, count):
                own = [mark for mark in drawn if mark.frame_index == index]
                self._append_frame(scene, index, own, context, draft)
            yield context
        finally:
            context.truncate(before)

    def _append_frame(
        self,
        scene: EncodedScene,
        index: int,
        marks: Sequence[PixelMark],
        context: SceneContext,
        draft: Draft,
    ) -> None:
        """Append one frame's semantic tokens, in one step of the device.

        Tokens of a frame that nothing is drawn into are kept with its features.
        """
        features = scene.features[index] if scene.features and not marks else None
        tokens_SD = None if features is None else features.semantic_SD
        rows_RC = None
        if tokens_SD is None:
            draft.check()
            image = scene.window.frames[index].image
            picture = marked_picture(self._config.mark_style, image, marks)
            first_hw = scene.sizes_hw[0]
            rows_RC = semantic_patches(self._config, [picture], first_hw).rows_NRC[0]
        with self._step(draft):
            if rows_RC is not None:
                tokens_SD = context.encode(rows_RC)
            context.append_frame(index, tokens_SD)
        if features is not None:
            features.semantic_SD = tokens_SD


def _looked_at(
    name: str, weight_NRC: NDArray[np.float32], sizes_hw: Sequence[tuple[int, int]]
) -> NamedPlace:
    """The middle of the 3 x 3 tokens that count most together, in the frame that holds them."""
    padded = np.pad(weight_NRC, ((0, 0), (1, 1), (1, 1)))
    blocks = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    share_NRC = blocks.sum(axis=(3, 4))
    best = np.unravel_index(int(share_NRC.argmax()), share_NRC.shape)
    frame, row, column = (int(index) for index in best)
    block, share = blocks[frame, row, column], float(share_NRC[frame, row, column])
    steps = np.arange(-1, 2)
    down = (block.sum(axis=1) @ steps) / max(share, 1e-9)
    aside = (block.sum(axis=0) @ steps) / max(share, 1e-9)
    (height, width), (rows, columns) = sizes_hw[frame], weight_NRC.shape[1:]
    u = (column + 0.5 + aside) * width / columns - 0.5
    v = (row + 0.5 + down) * height / rows - 0.5
    mark = PixelMark(frame, float(u), float(v), label=name)
    return NamedPlace(mark, min(share, 1.0))
