# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions about windows as token ids: drawn from the truth, packed for the language model.

Shape letters: M questions, T text tokens, L real tokens of all questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from g2vlm_model.config import ModelConfig
from g2vlm_model.preprocess import SemanticRows, semantic_rows
from g2vlm_model.tokenizer import PromptIds, Tokenizer, prompt_ids

from ..datasets.batch import WindowBatch
from ..synthetic.questions import TASKS, Question, View, ask

__all__ = [
    "IGNORED",
    "AskedWindow",
    "QuestionMaker",
    "TextBatch",
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
        real_L: int64 places of the tokens that are no padding in the flattened batch, in order.
    """

    input_MT: Tensor
    target_MT: Tensor
    real_L: Tensor

    def to(self, device: torch.device) -> TextBatch:
        """The same on a device."""
        return TextBatch(
            self.input_MT.to(device), self.target_MT.to(device), self.real_L.to(device)
        )


def view_of(batch: WindowBatch, index: int) -> View:
    """The truth of one window of a batch as the question maker wants it.

    Raises:
        ValueError: Nothing is known about the scene of the window.
    """
    scene = batch.scenes[index]
    if scene is None:
        raise ValueError(f"window {index} of the batch has no scene to ask questions about")
    return View(
        objects=scene.objects,
        depth_NHW=batch.depth_BNHW[index].cpu().numpy(),
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
        RuntimeError: The window allows none of the types.
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
    raise RuntimeError(f"found {len(found)} of {count} questions of {list(tasks)}")


@dataclass(frozen=True)
class AskedWindow:
    """What is asked about a window, ready for the model.

    Args:
        questions: With answers and marks.
        rows: Token ids of question and answer to its end, and where the answer begins, each.
        pictures: Rows of the semantic encoder for the window's frames; None of a blind model.
    """

    questions: tuple[Question, ...]
    rows: tuple[tuple[list[int], int], ...]
    pictures: SemanticRows[Tensor] | None


@dataclass(frozen=True)
class QuestionMaker:
    """The preparer of stages that ask; see `stage.Preparer`.

    Args:
        config: Of the model.
        tokenizer: The model's.
        count: Questions per window.
        tasks: Their types.
        blind: No pictures are wanted.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    count: int
    tasks: tuple[str, ...]
    blind: bool

    def __call__(self, window: WindowBatch, rng: np.random.Generator) -> AskedWindow:
        """Draw the questions about a window from its truth.

        Raises:
            ValueError: Nothing is known about its scene.
        """
        asked = questions_of(view_of(window, 0), self.count, rng, self.tasks)
        prompts = prompt_ids(self.tokenizer, self.config.tokens)
        rows = tuple(token_row(question, self.tokenizer, prompts) for question in asked)
        pictures = None if self.blind else picture_rows(self.config, window)
        return AskedWindow(tuple(asked), rows, pictures)


def picture_rows(config: ModelConfig, batch: WindowBatch) -> SemanticRows[Tensor]:
    """Rows of all frames of all windows, as the semantic encoder takes them."""
    pictures = (batch.rgb_BN3HW * 255).round().byte().flatten(0, 1).permute(0, 2, 3, 1)
    return semantic_rows(config, list(pictures.cpu().numpy()))


def token_row(
    question: Question, tokenizer: Tokenizer, prompts: PromptIds
) -> tuple[list[int], int]:
    """Ids of a question with its answer, and the place where the answer begins."""
    special = prompts.special
    asked = prompts.question(tokenizer.encode(question.text))
    answer = tokenizer.encode(question.answer)
    return [*asked, special.start_of_answer, *answer, special.eos], len(asked)


def text_batch(rows: Sequence[tuple[list[int], int]], prompts: PromptIds) -> TextBatch:
    """Rows as a batch; targets cover the answer and its end only.

    Args:
        rows: From `token_row`.
        prompts: Of the same tokenizer.
    """
    longest = max(len(row) for row, _ in rows) - 1
    inputs = torch.full((len(rows), longest), prompts.special.eos)
    targets = torch.full((len(rows), longest), IGNORED)
    for index, (row, start) in enumerate(rows):
        ids = torch.tensor(row)
        inputs[index, : len(row) - 1] = ids[:-1]
        targets[index, start : len(row) - 1] = ids[start + 1 :]
    lengths = torch.tensor([len(row) - 1 for row, _ in rows])
    real = torch.arange(longest) < lengths[:, None]
    return TextBatch(inputs, targets, real.flatten().nonzero()[:, 0])
