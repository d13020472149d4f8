# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The semantic stage (the paper's CE-only variant): questions about windows, geometry frozen.

A window is encoded once and asked several questions. The sequence is the one of a chat at
inference: system text, geometric tokens of all frames, semantic images, question, answer; the
loss is the cross-entropy of the answer's tokens and its end.

Shape letters: B windows, N frames, M questions (the same number per window), T text tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from g2vlm_model.cache import GrowingCache
from g2vlm_model.extras.fusion import FusedImages
from g2vlm_model.extras.named_features import NamedFeatures, reference_features
from g2vlm_model.extras.references import find_references
from g2vlm_model.generate import read_frames
from g2vlm_model.layers import Rotation
from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import Tokenizer, prompt_ids

from ..datasets.batch import WindowBatch, pixels_of
from ..run.distribution import shared_mean
from ..run.precision import mixed_precision
from ..synthetic.questions import TASKS, Ground, Question, View
from ..synthetic.questions.words import NAMES
from .grounding import KeyLayout, QuestionAttention, Watched, grounding_loss, token_masks
from .question_batch import IGNORED, QuestionMaker, TextBatch, picture_rows, text_batch, view_of
from .stage import Stage, StageLoss
from .token_probe import TokenProbe

__all__ = ["SemanticStage", "WindowPrefix"]

GEOMETRIC_HEAD, SEMANTIC_HEAD = 0, 1


@dataclass(frozen=True)
class WindowPrefix:
    """Everything ahead of the questions of B windows.

    Args:
        cache: System text, geometry, semantic images.
        images: With geometry in them; None where the model has no `geometry_feedback`.
        tokens_BNSD: Image tokens as they went in; None of a blind model.
        merged_hw: Their rows and columns.
    """

    cache: GrowingCache
    images: FusedImages | None = None
    tokens_BNSD: Tensor | None = None
    merged_hw: tuple[int, int] = (0, 0)


class SemanticStage(Stage):
    """The model with what it takes to ask it.

    Args:
        model: Geometric half frozen.
        tokenizer: The model's.
        questions: Per window.
        blind: Leave out geometry and images (the question-only baseline).
        grounding: Weight of the grounding loss; 0 learns from answers alone.
        probing: Weight of the image tokens' auxiliary loss.
        geometry_gradients: Let the answers teach the geometric half (CE + CE, VG + CE).
        precision: Of the forward pass, see `mixed_precision`.
        tasks: Types of the questions that are asked.
    """

    def __init__(
        self,
        model: G2VLM,
        tokenizer: Tokenizer,
        questions: int,
        blind: bool = False,
        grounding: float = 0.0,
        probing: float = 0.0,
        geometry_gradients: bool = False,
        precision: str = "fp32",
        tasks: Sequence[str] = TASKS,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.prompts = prompt_ids(tokenizer, model.config.tokens)
        self.questions = questions
        self.tasks = tuple(tasks)
        self.blind = blind
        self.grounding = 0.0 if blind else grounding
        self.probing = 0.0 if blind else probing
        self.geometry_gradients = geometry_gradients
        self.precision = precision
        width = model.config.text.hidden_size
        self.probe = TokenProbe(width, NAMES) if self.probing > 0 else None

    @property
    def preparer(self) -> QuestionMaker:
        """Draws the questions and lays out what the semantic encoder sees."""
        return QuestionMaker(
            self.model.config, self.tokenizer, self.questions, self.tasks, self.blind
        )

    def forward(
        self, batch: WindowBatch, step: int = 0, prefix: WindowPrefix | None = None
    ) -> StageLoss:
        """Ask questions about each window and return the mean cross-entropy.

        Args:
            batch: B windows, with what `preparer` made of each.
            step: Without a meaning here.
            prefix: Of the same windows, where there is one already.
        """
        views = [view_of(batch, index) for index in range(len(batch.scenes))]
        asked = [
            (view, question)
            for view, window in zip(views, batch.prepared, strict=True)
            for question in window.questions
        ]
        text = text_batch([row for window in batch.prepared for row in window.rows], self.prompts)
        text = text.to(batch.rgb_BN3HW.device)
        counted_MT = text.target_MT != IGNORED
        with mixed_precision(self.precision, batch.rgb_BN3HW.device):
            prefix = self.prefix(batch) if prefix is None else prefix
            layouts = self.layouts(batch, prefix)
            watched, masks = self._watched(asked, layouts, text)
            attention = QuestionAttention(prefix.cache, watched)
            named = self._named(asked, prefix, text)
            added_MTD = None if named is None else named.added_MTD
            hidden_LD = self._hidden(text, attention, added_MTD)
            logits_CV = self.model.logits(hidden_LD[counted_MT.flatten()[text.real_L]]).float()
        target_C = text.target_MT[counted_MT]
        surprise_C = F.cross_entropy(logits_CV, target_C, reduction="none")
        each_C = counted_MT.sum(dim=1, keepdim=True).expand_as(counted_MT)[counted_MT]
        loss = shared_mean((surprise_C / each_C).sum(), len(asked))
        right_MT = torch.ones_like(counted_MT)
        right_MT[counted_MT] = logits_CV.argmax(-1) == target_C
        report = {
            "loss": float(loss.detach()),
            "right": float(right_MT.all(dim=1).float().mean()),
        }
        if watched is not None:
            ground = grounding_loss(attention.weights, layouts, masks)
            report["ground"] = float(ground.detach())
            loss = loss + self.grounding * ground
        if self.grounding > 0 and named is not None:
            sought = self._sought(asked, named, prefix)
            report["sought"] = float(sought.detach())
            loss = loss + self.grounding * sought
        if self.probe is not None and prefix.tokens_BNSD is not None:
            truth = (batch.object_id_BNHW, batch.depth_BNHW, [view.objects for view in views])
            probe, named = self.probe(prefix.tokens_BNSD, prefix.merged_hw, *truth)
            report |= {"probe": float(probe.detach()), "named": named}
            loss = loss + self.probing * probe
        frames = batch.depth_BNHW.shape[0] * batch.depth_BNHW.shape[1]
        return StageLoss(loss, frames, report)

    def _hidden(
        self, text: TextBatch, attention: QuestionAttention, added: Tensor | None
    ) -> Tensor:
        """`G2VLM.prefill_text` behind shared windows; (L, D) of the real tokens only.

        Layers see the real tokens of all questions in one row; the padding exists in attention
        alone.
        """
        trunk = self.model.trunk
        ids_MT, real_L = text.input_MT, text.real_L
        x_LD = trunk.embed_tokens(ids_MT.flatten()[real_L])
        if added is not None:
            x_LD = x_LD + added.flatten(0, 1)[real_L]
        table = self.model.rope.text(attention.position, ids_MT.shape[1], x_LD.device)
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

    def _named(
        self, asked: Sequence[tuple[View, Question]], prefix: WindowPrefix, text: TextBatch
    ) -> NamedFeatures | None:
        """What the questions' references add to their embeddings."""
        sizes = [view.sizes for view, _ in asked]
        questions = [question for _, question in asked]
        return self.named(questions, sizes, prefix, text.input_MT.shape[1])

    def named(
        self,
        questions: Sequence[Question],
        sizes_hw: Sequence[Sequence[tuple[int, int]]],
        prefix: WindowPrefix,
        tokens: int,
    ) -> NamedFeatures | None:
        """What references add to the embeddings of M questions; None where they add nothing.

        Args:
            questions: Window after window, equally many each.
            sizes_hw: Of the frames of each question's window.
            prefix: Of the windows.
            tokens: T.
        """
        images = prefix.images
        if images is None or not self.model.config.reference_features:
            return None
        references = [
            find_references(self.tokenizer, question.text, question.marks, sizes)
            for question, sizes in zip(questions, sizes_hw, strict=True)
        ]
        starts = [
            len(self.prompts.question(self.tokenizer.encode(question.text)))
            for question in questions
        ]
        return reference_features(self.model, images, references, starts, tokens)

    def added(
        self,
        questions: Sequence[Question],
        sizes_hw: Sequence[Sequence[tuple[int, int]]],
        prefix: WindowPrefix,
        tokens: int,
    ) -> Tensor | None:
        """`named`, (M, tokens, D) only."""
        named = self.named(questions, sizes_hw, prefix, tokens)
        return None if named is None else named.added_MTD

    def _sought(
        self, asked: Sequence[tuple[View, Question]], named: NamedFeatures, prefix: WindowPrefix
    ) -> Tensor:
        """Mean of -log of the weight that lies on the thing that a name means."""
        total, count = named.added_MTD.new_zeros(()), 0
        if named.weight_RNS is None:
            return shared_mean(total, count)
        for (row, reference), weight_NS in zip(named.things, named.weight_RNS, strict=True):
            view, question = asked[row]
            for ground in question.grounds:
                if not ground.objects or self._token(question, ground) != reference.token:
                    continue
                mask = token_masks(view, ground, prefix.merged_hw).to(weight_NS.device)
                if bool(mask.any()):
                    total = total - (weight_NS * mask.flatten(1)).sum().clamp(min=1e-6).log()
                    count += 1
        return shared_mean(total, count)

    def _token(self, question: Question, ground: Ground) -> int:
        """Index of the last token of words that mean something."""
        return sum(begin < ground.end for begin in self.tokenizer.begins(question.text)) - 1

    def layouts(self, batch: WindowBatch, prefix: WindowPrefix) -> tuple[KeyLayout, ...]:
        """Keys of the supervised heads: semantic images, and geometry where it stands alone."""
        frames = batch.depth_BNHW.shape[1]
        patch = self.model.config.patch_size
        grid = (batch.grid[0] // patch, batch.grid[1] // patch)
        start = len(self.prompts.system)
        images = start + frames * (grid[0] * grid[1] + 2)
        semantic = KeyLayout(images, prefix.merged_hw, frames, SEMANTIC_HEAD)
        if prefix.images is not None:
            return (semantic,)
        return KeyLayout(start, grid, frames, GEOMETRIC_HEAD), semantic

    def _watched(
        self,
        asked: Sequence[tuple[View, Question]],
        layouts: Sequence[KeyLayout],
        text: TextBatch,
    ) -> tuple[Watched | None, list[Tensor]]:
        """Which tokens of which questions are supervised, and with what; None where none is."""
        if self.grounding <= 0 or self.model.config.reference_features:
            return None, []  # names, marks and frames carry what they name
        device = text.input_MT.device
        rows: list[int] = []
        tokens: list[int] = []
        masks = [[torch.zeros(0, layout.frames, *layout.grid_hw).bool()] for layout in layouts]
        for row, (view, question) in enumerate(asked):
            for ground in question.grounds:
                rows.append(row)
                tokens.append(self._token(question, ground))
                for kept, layout in zip(masks, layouts, strict=True):
                    kept.append(token_masks(view, ground, layout.grid_hw)[None])
        rows_S, tokens_S = (
            torch.tensor(numbers, dtype=torch.int64, device=device) for numbers in (rows, tokens)
        )
        watched = Watched(rows_S, tokens_S, tuple(layout.head for layout in layouts))
        return watched, [torch.cat(kept).to(device) for kept in masks]

    def prefix(self, batch: WindowBatch, side: int = 0) -> WindowPrefix:
        """Everything ahead of the question: system text, geometry, semantic images.

        Args:
            batch: B windows.
            side: Pixels of a side at which the semantic encoder sees them; 0 is the model's own.
        """
        model = self.model
        device = batch.rgb_BN3HW.device
        cache = GrowingCache()
        with torch.set_grad_enabled(self.geometry_gradients and torch.is_grad_enabled()):
            system = torch.tensor([self.prompts.system], device=device)
            model.prefill_text(system.expand(len(batch.scenes), -1), cache)
            if self.blind:
                return WindowPrefix(cache)
            patch = model.config.patch_size
            grid = (batch.grid[0] // patch, batch.grid[1] // patch)
            pixels = pixels_of(batch.rgb_BN3HW)
            hidden = model.geometry_pass(model.encode_geometry(pixels), grid, cache=cache)
            reading = read_frames(model, hidden, grid, pixels)
        config = dataclasses.replace(model.config, vit_size=side) if side else model.config
        if batch.prepared and not side:
            ready = [window.pictures for window in batch.prepared]
            rows, rows_BNRC = ready[0], torch.stack([one.rows_NRC for one in ready]).to(device)
        else:
            rows = picture_rows(config, batch)
            rows_BNRC = rows.rows_NRC.unflatten(0, batch.depth_BNHW.shape[:2]).to(device)
        tokens_BNSD = model.encode_semantic(rows_BNRC, rows.grid_hw)
        images, cameras_BND = None, None
        if reading is not None:
            images = model.fuse_images(tokens_BNSD, rows.merged_hw, reading)
            tokens_BNSD, cameras_BND = images.tokens_BNSD, images.cameras_BND
        model.prefill_images(tokens_BNSD, rows.merged_hw, cache, cameras_BND)
        return WindowPrefix(cache, images, tokens_BNSD, rows.merged_hw)

    @torch.no_grad()
    def answer(
        self,
        prefix: WindowPrefix,
        question: Question,
        size_hw: tuple[int, int],
        max_tokens: int = 24,
    ) -> str:
        """Greedy answer to a question about one window.

        Args:
            prefix: Of the window.
            question: With its marks.
            size_hw: Of the pictures that the marks count in.
            max_tokens: Of the answer, at most.
        """
        special = self.prompts.special
        own = prefix.cache.copy()
        ids = self.prompts.question(self.tokenizer.encode(question.text))
        frames = 0 if prefix.images is None else prefix.images.cameras_BND.shape[1]
        added = self.added([question], [[size_hw] * frames], prefix, len(ids) + 1)
        device = self.model.device
        words, first = (None, None) if added is None else (added[:, :-1], added[:, -1:])
        self.model.prefill_text(torch.tensor([ids], device=device), own, words)
        token, said = special.start_of_answer, []
        for _ in range(max_tokens):
            logits_1V = self.model.decode_step(torch.tensor([[token]], device=device), own, first)
            first = None
            token = int(logits_1V.argmax())
            if token == special.eos:
                break
            said.append(token)
        return self.tokenizer.decode(said)
