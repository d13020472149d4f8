# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Greedy answers to all questions about a window at once.

Shape letters: M questions, T text tokens, D width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from ..datasets.batch import WindowBatch
from ..stages.grounding import QuestionAttention
from ..stages.semantic_stage import SemanticStage, WindowPrefix
from ..synthetic.questions import Question

__all__ = ["MAX_ANSWER_TOKENS", "answers_about", "greedy_answers"]

MAX_ANSWER_TOKENS = 28  # a view change has about 22


@torch.no_grad()
def answers_about(
    stage: SemanticStage, batch: WindowBatch, questions: Sequence[Question]
) -> list[str]:
    """Answer questions about a window that is not encoded yet.

    Where marks are drawn, the pictures of each question are its own.

    Args:
        stage: Model in evaluation mode.
        batch: One window.
        questions: With their marks.
    """
    batch = batch.to(stage.model.device)
    if stage.model.config.mark_style == "text" or stage.blind:
        return greedy_answers(stage, stage.prefix(batch), questions, batch.grid)
    answers = []
    for question in questions:
        shown = dataclasses.replace(batch, prepared=(stage.preparer.of(batch, [question]),))
        answers += greedy_answers(stage, stage.prefix(shown), [question], batch.grid)
    return answers


@torch.no_grad()
def greedy_answers(
    stage: SemanticStage,
    prefix: WindowPrefix,
    questions: Sequence[Question],
    size_hw: tuple[int, int],
    max_tokens: int = MAX_ANSWER_TOKENS,
) -> list[str]:
    """Answer questions about one window, each as `SemanticStage.answer` does alone.

    All questions share the window's keys. Each step runs the whole texts of those that have not
    ended, which is cheap because they are short and most end after three tokens.

    Args:
        stage: Model in evaluation mode.
        prefix: Of one window.
        questions: With their marks.
        size_hw: Of the pictures that the marks count in.
        max_tokens: Of an answer, at most.
    """
    special = stage.prompts.special
    sizes = [size_hw] * prefix.frames
    texts = [
        [
            *stage.prompts.question(stage.tokenizer.encode(stage.words(q))),
            *stage.reasoning(prefix, 0, q, sizes),
            special.start_of_answer,
        ]
        for q in questions
    ]
    starts = [len(text) for text in texts]
    left = list(range(len(questions)))
    for _ in range(max_tokens):
        if not left:
            break
        tokens = _next_tokens(
            stage, prefix, [questions[m] for m in left], [texts[m] for m in left],
            [starts[m] - 1 for m in left], sizes,
        )  # fmt: skip
        for m, token in zip(left, tokens, strict=True):
            texts[m].append(token)
        left = [m for m in left if texts[m][-1] != special.eos]
    said = [text[start:] for text, start in zip(texts, starts, strict=True)]
    return [
        stage.tokenizer.decode([token for token in ids if token != special.eos]) for ids in said
    ]


def _next_tokens(
    stage: SemanticStage,
    prefix: WindowPrefix,
    questions: Sequence[Question],
    texts: Sequence[Sequence[int]],
    starts: Sequence[int],
    sizes_hw: Sequence[tuple[int, int]],
) -> list[int]:
    """The likeliest token behind each text."""
    model = stage.model
    length = max(len(text) for text in texts)
    ids_MT = torch.full((len(texts), length), stage.prompts.special.eos)
    for row, text in zip(ids_MT, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    ids_MT = ids_MT.to(model.device)
    added_MTD = stage.added(questions, [sizes_hw] * len(questions), prefix, length, starts)
    x_MTD: Tensor = model.trunk.embed_tokens(ids_MT)
    if added_MTD is not None:
        x_MTD = x_MTD + added_MTD
    attention = QuestionAttention(prefix.cache)
    rope = model.rope.text(attention.position, length, x_MTD.device)
    hidden_MTD = model.trunk.semantic_pass(x_MTD, rope, attention, attention.attend)
    last = torch.tensor([len(text) - 1 for text in texts], device=x_MTD.device)
    logits_MV = model.logits(hidden_MTD[torch.arange(len(texts), device=x_MTD.device), last])
    return logits_MV.argmax(dim=-1).tolist()
