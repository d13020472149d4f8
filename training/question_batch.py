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

from g2vlm_model.tokenizer import PromptIds, Tokenizer

from .batch import WindowBatch
from .synthetic.questions import TASKS, Question, View, ask

__all__ = ["IGNORED", "TextBatch", "questions_of", "text_batch", "view_of"]

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


def text_batch(
    questions: Sequence[Question], tokenizer: Tokenizer, prompts: PromptIds
) -> TextBatch:
    """Ids of questions with their answers; targets cover the answer and its end only."""
    rows, starts = [], []
    special = prompts.special
    for question in questions:
        asked = prompts.question(tokenizer.encode(question.text))
        answer = tokenizer.encode(question.answer)
        rows.append([*asked, special.start_of_answer, *answer, special.eos])
        starts.append(len(asked))
    longest = max(len(row) for row in rows) - 1
    inputs = torch.full((len(rows), longest), special.eos)
    targets = torch.full((len(rows), longest), IGNORED)
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids = torch.tensor(row)
        inputs[index, : len(row) - 1] = ids[:-1]
        targets[index, start : len(row) - 1] = ids[start + 1 :]
    lengths = torch.tensor([len(row) - 1 for row in rows])
    real = torch.arange(longest) < lengths[:, None]
    return TextBatch(inputs, targets, real.flatten().nonzero()[:, 0])
