# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions behind shared windows: what stands ahead of them, their pass, and their answers' loss.

Shape letters: B windows, N frames, S image tokens, M questions, T text tokens, L real tokens of all
questions, C tokens that are predicted, V vocabulary, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from g2vlm_model.cache import GrowingCache
from g2vlm_model.extras.fusion import FusedImages
from g2vlm_model.extras.reading import GeometryReading, read_geometry
from g2vlm_model.generate import reconstruct_prefix
from g2vlm_model.layers import Rotation
from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import PromptIds

from ..datasets.batch import WindowBatch
from ..run.distribution import shared_mean
from .grounding import QuestionAttention
from .question_batch import IGNORED, TextBatch

__all__ = [
    "WindowPrefix",
    "answer_loss",
    "black_picture",
    "heads_reading",
    "question_hidden",
    "system_text",
]


@dataclass(frozen=True)
class WindowPrefix:
    """Everything ahead of the questions of B windows.

    Args:
        cache: System text, geometry, semantic images.
        images: With geometry in them; None where the model has no `geometry_feedback`.
        tokens_BNSD: Image tokens as they went in; None of a blind model, and of words alone.
        merged_hw: Their rows and columns.
        reading: What the geometric expert says, where it is to be told in words.
        unseen: 0, by way of all that looks at pictures, where several processes train and this one
            has words alone: they pass the same modules.
    """

    cache: GrowingCache
    images: FusedImages | None = None
    tokens_BNSD: Tensor | None = None
    merged_hw: tuple[int, int] = (0, 0)
    reading: GeometryReading | None = None
    unseen: Tensor | None = None

    @property
    def nothing(self) -> Tensor:
        """0, by way of everything that was looked at."""
        assert self.tokens_BNSD is not None, "of a blind model"
        total = self.tokens_BNSD.float().sum()
        for keys, values in self.cache.layers.values():
            total = total + keys.float().sum() + values.float().sum()
        return 0.0 * total

    @property
    def frames(self) -> int:
        """Frames of a window whose geometry is known here."""
        if self.images is not None:
            return int(self.images.cameras_BND.shape[1])
        return 0 if self.reading is None else int(self.reading.local_BNHW3.shape[1])


def system_text(model: G2VLM, prompts: PromptIds, batch: WindowBatch) -> GrowingCache:
    """The text ahead of everything: the model's own, or that of the windows' conversation."""
    cache = GrowingCache()
    told = batch.prepared[0].system if batch.prepared else ()
    ids_1T = torch.tensor([told or prompts.system], device=batch.rgb_BN3HW.device)
    model.prefill_text(ids_1T.expand(len(batch.scenes), -1), cache)
    return cache


def black_picture(batch: WindowBatch) -> WindowBatch:
    """Windows with a black picture each, in the place of ones without a frame.

    Weights that are sharded are gathered by all processes together: one that has words alone has
    to pass what the others pass, who may have pictures.
    """
    windows, size_hw = len(batch.scenes), batch.grid
    return replace(
        batch,
        rgb_BN3HW=batch.rgb_BN3HW.new_zeros(windows, 1, 3, *size_hw),
        depth_BNHW=batch.depth_BNHW.new_zeros(windows, 1, *size_hw),
        prepared=(),
    )


def heads_reading(
    model: G2VLM,
    prompts: PromptIds,
    tokens_BNPD: Tensor,
    grid_hw: tuple[int, int],
    pixels_BN3HW: Tensor,
) -> GeometryReading:
    """What the heads say behind the reconstruct prompt, to be put into words; without a gradient.

    So a runtime's geometry is made too, which it puts into words when it is asked.
    """
    with torch.no_grad():
        cache = reconstruct_prefix(model, prompts, len(tokens_BNPD))
        hidden = model.geometry_pass(tokens_BNPD, grid_hw, cache=cache)
        said = model.decode_geometry(hidden.hidden_BNPD, grid_hw, pixels_BN3HW=pixels_BN3HW)
        return read_geometry(hidden.hidden_BNPD, grid_hw, said)


def question_hidden(
    model: G2VLM, text: TextBatch, attention: QuestionAttention, added_MTD: Tensor | None
) -> Tensor:
    """`G2VLM.prefill_text` behind shared windows; (L, D) of the real tokens only.

    Layers see the real tokens of all questions in one row; the padding exists in attention
    alone.

    Args:
        model: The model.
        text: The questions.
        attention: Of the windows.
        added_MTD: Added to the embeddings.
    """
    trunk = model.trunk
    ids_MT, real_L = text.input_MT, text.real_L
    x_LD = trunk.embed_tokens(ids_MT.flatten()[real_L])
    if added_MTD is not None:
        x_LD = x_LD + added_MTD.flatten(0, 1)[real_L]
    table = model.rope.text(attention.position, ids_MT.shape[1], x_LD.device)
    place_L = real_L % ids_MT.shape[1]
    rope = Rotation(table.cos[place_L], table.sin[place_L])

    def padded(x_LHC: Tensor) -> Tensor:
        flat = x_LHC.new_zeros(ids_MT.numel(), *x_LHC.shape[1:])
        whole: Tensor = flat.index_copy(0, real_L, x_LHC).unflatten(0, tuple(ids_MT.shape))
        return whole

    def attend(q_1LAC: Tensor, k_1GLC: Tensor, v_1GLC: Tensor) -> Tensor:
        k_MTGC, v_MTGC = (padded(x[0].transpose(0, 1)) for x in (k_1GLC, v_1GLC))
        out_MTE = attention.attend(
            padded(q_1LAC[0]), k_MTGC.transpose(1, 2), v_MTGC.transpose(1, 2)
        )
        return out_MTE.flatten(0, 1)[real_L][None]

    hidden_1LD = trunk.semantic_pass(x_LD[None], rope, attention, attend)
    return hidden_1LD[0]


def answer_loss(
    logits_CV: Tensor, text: TextBatch, counts: bool
) -> tuple[Tensor, dict[str, float]]:
    """Mean over answers of the mean cross-entropy of their tokens, and what to report.

    Args:
        logits_CV: Of the tokens that are predicted, in the order of the flattened batch.
        text: The batch.
        counts: Whether it has a say in the mean; else the loss is 0 and hangs on the weights.
    """
    counted_MT = text.target_MT != IGNORED
    target_C, answer_C = text.target_MT[counted_MT], text.answer_MT[counted_MT]
    surprise_C = F.cross_entropy(logits_CV, target_C, reduction="none")
    each_C = torch.bincount(answer_C, minlength=text.answers)[answer_C]
    total = (surprise_C / each_C).sum()
    if not counts:
        return shared_mean(0 * total, 0), {"loss": 0.0}
    loss = shared_mean(total, text.answers)
    wrong = torch.bincount(answer_C, (logits_CV.argmax(-1) != target_C).double(), text.answers)
    return loss, {
        "loss": float(loss.detach()),
        "right": float((wrong == 0).double().mean()),
    }
