"""Grounding of words: attention of the semantic expert to what a word is about.

A small language model that learns from answers alone stays at the most frequent answer for a
long time. The rooms know which patches every word of a question means, so two heads per layer
are told where to look: one at the geometric tokens, one at the semantic ones. It is a loss on
attention that exists already; nothing is added to the model.

Shape letters: M sequences, T text tokens, K keys, A heads, G key/value heads, C head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from g2vlm_model.attention import attend_causal

from .synthetic.questions import Ground, View

__all__ = ["GroundingRecorder", "KeyLayout", "PatchMasks", "grounding_loss", "patch_masks"]

GEOMETRIC_HEAD, SEMANTIC_HEAD = 0, 1
_MIN_SHARE = 0.15  # of a patch that a thing must cover, or of the best patch's cover


@dataclass(frozen=True)
class KeyLayout:
    """Where the tokens of the frames stand among the keys.

    Args:
        geometric_start: Key of the first frame's start mark.
        geometric_hw: Rows and columns of geometric patches.
        semantic_start: Key of the first semantic image's start mark.
        semantic_hw: Rows and columns of semantic tokens.
        frames: Frames of the window.
    """

    geometric_start: int
    geometric_hw: tuple[int, int]
    semantic_start: int
    semantic_hw: tuple[int, int]
    frames: int

    def keys(self, head: int) -> tuple[int, tuple[int, int]]:
        """First key and grid of the tokens that a supervised head looks at."""
        if head == GEOMETRIC_HEAD:
            return self.geometric_start, self.geometric_hw
        return self.semantic_start, self.semantic_hw


class GroundingRecorder:
    """Text attention that keeps the supervised heads' logits while it attends.

    Args:
        rows, tokens: Which query tokens (row of the batch, place in it) are supervised.
        first_layer: Earlier layers are only attended.
    """

    def __init__(self, rows: Tensor, tokens: Tensor, first_layer: int) -> None:
        self.rows, self.tokens = rows, tokens
        self.first_layer = first_layer
        self.layer = 0
        self.logits: list[Tensor] = []

    def __call__(self, q_MTAC: Tensor, k_MGKC: Tensor, v_MGKC: Tensor) -> Tensor:
        """Attend causally; see `g2vlm_model.attention.attend_causal`."""
        if self.layer >= self.first_layer and len(self.rows):
            group = q_MTAC.shape[2] // k_MGKC.shape[1]
            heads = torch.tensor((GEOMETRIC_HEAD, SEMANTIC_HEAD))
            q_S2C = q_MTAC[self.rows, self.tokens][:, heads]
            k_M2KC = k_MGKC[:, heads // group]
            logits_S2K = torch.einsum("sac,sakc->sak", q_S2C, k_M2KC[self.rows])
            future = k_MGKC.shape[2] - q_MTAC.shape[1] + self.tokens[:, None] + 1
            hidden_SK = torch.arange(k_MGKC.shape[2]) >= future
            scaled = logits_S2K / q_MTAC.shape[-1] ** 0.5
            self.logits.append(scaled.masked_fill(hidden_SK[:, None], float("-inf")))
        self.layer += 1
        return attend_causal(q_MTAC, k_MGKC, v_MGKC)


@dataclass(frozen=True)
class PatchMasks:
    """Which tokens of every frame a ground means, per supervised head: (N, rows, columns) bool."""

    by_head: tuple[Tensor, Tensor]


def patch_masks(view: View, ground: Ground, layout: KeyLayout) -> PatchMasks:
    """Tokens that a ground means; a thing means those that it covers enough."""
    return PatchMasks(
        (
            _mask(view, ground, layout.geometric_hw),
            _mask(view, ground, layout.semantic_hw),
        )
    )


def _mask(view: View, ground: Ground, grid: tuple[int, int]) -> Tensor:
    ids = torch.from_numpy(view.object_id_NHW)
    frames, height, width = ids.shape
    meant = torch.zeros(frames, *grid, dtype=torch.bool)
    chosen = slice(None) if ground.frame < 0 else slice(ground.frame, ground.frame + 1)
    if ground.pixel is not None:
        row, column = ground.pixel
        meant[chosen, row * grid[0] // height, column * grid[1] // width] = True
    elif ground.objects:
        inside = torch.isin(ids, torch.tensor(ground.objects, dtype=ids.dtype))
        cover = F.adaptive_avg_pool2d(inside.float()[:, None], grid)[:, 0]
        best = cover.flatten(1).amax(1).clamp(min=1e-6)[:, None, None]
        enough = (cover >= _MIN_SHARE) | (cover >= best)
        meant[chosen] = (enough & (cover > 0))[chosen]
    else:
        meant[chosen] = True
    return meant


def grounding_loss(
    recorder: GroundingRecorder, masks: Sequence[PatchMasks], layout: KeyLayout
) -> Tensor:
    """Mean over layers, heads and words of -log of the attention on the tokens that are meant."""
    terms = []
    for logits_S2K in recorder.logits:
        log_weight_S2K = logits_S2K.log_softmax(dim=-1)
        for head in (GEOMETRIC_HEAD, SEMANTIC_HEAD):
            start, (rows, columns) = layout.keys(head)
            block = rows * columns + 2
            span = log_weight_S2K[:, head, start : start + layout.frames * block]
            patches = span.unflatten(1, (layout.frames, block))[:, :, 1:-1].flatten(1)
            meant = torch.stack([mask.by_head[head] for mask in masks]).flatten(1)
            mass = patches.masked_fill(~meant, float("-inf")).logsumexp(dim=1)
            terms.append(-mass[meant.any(dim=1)].mean())
    return torch.stack(terms).mean()
