"""The semantic stage (the paper's CE-only variant): questions about windows, geometry frozen.

A window is encoded once and asked several questions. The sequence is the one of a chat at
inference: system text, geometric tokens of all frames, semantic images, question, answer; the
loss is the cross-entropy of the answer's tokens and its end.

Shape letters: B windows, N frames, Q questions per window, T text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from g2vlm_model.cache import GrowingCache
from g2vlm_model.model import G2VLM
from g2vlm_model.preprocess import semantic_rows
from g2vlm_model.tokenizer import PromptIds, Tokenizer, prompt_ids

from .batch import WindowBatch, pixels_of
from .geometry_stage import StageLoss
from .synthetic import make_room
from .synthetic.questions import TASKS, Question, View, ask

__all__ = ["SemanticStage", "TextBatch", "questions_of", "text_batch"]

_TRIES = 40
_IGNORED = -100


@dataclass(frozen=True)
class TextBatch:
    """Questions and answers of B windows, Q each, padded at the end.

    Args:
        input_MT: (B * Q, T) int64 ids that are fed.
        target_MT: (B * Q, T) int64 ids to predict, -100 where nothing is asked.
    """

    input_MT: Tensor
    target_MT: Tensor


def view_of(batch: WindowBatch, index: int) -> View:
    """The truth of one window of a batch as the question maker wants it."""
    return View(
        room=make_room(int(batch.room_seed_B[index])),
        depth_NHW=batch.depth_BNHW[index].numpy(),
        object_id_NHW=batch.object_id_BNHW[index].numpy(),
        T_world_cam_N44=batch.T_world_cam_BN44[index].double().numpy(),
        K_33=batch.K_B33[index].double().numpy(),
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
        question = ask(view, tasks[int(rng.integers(len(tasks)))], rng)
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
    targets = torch.full((len(rows), longest), _IGNORED)
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids = torch.tensor(row)
        inputs[index, : len(row) - 1] = ids[:-1]
        targets[index, start : len(row) - 1] = ids[start + 1 :]
    return TextBatch(inputs, targets)


class SemanticStage(nn.Module):
    """The model with what it takes to ask it.

    Args:
        model: Geometric half frozen.
        tokenizer: The model's.
        questions: Q.
        blind: Leave out geometry and images (the question-only baseline).
    """

    def __init__(
        self, model: G2VLM, tokenizer: Tokenizer, questions: int, blind: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.prompts = prompt_ids(tokenizer, model.config.tokens)
        self.questions = questions
        self.blind = blind

    def forward(self, batch: WindowBatch, rng: np.random.Generator) -> StageLoss:
        """Ask Q questions about each window and return the mean cross-entropy."""
        asked = [
            question
            for index in range(len(batch.room_seed_B))
            for question in questions_of(view_of(batch, index), self.questions, rng)
        ]
        text = text_batch(asked, self.tokenizer, self.prompts)
        cache = self.prefix(batch).repeat(self.questions)
        logits_MTV = self.model.semantic_logits(text.input_MT, cache)
        loss = F.cross_entropy(
            logits_MTV.flatten(0, 1), text.target_MT.flatten(), ignore_index=_IGNORED
        )
        counted = text.target_MT != _IGNORED
        right = ((logits_MTV.argmax(-1) == text.target_MT) | ~counted).all(dim=1)
        frames = batch.depth_BNHW.shape[0] * batch.depth_BNHW.shape[1]
        report = {"loss": float(loss.detach()), "right": float(right.float().mean())}
        return StageLoss(loss, frames, report)

    def prefix(self, batch: WindowBatch) -> GrowingCache:
        """Everything ahead of the question: system text, geometry, semantic images."""
        model = self.model
        windows = len(batch.room_seed_B)
        cache = GrowingCache()
        with torch.no_grad():
            system = torch.tensor([self.prompts.system]).expand(windows, -1)
            model.prefill_text(system, cache)
            if self.blind:
                return cache
            patch = model.config.patch_size
            grid = (batch.grid[0] // patch, batch.grid[1] // patch)
            tokens = model.encode_geometry(pixels_of(batch.rgb_BN3HW))
            model.geometry_pass(tokens, grid, cache=cache)
        pictures = (batch.rgb_BN3HW * 255).round().byte().flatten(0, 1).permute(0, 2, 3, 1)
        rows = semantic_rows(model.config, list(pictures.numpy()))
        rows_BNRC = rows.rows_NRC.unflatten(0, batch.depth_BNHW.shape[:2])
        tokens_BNSD = model.encode_semantic(rows_BNRC, rows.grid_hw)
        model.prefill_images(tokens_BNSD, rows.merged_hw, cache)
        return cache

    @torch.no_grad()
    def answer(self, cache: GrowingCache, question: str, max_tokens: int = 12) -> str:
        """Greedy answer to a question about one window."""
        special = self.prompts.special
        own = cache.copy()
        asked = self.prompts.question(self.tokenizer.encode(question))
        self.model.prefill_text(torch.tensor([asked]), own)
        token, said = special.start_of_answer, []
        for _ in range(max_tokens):
            logits_1V = self.model.decode_step(torch.tensor([[token]]), own)
            token = int(logits_1V.argmax())
            if token == special.eos:
                break
            said.append(token)
        return self.tokenizer.decode(said)
