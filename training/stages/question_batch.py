# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions about windows as token ids: drawn from the truth, packed for the language model.

Shape letters: M questions, T text tokens, L real tokens of all questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2vlm_model.config import ModelConfig
from g2vlm_model.marks import marked_picture, marked_question
from g2vlm_model.preprocess import (
    SemanticRows,
    geometric_size,
    resize_geometric,
    semantic_merged_hw,
    semantic_rows,
)
from g2vlm_model.tokenizer import PromptIds, Tokenizer, prompt_ids, system_ids, user_ids

from ..datasets.base import Clip, DataError, SceneInfo
from ..datasets.batch import WindowBatch, batch_of
from ..datasets.language import Conversation
from ..synthetic.questions import TASKS, Ground, Question, View, ask

__all__ = [
    "IGNORED",
    "AskedWindow",
    "QuestionMaker",
    "TextBatch",
    "TextRow",
    "picture_rows",
    "questions_of",
    "text_batch",
    "token_row",
    "view_of",
]

IGNORED = -100
_TRIES = 40
_TRIES_OF_ONE = 4


@dataclass(frozen=True)
class TextBatch:
    """M questions and answers, padded at the end.

    Args:
        input_MT: int64 ids that are fed.
        target_MT: int64 ids to predict, -100 where nothing is asked.
        answer_MT: int64 number of the answer that a target belongs to, counted through the batch.
        answers: How many there are: as many as questions, or more where some are conversations.
        real_L: int64 places of the tokens that are no padding in the flattened batch, in order.
    """

    input_MT: Tensor
    target_MT: Tensor
    answer_MT: Tensor
    answers: int
    real_L: Tensor

    def to(self, device: torch.device) -> TextBatch:
        """The same on a device."""
        return replace(
            self,
            input_MT=self.input_MT.to(device),
            target_MT=self.target_MT.to(device),
            answer_MT=self.answer_MT.to(device),
            real_L=self.real_L.to(device),
        )


class TextRow(NamedTuple):
    """Question and answer as token ids, or several of them in turn.

    Attributes:
        ids: Of all, to the end of the last answer.
        spans: Of each answer the index of the token that starts it, and that of its end.
    """

    ids: list[int]
    spans: tuple[tuple[int, int], ...]

    @property
    def start(self) -> int:
        """Index of the token that starts the first answer."""
        return self.spans[0][0]

    def reasoned(self, ids: Sequence[int]) -> TextRow:
        """The same with ids ahead of the first answer's start."""
        by = len(ids)
        spans = tuple((begin + by, end + by) for begin, end in self.spans)
        return TextRow([*self.ids[: self.start], *ids, *self.ids[self.start :]], spans)


def view_of(batch: WindowBatch, index: int) -> View:
    """The truth of one window of a batch as the question maker wants it.

    Without a scene nothing has a name, and places are marks.

    Raises:
        DataError: Neither depth with poses nor a scene.
    """
    scene, depth_NHW = batch.scenes[index], batch.placed_depth_BNHW[index].cpu().numpy()
    if scene is None:
        if not depth_NHW.any():
            raise DataError(f"window {index} of the batch has neither depth with poses nor a scene")
        scene = SceneInfo()
    return View(
        objects=scene.objects,
        depth_NHW=depth_NHW,
        object_id_NHW=batch.object_id_BNHW[index].cpu().numpy(),
        T_world_cam_N44=batch.T_world_cam_BN44[index].double().cpu().numpy(),
        K_N33=batch.K_BN33[index].double().cpu().numpy(),
        room_size=scene.room_size,
        floor_area=scene.floor_area,
    )


def questions_of(
    view: View, count: int, rng: np.random.Generator, tasks: Sequence[str] = TASKS
) -> list[Question]:
    """Exactly `count` questions of random types about a window.

    Raises:
        DataError: The window allows none of the types.
    """
    found: list[Question] = []
    for _ in range(_TRIES * count):
        task = tasks[int(rng.integers(len(tasks)))]
        tries = (ask(view, task, rng) for _ in range(_TRIES_OF_ONE))  # types come up alike
        question = next((question for question in tries if question is not None), None)
        if question is not None:
            found.append(question)
        if len(found) == count:
            return found
    raise DataError(f"found {len(found)} of {count} questions of {list(tasks)}")


@dataclass(frozen=True)
class AskedWindow:
    """What is asked about a window, ready for the model.

    Args:
        questions: With answers and marks; of a conversation the first one.
        rows: Of each, with its answer.
        pictures: Rows of the semantic encoder for the window's frames, where marks are drawn those
            of one question after the other; None of a blind model and where there is no frame.
        sizes_hw: Of the frames' pictures, in which the marks count.
        system: Ids ahead of everything; none are the model's own.
        counts: Whether it has a say in the loss; else it only keeps other processes company.
    """

    questions: tuple[Question, ...]
    rows: tuple[TextRow, ...]
    pictures: SemanticRows[Tensor] | None
    sizes_hw: tuple[tuple[int, int], ...] = ()
    system: tuple[int, ...] = ()
    counts: bool = True

    def squeezed(self, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> AskedWindow:
        """The same beside depth and ids of another size; the words stay those of the pictures."""

        def moved(ground: Ground) -> Ground:
            if ground.pixel is None:
                return ground
            row, column = (
                place * new // old
                for place, old, new in zip(ground.pixel, from_hw, to_hw, strict=True)
            )
            return replace(ground, pixel=(row, column))

        questions = tuple(
            replace(question, grounds=tuple(map(moved, question.grounds)))
            for question in self.questions
        )
        return replace(self, questions=questions)


@dataclass(frozen=True)
class QuestionMaker:
    """The preparer of stages that ask; see `stage.Preparer`.

    Args:
        config: Of the model.
        tokenizer: The model's.
        count: Questions per window.
        tasks: Their types.
        blind: No pictures are wanted.
        context: Tokens that a conversation may have, pictures included.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    count: int
    tasks: tuple[str, ...]
    blind: bool
    context: int = 16384

    def __call__(self, window: WindowBatch, rng: np.random.Generator) -> AskedWindow:
        """Draw the questions about a window from its truth.

        Raises:
            DataError: Nothing is known that could be asked about.
        """
        return self.of(window, questions_of(view_of(window, 0), self.count, rng, self.tasks))

    def of(self, window: WindowBatch, questions: Sequence[Question]) -> AskedWindow:
        """Questions about a window, as the model reads them.

        Args:
            window: A single one.
            questions: With the lines of their marks.
        """
        style, found = self.config.mark_style, questions
        asked = tuple(question if style == "text" else question.unmarked for question in found)
        prompts = prompt_ids(self.tokenizer, self.config.tokens)
        rows = tuple(token_row(question, self.tokenizer, prompts) for question in asked)
        pictures = None if self.blind else self._pictures(_pictures(window), asked)
        sizes = (window.grid,) * window.rgb_BN3HW.shape[1]
        return AskedWindow(asked, rows, pictures, sizes)

    def of_conversation(self, conversation: Conversation, counts: bool = True) -> WindowBatch:
        """A window for a conversation: pictures alone, and nothing known of depth or poses.

        One in words alone is a window without a frame.

        Raises:
            DataError: A picture that is too flat, words that the tokenizer lacks, or more tokens
                than `context`: an answer is never cut.
        """
        pictures, marks = conversation.pictures, conversation.marks
        sizes = tuple((picture.shape[0], picture.shape[1]) for picture in pictures)
        try:
            size_hw = (self.config.patch_size,) * 2
            if pictures:
                size_hw = geometric_size(self.config, *sizes[0])
            first = conversation.turns[0]
            text = marked_question(self.config.mark_style, first.question, marks, sizes)
            row = self._row([(text, first.answer), *_told(conversation)])
            words = row.words.union(self.tokenizer.encode(conversation.system))
            special = self.tokenizer.special.intersection(words)
        except ValueError as error:
            raise DataError(f"{conversation.name}: {error}") from error
        if special:
            names = self.tokenizer.decode(sorted(special), skip_special=False)
            raise DataError(f"{conversation.name} spells {names}, which the prompt is built from")
        tokens = self.tokens_of(conversation)
        if tokens > self.context:
            raise DataError(
                f"{conversation.name} has {tokens} tokens, {len(row.row.ids)} of them words; the "
                f"context is {self.context}"
            )
        question = Question("conversation", text, first.answer, bare=first.question, marks=marks)
        seen = bool(pictures) and not self.blind
        shown = self._pictures(pictures, (question,)) if seen else None
        system = system_ids(self.tokenizer, self.config.tokens, conversation.system)
        asked = AskedWindow(
            (question,), (row.row,), shown, sizes, system if conversation.system else (), counts
        )
        resized = np.zeros((max(1, len(pictures)), *size_hw, 3), np.uint8)
        for number, picture in enumerate(pictures):
            resized[number] = resize_geometric(picture, size_hw)
        batch = batch_of([_unknown(resized, conversation.name)])
        if not pictures:  # a clip has a frame
            batch = replace(batch, **{f: v[:, :0] for f, v in vars(batch).items() if "BN" in f})
        return replace(batch, prepared=(asked,))

    def tokens_of(self, conversation: Conversation) -> int:
        """Tokens of a conversation with its pictures in both encoders and the marks around them."""
        pictures, marks = conversation.pictures, conversation.marks
        sizes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
        first = conversation.turns[0]
        text = marked_question(self.config.mark_style, first.question, marks, sizes)
        words = len(self._row([(text, first.answer), *_told(conversation)]).row.ids)
        if self.blind or not pictures:
            return words
        height, width = geometric_size(self.config, *sizes[0])
        patch, (rows, columns) = self.config.patch_size, semantic_merged_hw(self.config, sizes[0])
        return words + len(pictures) * (height // patch * (width // patch) + rows * columns + 4)

    def _row(self, turns: Sequence[tuple[str, str]]) -> _WordRow:
        prompts = prompt_ids(self.tokenizer, self.config.tokens)
        special, ids, spans, words = prompts.special, list[int](), list[tuple[int, int]](), set()
        for asked, answer in turns:
            if ids:
                ids += user_ids(self.tokenizer, self.config.tokens)
            question, said = self.tokenizer.encode(asked), self.tokenizer.encode(answer)
            ids += [*prompts.question(question), special.start_of_answer, *said, special.eos]
            spans.append((len(ids) - len(said) - 2, len(ids) - 1))
            words |= {*question, *said}
        return _WordRow(TextRow(ids, tuple(spans)), frozenset(words))

    def _pictures(
        self, pictures: Sequence[NDArray[np.uint8]], asked: Sequence[Question]
    ) -> SemanticRows[Tensor]:
        """Rows of a window's pictures; where marks are drawn, of each question's own."""
        style = self.config.mark_style
        if style == "text":
            return semantic_rows(self.config, pictures)
        return semantic_rows(
            self.config,
            [
                marked_picture(
                    style, picture, [m for m in question.marks if m.frame_index == number]
                )
                for question in asked
                for number, picture in enumerate(pictures)
            ],
        )


class _WordRow(NamedTuple):
    """A row, and the ids that words became."""

    row: TextRow
    words: frozenset[int]


def _told(conversation: Conversation) -> list[tuple[str, str]]:
    """The turns behind the first one."""
    return [(turn.question, turn.answer) for turn in conversation.turns[1:]]


def _unknown(rgb_NHW3: NDArray[np.uint8], name: str) -> Clip:
    """Pictures of which nothing else is known."""
    frames, height, width, _ = rgb_NHW3.shape
    return Clip(
        rgb=rgb_NHW3,
        depth=np.zeros((frames, height, width), np.float32),
        T_world_cam=np.tile(np.eye(4), (frames, 1, 1)),
        K=np.tile(
            np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]]), (frames, 1, 1)
        ),
        name=name,
        metric=False,
        posed=np.zeros(frames, np.bool_),
    )


def _pictures(batch: WindowBatch) -> list[NDArray[np.uint8]]:
    """The pictures of all windows, (H, W, 3) uint8 each."""
    pictures = (batch.rgb_BN3HW * 255).round().byte().flatten(0, 1).permute(0, 2, 3, 1)
    return list(pictures.cpu().numpy())


def picture_rows(config: ModelConfig, batch: WindowBatch) -> SemanticRows[Tensor]:
    """Rows of all frames of all windows, as the semantic encoder takes them."""
    return semantic_rows(config, _pictures(batch))


def token_row(question: Question, tokenizer: Tokenizer, prompts: PromptIds) -> TextRow:
    """A question with its answer."""
    special = prompts.special
    asked = prompts.question(tokenizer.encode(question.text))
    answer = tokenizer.encode(question.answer)
    ids = [*asked, special.start_of_answer, *answer, special.eos]
    return TextRow(ids, ((len(asked), len(ids) - 1),))


def text_batch(rows: Sequence[TextRow], prompts: PromptIds) -> TextBatch:
    """Rows as a batch; targets cover the answers and their ends only.

    Args:
        rows: From `token_row`, or of conversations.
        prompts: Of the same tokenizer.
    """
    longest = max(len(row.ids) for row in rows) - 1
    inputs = torch.full((len(rows), longest), prompts.special.eos)
    targets = torch.full((len(rows), longest), IGNORED)
    answers, number = torch.zeros_like(targets), 0
    for index, row in enumerate(rows):
        ids = torch.tensor(row.ids)
        inputs[index, : len(row.ids) - 1] = ids[:-1]
        for begin, end in row.spans:
            targets[index, begin:end] = ids[begin + 1 : end + 1]
            answers[index, begin:end] = number
            number += 1
    lengths = torch.tensor([len(row.ids) - 1 for row in rows])
    real = torch.arange(longest) < lengths[:, None]
    return TextBatch(inputs, targets, answers, number, real.flatten().nonzero()[:, 0])
