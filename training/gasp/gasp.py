# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""GASP: geometric priors for the language model, from correspondences (arXiv 2605.30231).

Heads on the visual tokens of the language model's layers have to find each point of a frame in
the other frames, and its depth there (eqs. 4 to 9). What the run trains of the model are
low-rank adapters; steps with questions stand between those with geometry, so that it keeps its
words. The heads end with the run: a saved model is the model that it was, with other weights.

Shape letters: B windows, N frames, S visual tokens per frame, D width, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from g2vlm_model.model import G2VLM

from ..config import TrainConfig
from ..datasets.batch import WindowBatch, pixels_of
from ..run.distribution import shared_mean, total_of
from ..run.precision import mixed_precision
from ..stages.geometry_stage import in_share, prompted
from ..stages.semantic_stage import SemanticStage, WindowPrefix
from ..stages.stage import Preparer, Stage, StageLoss
from .gasp_heads import LanguageLayer, LayerTap, PointHead, chosen_layers, language_layers
from .gasp_losses import match_losses, no_sums
from .gasp_options import GaspOptions, LoraOptions
from .gasp_readers import image_tokens, patch_tokens
from .gasp_tracks import Anchors, anchors_of, patch_depths, point_tracks

__all__ = [
    "GaspOptions",
    "GaspStage",
    "GaspSupervision",
    "LoraOptions",
    "VisualTokens",
]

_HEADS = "heads."


@dataclass(frozen=True)
class VisualTokens:
    """What layers said of the frames of B windows.

    Args:
        layers_BNSD: Tokens by number of the layer's head.
        grid_hw: Rows and columns of the S tokens of a frame.
        projections: Queries (B, N, S, A, C) and keys (B, N, S, G, C) of the same layers; none
            where `GaspOptions.queries` is 0.
    """

    layers_BNSD: Mapping[int, Tensor]
    grid_hw: tuple[int, int]
    projections: Sequence[tuple[Tensor, Tensor]] = ()


class GaspSupervision(nn.Module):
    """A head per layer, and the two losses on what the heads say.

    Args:
        layers: Supervised; nothing of them is kept.
        options: Of the losses.
    """

    def __init__(self, layers: Sequence[LanguageLayer], options: GaspOptions) -> None:
        super().__init__()
        self.options = options
        self.heads = nn.ModuleList(PointHead(layer, options.descriptor_width) for layer in layers)

    def forward(self, tokens: VisualTokens, batch: WindowBatch) -> StageLoss:
        """Weighted losses, means over lattices and layers; `empty` without a pair in any window.

        Args:
            tokens: One entry per head.
            batch: The same windows.
        """
        options = self.options
        depths, knowns = patch_depths(batch.depth_BNHW, tokens.grid_hw)
        found = []
        for points in options.grids:
            tracks = point_tracks(batch, points)
            found.append(
                [anchors_of(tracks, window, tokens.grid_hw) for window in range(len(depths))]
            )
        truth = _Truth(found, depths, knowns)
        said = [self.heads[index](x_BNSD) for index, x_BNSD in tokens.layers_BNSD.items()]
        match, depth, right, pairs = truth.means([(x, x) for x in said], options)
        total = options.correspondence * match + options.depth * depth
        report = {"match": match, "depth": depth, "matched": right}
        if tokens.projections:
            units = [unit_descriptors(*layer) for layer in tokens.projections]
            match, depth, right, _ = truth.means(units, options)
            total = total + options.queries * (
                options.correspondence * match + options.depth * depth
            )
            report |= {"query_match": match, "query_depth": depth, "query_matched": right}
        frames = batch.depth_BNHW.shape[0] * batch.depth_BNHW.shape[1]
        if total_of(pairs, batch.depth_BNHW.device) == 0:
            return StageLoss(
                0.0 * total, frames, {}, empty="no point of any frame is seen in another"
            )
        return StageLoss(total, frames, {name: float(x.detach()) for name, x in report.items()})


def unit_descriptors(q_BNSAC: Tensor, k_BNSGC: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys (B, N, S, A * C) of unit length, fp32: their products are eq. 10."""
    repeats = q_BNSAC.shape[3] // k_BNSGC.shape[3]
    k_BNSAC = k_BNSGC.repeat_interleave(repeats, dim=3)
    q_BNSE, k_BNSE = (x.float().flatten(3) for x in (q_BNSAC, k_BNSAC))
    return F.normalize(q_BNSE, dim=-1), F.normalize(k_BNSE, dim=-1)


@dataclass(frozen=True)
class _Truth:
    """Anchors of each lattice and window, and depths of patches by window."""

    anchors: Sequence[Sequence[Anchors]]
    depths: Tensor
    knowns: Tensor

    def means(
        self, descriptors: Sequence[tuple[Tensor, Tensor]], options: GaspOptions
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Match loss, depth loss and share of right matches, and the number of pairs.

        Args:
            descriptors: Of the anchors' patches and of all patches, (B, N, S, E), by layer.
            options: Of the losses.
        """
        means: list[tuple[Tensor, Tensor, Tensor]] = []
        pairs = 0
        for q_BNSE, k_BNSE in descriptors:
            for lattice in self.anchors:
                sums = no_sums(q_BNSE)
                for window, anchors in enumerate(lattice):
                    truth = (anchors, self.depths[window], self.knowns[window])
                    sums = sums + match_losses(q_BNSE[window], k_BNSE[window], *truth, options)
                means.append(
                    (
                        shared_mean(sums.correspondence, sums.pairs),
                        shared_mean(sums.depth, sums.depth_pairs),
                        shared_mean(sums.right, sums.pairs),
                    )
                )
                pairs += sums.pairs
        match, depth, right = (torch.stack(parts).mean() for parts in zip(*means, strict=True))
        return match, depth, right, pairs


def tapped_tokens(
    tap: LayerTap, images: Callable[[Tensor], Tensor]
) -> tuple[dict[int, Tensor], list[tuple[Tensor, Tensor]]]:
    """Tokens by number of the head, and queries and keys where the tap kept them.

    Args:
        tap: After a pass.
        images: (B, N, S, ...) patches of what a layer said (B, L, ...).
    """
    hidden = {head: images(tap.hidden[layer.index]) for head, layer in enumerate(tap.layers)}
    return hidden, tapped_projections(tap, images)


def tapped_projections(
    tap: LayerTap, images: Callable[[Tensor], Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Queries and keys of the patches, by layer; none where the tap did not keep them."""
    kept = [layer.index for layer in tap.layers if layer.index in tap.queries]
    return [(images(tap.queries[index]), images(tap.keys[index])) for index in kept]


class GaspStage(Stage):
    """GASP on G2VLM: adapters are on the model already (`adapt_stage`).

    Args:
        semantic: Asks the questions, and knows the sequence ahead of them.
        layers: Supervised layers of the semantic expert, then those of the geometric one.
        supervision: Its heads, in the same order.
        config: Of the run.
    """

    def __init__(
        self,
        semantic: SemanticStage,
        layers: Sequence[LanguageLayer],
        supervision: GaspSupervision,
        config: TrainConfig,
    ) -> None:
        super().__init__()
        # Registered part by part: each weight has one name, the one that it has in either stage.
        for part in (semantic, supervision):
            for name, module in part.named_children():
                self.add_module(name, module)
        self.config = config
        self._layers = tuple(layers)
        self._parts: tuple[SemanticStage, GaspSupervision] = (semantic, supervision)

    @staticmethod
    def heads_of(model: G2VLM, options: GaspOptions) -> list[LanguageLayer]:
        """The layers that get a head; asked before there are adapters.

        Raises:
            ValueError: The range is not inside of the model.
        """
        layers = chosen_layers(language_layers(model), options.layers)
        if options.geometric_tokens:
            layers += chosen_layers(language_layers(model, "geometric"), options.layers)
        return layers

    @property
    def preparer(self) -> Preparer | None:
        """That of the questions."""
        return self._parts[0].preparer

    def rate_of(self, name: str) -> float:
        """Learning rate of a parameter over that of the run."""
        return self.config.gasp.head_lr if name.startswith(_HEADS) else 1.0

    def kind_of(self, step: int) -> tuple[bool, bool]:
        """Whether a step asks, and whether it matches."""
        options = self.config.gasp
        asks = options.together or not options.matches or in_share(options.language, step)
        return asks, options.matches and (options.together or not asks)

    def forward(self, batch: WindowBatch, step: int) -> StageLoss:
        """Loss of a step: of questions, of correspondences, or of both; see `GaspOptions`."""
        options = self.config.gasp
        asks, matches = self.kind_of(step)
        if not matches:
            return _reported(self._asked(batch))
        if not asks:
            return _reported(self._matched(batch)[0])
        matched, prefix = self._matched(batch)
        asked = self._asked(batch, None if options.side else prefix)
        report = asked.report | matched.report | {"without_pairs": float(bool(matched.empty))}
        return _reported(StageLoss(asked.total + matched.total, asked.frames, report))

    def _asked(self, batch: WindowBatch, prefix: WindowPrefix | None = None) -> StageLoss:
        """Loss of the questions."""
        said: StageLoss = self._parts[0](batch, prefix=prefix)
        report = {f"answers_{name}": value for name, value in said.report.items()}
        return said._replace(report=report)

    def _matched(self, batch: WindowBatch) -> tuple[StageLoss, WindowPrefix]:
        """Loss of the correspondences, and the pass that they were read off."""
        supervision = self._parts[1]
        with mixed_precision(self.config.precision, batch.rgb_BN3HW.device):
            tokens, prefix = self._tokens(batch)
        loss: StageLoss = supervision(tokens[0], batch)
        for more in tokens[1:]:
            loss = _sum(loss, supervision(more, batch))
        return loss, prefix

    def _tokens(self, batch: WindowBatch) -> tuple[list[VisualTokens], WindowPrefix]:
        """Of the semantic images, and of the geometric tokens where they are asked for."""
        semantic = self._parts[0]
        experts = [layer.name.endswith("geometric") for layer in self._layers]
        of_images = [layer for layer, other in zip(self._layers, experts, strict=True) if not other]
        frames = batch.depth_BNHW.shape[1]
        options = self.config.gasp
        with LayerTap(of_images, projections=options.queries > 0) as tap:
            prefix = semantic.prefix(batch, options.side)
        images = tapped_tokens(tap, partial(image_tokens, frames=frames))
        found = [VisualTokens(images[0], prefix.merged_hw, images[1])]
        if any(experts):
            model = semantic.model
            patch = model.config.patch_size
            grid = (batch.grid[0] // patch, batch.grid[1] // patch)
            indices = [layer.index for layer in self._layers if layer.name.endswith("geometric")]
            encoded = model.encode_geometry(pixels_of(batch.rgb_BN3HW))
            with LayerTap(self._layers[len(of_images) :], projections=options.queries > 0) as tap:
                cache = prompted(model, semantic.prompts, len(batch.scenes))
                said = model.geometry_pass(
                    encoded, grid, cache=cache, collect_layers=indices
                ).layers
            heads = range(len(of_images), len(self._layers))
            geometric = {head: said[index] for head, index in zip(heads, indices, strict=True)}
            found.append(
                VisualTokens(
                    geometric, grid, tapped_projections(tap, partial(patch_tokens, frames=frames))
                )
            )
        return found, prefix


def _reported(loss: StageLoss) -> StageLoss:
    return loss._replace(report={"loss": float(loss.total.detach()), **loss.report})


def _sum(one: StageLoss, other: StageLoss) -> StageLoss:
    report = {**one.report, **{f"geometric_{key}": value for key, value in other.report.items()}}
    empty = one.empty and other.empty
    return StageLoss(one.total + other.total, one.frames, report, empty)
