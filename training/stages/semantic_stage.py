# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The semantic stage (the paper's CE-only variant): questions about windows, geometry frozen.

A window is encoded once and asked several questions. The sequence is the one of a chat at
inference: system text, geometric tokens of all frames, semantic images, question, answer; the
loss is the cross-entropy of the answer's tokens and its end. With `reason` what the geometric
expert says stands ahead of the answer (`g2vlm_model.reasoning`), as its own words and not the
truth. A conversation of a language data set is a window with one question, of whose scene nothing
is known.

Shape letters: B windows, N frames, M questions (the same number per window), T text tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from g2vlm_model.cache import GrowingCache
from g2vlm_model.extras.named_features import NamedFeatures, reference_features
from g2vlm_model.extras.references import find_references
from g2vlm_model.generate import read_frames
from g2vlm_model.model import G2VLM
from g2vlm_model.reasoning import geometry_in_words
from g2vlm_model.tokenizer import Tokenizer, prompt_ids

from ..datasets.batch import WindowBatch, pixels_of
from ..run.distribution import several_processes, shared_mean
from ..run.precision import mixed_precision
from ..synthetic.questions import TASKS, Ground, Question, View
from ..synthetic.questions.words import NAMES
from .grounding import KeyLayout, QuestionAttention, Watched, grounding_loss, token_masks
from .question_batch import (
    IGNORED,
    AskedWindow,
    QuestionMaker,
    TextBatch,
    picture_rows,
    text_batch,
    view_of,
)
from .question_pass import (
    WindowPrefix,
    answer_loss,
    black_picture,
    heads_reading,
    question_hidden,
    system_text,
)
from .stage import Stage, StageLoss
from .token_probe import TokenProbe

__all__ = ["SemanticStage", "WindowPrefix"]

GEOMETRIC_HEAD, SEMANTIC_HEAD = 0, 1


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
        context: Tokens that a conversation may have, pictures included.
        reason: "geometry" puts what the geometric expert says ahead of the answer.
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
        context: int = 16384,
        reason: str = "off",
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.prompts = prompt_ids(tokenizer, model.config.tokens)
        self.questions = questions
        self.tasks = tuple(tasks)
        self.context = context
        self.blind = blind
        self.reason = "off" if blind else reason
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
            self.model.config, self.tokenizer, self.questions, self.tasks, self.blind, self.context
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
        windows: tuple[AskedWindow, ...] = batch.prepared
        known = bool(batch.depth_BNHW.any())  # nothing is of the pictures of a conversation
        views = [view_of(batch, index) for index in range(len(batch.scenes))] if known else []
        asked = [
            (view, question)
            for view, window in zip(views, windows, strict=False)
            for question in window.questions
        ]
        with mixed_precision(self.precision, batch.rgb_BN3HW.device):
            prefix = self.prefix(batch) if prefix is None else prefix
            text = text_batch(
                [
                    row.reasoned(self.reasoning(prefix, number, question, window.sizes_hw))
                    for number, window in enumerate(windows)
                    for question, row in zip(window.questions, window.rows, strict=True)
                ],
                self.prompts,
            ).to(batch.rgb_BN3HW.device)
            counted_MT = text.target_MT != IGNORED
            layouts = self.layouts(batch, prefix)
            watched, masks = self._watched(asked, layouts, text)
            attention = QuestionAttention(prefix.cache, watched)
            named = self._named(windows, prefix, text)
            added_MTD = None if named is None else named.added_MTD
            hidden_LD = question_hidden(self.model, text, attention, added_MTD)
            logits_CV = self.model.logits(hidden_LD[counted_MT.flatten()[text.real_L]]).float()
        loss, report = answer_loss(logits_CV, text, all(window.counts for window in windows))
        loss = loss if prefix.unseen is None else loss + prefix.unseen
        if watched is not None:
            ground = grounding_loss(attention.weights, layouts, masks)
            report["ground"] = float(ground.detach())
            loss = loss + self.grounding * ground
        if self.grounding > 0 and named is not None and known:
            sought = self._sought(asked, named, prefix)
            report["sought"] = float(sought.detach())
            loss = loss + self.grounding * sought
        if self.probe is not None and prefix.tokens_BNSD is not None and known:
            truth = (batch.object_id_BNHW, batch.depth_BNHW, [view.objects for view in views])
            probe, named = self.probe(prefix.tokens_BNSD, prefix.merged_hw, *truth)
            report |= {"probe": float(probe.detach()), "named": named}
            loss = loss + self.probing * probe
        frames = sum(len(window.sizes_hw) for window in windows if window.counts)
        return StageLoss(loss, frames, report)

    def reasoning(
        self,
        prefix: WindowPrefix,
        window: int,
        question: Question,
        sizes_hw: Sequence[tuple[int, int]],
    ) -> tuple[int, ...]:
        """Ids of what the geometric expert says ahead of an answer; none without `reason`.

        Args:
            prefix: Of the windows.
            window: Which of them.
            question: With its marks.
            sizes_hw: Of the pictures that the marks count in.
        """
        reading = prefix.reading
        if reading is None:
            return ()
        local, T = reading.local_BNHW3[window], reading.T_first_cam_BN44[window]
        words = geometry_in_words(
            local.detach().float().cpu().numpy(), T.detach().float().cpu().numpy(),
            question.marks, sizes_hw,
        )  # fmt: skip
        return self.prompts.reasoning(self.tokenizer.encode(words))

    def words(self, question: Question) -> str:
        """A question as the model reads it: without the lines of marks that it sees drawn."""
        return question.text if self.model.config.mark_style == "text" else question.bare

    def _named(
        self, windows: Sequence[AskedWindow], prefix: WindowPrefix, text: TextBatch
    ) -> NamedFeatures | None:
        """What the questions' references add to their embeddings."""
        asked = [(window, one) for window in windows for one in window.questions]
        starts = [int(start) for start in (text.target_MT != IGNORED).int().argmax(dim=1)]
        return self.named(
            [question for _, question in asked], [window.sizes_hw for window, _ in asked],
            prefix, text.input_MT.shape[1], starts,
        )  # fmt: skip

    def named(
        self,
        questions: Sequence[Question],
        sizes_hw: Sequence[Sequence[tuple[int, int]]],
        prefix: WindowPrefix,
        tokens: int,
        starts: Sequence[int],
    ) -> NamedFeatures | None:
        """What references add to the embeddings of M questions; None where they add nothing.

        Args:
            questions: Window after window, equally many each.
            sizes_hw: Of the frames of each question's window.
            prefix: Of the windows.
            tokens: T.
            starts: Index of the token that starts the first answer to each.
        """
        images = prefix.images
        if images is None or not self.model.config.reference_features:
            return None
        references = [
            find_references(self.tokenizer, question.text, question.marks, sizes)
            for question, sizes in zip(questions, sizes_hw, strict=True)
        ]
        return reference_features(self.model, images, references, starts, tokens)

    def added(
        self,
        questions: Sequence[Question],
        sizes_hw: Sequence[Sequence[tuple[int, int]]],
        prefix: WindowPrefix,
        tokens: int,
        starts: Sequence[int],
    ) -> Tensor | None:
        """`named`, (M, tokens, D) only."""
        named = self.named(questions, sizes_hw, prefix, tokens, starts)
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
        if self.grounding <= 0 or self.model.config.reference_features or not asked:
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

    def prefix(
        self, batch: WindowBatch, side: int = 0, ahead: GrowingCache | None = None
    ) -> WindowPrefix:
        """Everything ahead of the question: system text, geometry, semantic images.

        Of a window without a frame the system text alone. Where marks are drawn into the prepared
        pictures, each question has a prefix of its own.

        Args:
            batch: B windows.
            side: Pixels of a side at which the semantic encoder sees them; 0 is the model's own.
            ahead: The system text, where it is there; it grows.
        """
        model = self.model
        device = batch.rgb_BN3HW.device
        if not batch.rgb_BN3HW.shape[1] and not self.blind:
            return self._in_words(batch)
        with torch.set_grad_enabled(self.geometry_gradients and torch.is_grad_enabled()):
            cache = system_text(model, self.prompts, batch) if ahead is None else ahead
            if self.blind:
                return WindowPrefix(cache)
            patch = model.config.patch_size
            grid = (batch.grid[0] // patch, batch.grid[1] // patch)
            pixels = pixels_of(batch.rgb_BN3HW)
            tokens = model.encode_geometry(pixels)
            hidden = model.geometry_pass(tokens, grid, cache=cache)
            reading = read_frames(model, hidden, grid, pixels)
        told_reading = None if self.reason == "off" else reading
        if self.reason != "off" and (reading is None or not model.config.isolate_geometry):
            told_reading = heads_reading(model, self.prompts, tokens, grid, pixels)
        config = dataclasses.replace(model.config, vit_size=side) if side else model.config
        if batch.prepared and not side:
            ready = [window.pictures for window in batch.prepared]
            rows, frames = ready[0], batch.rgb_BN3HW.shape[1]
            rows_BNRC = torch.cat([one.rows_NRC for one in ready]).unflatten(0, (-1, frames))
            rows_BNRC = rows_BNRC.to(device)
            if (each := len(rows_BNRC) // len(batch.scenes)) > 1:
                cache = cache.repeat(each)
                reading = None if reading is None else reading.repeat(each)
        else:
            rows = picture_rows(config, batch)
            rows_BNRC = rows.rows_NRC.unflatten(0, batch.depth_BNHW.shape[:2]).to(device)
        tokens_BNSD = model.encode_semantic(rows_BNRC, rows.grid_hw)
        images, cameras_BND = None, None
        if reading is not None:
            images = model.fuse_images(tokens_BNSD, rows.merged_hw, reading)
            tokens_BNSD, cameras_BND = images.tokens_BNSD, images.cameras_BND
        model.prefill_images(tokens_BNSD, rows.merged_hw, cache, cameras_BND)
        return WindowPrefix(cache, images, tokens_BNSD, rows.merged_hw, told_reading)

    def _in_words(self, batch: WindowBatch) -> WindowPrefix:
        """The prefix of a window without a frame; for `unseen` see `black_picture`."""
        with torch.set_grad_enabled(self.geometry_gradients and torch.is_grad_enabled()):
            system = system_text(self.model, self.prompts, batch)
        ahead = system.copy() if several_processes() else None
        looked = None if ahead is None else self.prefix(black_picture(batch), ahead=ahead)
        return WindowPrefix(system, unseen=None if looked is None else looked.nothing)

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
        ids = self.prompts.question(self.tokenizer.encode(self.words(question)))
        sizes = [size_hw] * prefix.frames
        ids = (*ids, *self.reasoning(prefix, 0, question, sizes))
        added = self.added([question], [sizes], prefix, len(ids) + 1, [len(ids)])
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
