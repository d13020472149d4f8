# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The geometry stage: what one batch costs in loss, and what it reports."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from g2vlm_model.cache import GrowingCache
from g2vlm_model.extras.match import CELLS_PER_SIDE
from g2vlm_model.generate import reconstruct_prefix
from g2vlm_model.model import G2VLM
from g2vlm_model.poses import GeometryTensors
from g2vlm_model.tokenizer import PromptIds

from ..config import TrainConfig
from ..datasets.batch import WindowBatch, pixels_of, world_points
from ..run.distribution import total_of
from ..run.precision import mixed_precision
from .correspondence import CorrespondenceHead, cell_tracks, correspondence_loss
from .losses import HeadOutput, LossParts, geometry_loss, prepare_truth
from .pixel_losses import (
    aligned_log_error,
    confidence_loss,
    gradient_loss,
    invalid_loss,
    log_depth_loss,
)
from .stage import Stage, StageLoss

__all__ = ["GeometryStage", "in_share", "picked_pixels"]

_GOLDEN_RATIO = 0.6180339887


class GeometryStage(Stage):
    """The model's geometric half with the heads that only training needs.

    Args:
        model: What is trained.
        config: Weights of the losses.
        prompts: Of the model's tokenizer: the published pass stands behind the reconstruct prompt.
            None does for models whose patches see patches only (`isolate_geometry`).

    Raises:
        ValueError: No prompts for a model whose patches see the text ahead of them.
    """

    def __init__(self, model: G2VLM, config: TrainConfig, prompts: PromptIds | None = None) -> None:
        super().__init__()
        if prompts is None and not model.config.isolate_geometry:
            raise ValueError("patches of this model see the reconstruct prompt: give its prompts")
        self.model = model
        self.prompts = prompts
        self.config = config
        depth = model.config.text.num_hidden_layers
        extra, width = config.extra, model.config.text.hidden_size
        self.matches = max(extra.correspondence, extra.correspondence_later) > 0
        self.layers = tuple(sorted({depth // 2, depth - 1})) if self.matches else ()
        heads = 1 + len(self.layers) if self.matches else 0
        self.coarse = nn.ModuleList(CorrespondenceHead(width) for _ in range(heads))

    def kind_of(self, step: int) -> tuple[bool, bool]:
        """Whether the pass is frame-causal, and whether the global decoder runs."""
        extra = self.config.extra
        with_global = extra.global_every > 0 and step % extra.global_every == 0
        return in_share(extra.frame_causal, step), with_global

    def forward(self, batch: WindowBatch, step: int) -> StageLoss:
        """Losses of a batch at a step (which decides weights, global decoder and attention)."""
        model, extra = self.model, self.config.extra
        patch = model.config.patch_size
        grid = (batch.grid[0] // patch, batch.grid[1] // patch)
        pixels = pixels_of(batch.rgb_BN3HW)
        causal, with_global = self.kind_of(step)
        with mixed_precision(self.config.precision, pixels.device):
            tokens = model.encode_geometry(pixels)
            cache = prompted(model, self.prompts, len(batch.scenes))
            hidden = model.geometry_pass(
                tokens, grid, cache=cache, collect_layers=self.layers, frame_causal=causal
            )
            geometry = model.decode_geometry(
                hidden.hidden_BNPD, grid, pixels_BN3HW=pixels, with_global=with_global
            )
        picked = picked_pixels(extra.pixel_stride, step)
        parts = self._published(geometry, batch, picked)
        frames = batch.depth_BNHW.shape[0] * batch.depth_BNHW.shape[1]
        left_out = int((~parts.kept_B).sum())
        if left_out:
            batch = batch.without(~parts.kept_B)
        pixel_total, pixel_report = self._pixels(geometry, batch, picked)
        total = parts.total + pixel_total
        mode = "causal_" if causal else ""
        report = {
            f"{mode}points": float(parts.local.detach()),
            f"{mode}rotation": float(parts.rotation.detach()),
            f"{mode}translation": float(parts.translation.detach()),
        }
        if left_out:
            report["windows_left_out"] = float(left_out)
        if with_global:
            report["global"] = float(parts.world.detach())
        if self.matches:
            coarse, fine = self._correspondence(batch, tokens, hidden.layers, grid)
            early = step < extra.correspondence_steps
            weight = 0.5 * (extra.correspondence if early else extra.correspondence_later)
            total = total + weight * (coarse + fine)
            report |= {"coarse": float(coarse.detach()), "fine": float(fine.detach())}
        report = {"loss": float(total.detach()), **report, **pixel_report}
        kept = total_of(len(parts.kept_B) - left_out, total.device)
        empty = (
            "" if kept else f"the loss of every window is no number up to {self.config.loss.clip}"
        )
        return StageLoss(total, frames, report, empty)

    def _published(
        self, geometry: GeometryTensors, batch: WindowBatch, picked: tuple[slice, ...]
    ) -> LossParts:
        """Equation 2 on the picked pixels."""
        options = self.config.loss
        points = world_points(batch.depth_BNHW, batch.T_world_cam_BN44, batch.K_BN33)[picked]
        truth = prepare_truth(
            points, (batch.depth_BNHW > 0)[picked], batch.T_world_cam_BN44, batch.posed_BN,
            bf16_norm=options.bf16_norm,
        )  # fmt: skip
        world = geometry.global_points_BNHW3
        output = HeadOutput(
            geometry.local_points_BNHW3[picked],
            geometry.T_world_cam_BN44,
            None if world is None else world[picked],
        )
        return geometry_loss(output, truth, options, batch.clean_B)

    def _pixels(
        self, geometry: GeometryTensors, batch: WindowBatch, picked: tuple[slice, ...]
    ) -> tuple[Tensor, dict[str, float]]:
        """Log depth, and what the heads say about it where the model has them."""
        options, z_BNHW = self.config.loss, geometry.local_points_BNHW3[picked][..., 2]
        confidence, nothing = geometry.confidence_logits_BNHW1, geometry.invalid_logits_BNHW1
        total, report = z_BNHW.new_zeros(()), dict[str, float]()
        heads = confidence is not None or nothing is not None
        if not (options.log_depth_weight or options.gradient_weight or heads):
            return total, report
        depth_BNHW, invalid = batch.depth_BNHW[picked], batch.invalid_BNHW[picked]
        valid = depth_BNHW > 0
        error_BNHW = aligned_log_error(z_BNHW, depth_BNHW, valid)
        losses = {"log_depth": (options.log_depth_weight, log_depth_loss(error_BNHW, valid))}
        if options.gradient_weight > 0:  # neighbours: of all pixels, not of the picked ones
            known = (batch.depth_BNHW > 0) & batch.clean_B[:, None, None, None]
            slope = gradient_loss(geometry.local_points_BNHW3[..., 2], batch.depth_BNHW, known)
            losses["slope"] = (options.gradient_weight, slope)
        if confidence is not None:
            said = confidence[picked][..., 0]
            loss = confidence_loss(said, error_BNHW, valid, invalid, options.confidence_scale)
            losses["confidence"] = (options.confidence_weight, loss)
        if nothing is not None:
            loss = invalid_loss(nothing[picked][..., 0], valid, invalid)
            losses["invalid"] = (options.invalid_weight, loss)
        for name, (weight, loss) in losses.items():
            total = total + weight * loss
            report[name] = float(loss.detach())
        return total, report

    def _correspondence(
        self,
        batch: WindowBatch,
        tokens: Tensor,
        layers: dict[int, Tensor],
        grid: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Mean coarse loss over the encoder and two layers, and the fine loss."""
        patch = self.model.config.patch_size
        truth = (batch.placed_depth_BNHW, batch.T_world_cam_BN44, batch.K_BN33)
        tracks = cell_tracks(*truth, patch)
        tokens = tokens.float()  # mixed precision ends with the forward pass
        sources = (tokens, *(layers[index].float() for index in self.layers))
        coarse = torch.stack(
            [
                correspondence_loss(head(source), tracks, grid)
                for head, source in zip(self.coarse, sources, strict=True)
            ]
        ).mean()
        match = self.model.match
        if match is None:
            return coarse, coarse.new_zeros(())
        cells = (grid[0] * CELLS_PER_SIDE, grid[1] * CELLS_PER_SIDE)
        fine_tracks = cell_tracks(*truth, patch // CELLS_PER_SIDE)
        return coarse, correspondence_loss(match.descriptors(tokens, grid), fine_tracks, cells)


def prompted(model: G2VLM, prompts: PromptIds | None, windows: int) -> GrowingCache | None:
    """What the geometric pass of so many windows stands behind; None where it would read nothing.

    Args:
        model: The model.
        prompts: Of its tokenizer.
        windows: B.
    """
    if model.config.isolate_geometry:
        return None
    assert prompts is not None, "checked where the stage was made"
    return reconstruct_prefix(model, prompts, windows)


def in_share(share: float, step: int) -> bool:
    """Whether a step is one of a share of them, which are spread evenly over the run."""
    return step * _GOLDEN_RATIO % 1.0 < share


def picked_pixels(stride: int, step: int) -> tuple[slice, slice, slice, slice]:
    """Index of the pixels that a step looks at; stride^2 steps in a row look at all of them."""
    row, column = step % stride, step // stride % stride
    every = slice(None)
    return every, every, slice(row, None, stride), slice(column, None, stride)
