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
from .distribution import shared_mean
from .geometry_stage import StageLoss
from .grounding import (
    GroundingRecorder,
    KeyLayout,
    PatchMasks,
    grounding_loss,
    patch_masks,
)
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
    """The truth of one window of a batch as the question maker wants it.

    Raises:
        ValueError: Nothing is known about the scene of the window.
    """
    scene = batch.scenes[index]
    if scene is None:
        raise ValueError(f"window {index} of the batch has no scene to ask questions about")
    return View(
        objects=scene.objects,
        depth_NHW=batch.depth_BNHW[index].numpy(),
        object_id_NHW=batch.object_id_BNHW[index].numpy(),
        T_world_cam_N44=batch.T_world_cam_BN44[index].double().numpy(),
        K_N33=batch.K_BN33[index].double().numpy(),
        room_size=scene.room_size,
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
        grounding: Weight of the grounding loss; 0 learns from answers alone.
    """

    def __init__(
        self,
        model: G2VLM,
        tokenizer: Tokenizer,
        questions: int,
        blind: bool = False,
        grounding: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.prompts = prompt_ids(tokenizer, model.config.tokens)
        self.questions = questions
        self.blind = blind
        self.grounding = 0.0 if blind else grounding

    def forward(self, batch: WindowBatch, rngs: Sequence[np.random.Generator]) -> StageLoss:
        """Ask Q questions about each window and return the mean cross-entropy.

        Args:
            batch: B windows.
            rngs: One per window, so that a window's questions do not hang on the others.
        """
        views = [view_of(batch, index) for index in range(len(batch.scenes))]
        asked = [
            (view, question)
            for view, rng in zip(views, rngs, strict=True)
            for question in questions_of(view, self.questions, rng)
        ]
        text = text_batch([question for _, question in asked], self.tokenizer, self.prompts)
        cache = self.prefix(batch).repeat(self.questions)
        recorder, masks = self._recorder(asked, batch)
        logits_MTV = self._logits(text.input_MT, cache, recorder)
        counted = text.target_MT != _IGNORED
        surprise = F.cross_entropy(
            logits_MTV.flatten(0, 1).float(),
            text.target_MT.flatten(),
            ignore_index=_IGNORED,
            reduction="sum",
        )
        loss = shared_mean(surprise, counted.sum())
        right = ((logits_MTV.argmax(-1) == text.target_MT) | ~counted).all(dim=1)
        frames = batch.depth_BNHW.shape[0] * batch.depth_BNHW.shape[1]
        report = {"loss": float(loss.detach()), "right": float(right.float().mean())}
        if self.grounding > 0:
            ground = grounding_loss(recorder, masks, self._layout(batch))
            report["ground"] = float(ground.detach())
            loss = loss + self.grounding * ground
        return StageLoss(loss, frames, report)

    def _logits(self, ids_MT: Tensor, cache: GrowingCache, recorder: GroundingRecorder) -> Tensor:
        """`G2VLM.semantic_logits` with an attention that is watched."""
        model = self.model
        x_MTD = model.trunk.embed_tokens(ids_MT)
        rope = model.rope.text(cache.position, ids_MT.shape[1], x_MTD.device)
        return model.logits(model.trunk.semantic_pass(x_MTD, rope, cache, recorder))

    def _layout(self, batch: WindowBatch) -> KeyLayout:
        config = self.model.config
        grid = (batch.grid[0] // config.patch_size, batch.grid[1] // config.patch_size)
        side = config.vit_size // config.vit.patch_size // config.vit.spatial_merge_size
        frames = batch.depth_BNHW.shape[1]
        start = len(self.prompts.system)
        images = start + frames * (grid[0] * grid[1] + 2)
        return KeyLayout(start, grid, images, (side, side), frames)

    def _recorder(
        self, asked: Sequence[tuple[View, Question]], batch: WindowBatch
    ) -> tuple[GroundingRecorder, list[PatchMasks]]:
        """Which tokens of which questions are supervised, and with what."""
        rows, tokens, masks = [], [], []
        if self.grounding > 0:
            layout = self._layout(batch)
            for row, (view, question) in enumerate(asked):
                begins = _token_begins(self.tokenizer, question.text)
                for ground in question.grounds:
                    rows.append(row)
                    tokens.append(sum(begin < ground.end for begin in begins) - 1)
                    masks.append(patch_masks(view, ground, layout))
        index = torch.tensor(rows, dtype=torch.int64), torch.tensor(tokens, dtype=torch.int64)
        return GroundingRecorder(*index, first_layer=1), masks

    def prefix(self, batch: WindowBatch) -> GrowingCache:
        """Everything ahead of the question: system text, geometry, semantic images."""
        model = self.model
        windows = len(batch.scenes)
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


def _token_begins(tokenizer: Tokenizer, text: str) -> list[int]:
    """Index of the first character of every token of a text."""
    offsets = tokenizer.backend.encode(text, add_special_tokens=False).offsets
    return [int(begin) for begin, _ in offsets]
