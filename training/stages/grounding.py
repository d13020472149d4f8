# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Attention of questions over shared windows, and the grounding of words in it.

A window is encoded once and asked several questions: their keys and values of the window are
shared, not copied. The same attention shows where a word looks. A small language model that
learns from answers alone stays at the most frequent answer for a long time, and the rooms know
which image tokens every word of a question means, so one head per layer (two, where the semantic
expert has no geometry of its own) is told where to look. It is a loss on attention that exists
already; nothing is added to the model.

Shape letters: B windows, M questions, T text tokens, K keys of a window, A heads, G key/value
heads, R heads per key head, C head width, S supervised tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from g2vlm_model.cache import GrowingCache

from ..run.distribution import shared_mean
from ..synthetic.questions import Ground, View

__all__ = ["KeyLayout", "QuestionAttention", "Watched", "grounding_loss", "token_masks"]

_MIN_SHARE = 0.15  # of a patch that a thing must cover, or of the best patch's cover
_SMALLEST = 1e-8  # of an attention whose logarithm is taken


@dataclass(frozen=True)
class KeyLayout:
    """Where the tokens of the frames stand among the keys of a window.

    Args:
        start: Key of the first frame's start mark.
        grid_hw: Rows and columns of a frame's tokens.
        frames: Frames of the window.
        head: The head that is told to look at them.
    """

    start: int
    grid_hw: tuple[int, int]
    frames: int
    head: int

    def tokens(self, weight_SK: Tensor) -> Tensor:
        """(S, N, rows, columns) of attention (S, K), marks of the frames left out."""
        block = self.grid_hw[0] * self.grid_hw[1] + 2
        span = weight_SK[:, self.start : self.start + self.frames * block]
        patches = span.unflatten(1, (self.frames, block))[:, :, 1:-1]
        tokens_SNRC: Tensor = patches.unflatten(2, self.grid_hw)
        return tokens_SNRC


@dataclass(frozen=True)
class Watched:
    """Tokens whose attention is kept.

    Args:
        rows_S, tokens_S: Question and place in it, int64.
        heads: Heads that are kept.
        first_layer: Earlier layers are only attended.
    """

    rows_S: Tensor
    tokens_S: Tensor
    heads: tuple[int, ...]
    first_layer: int = 1


class QuestionAttention:
    """Cache and attention of questions behind shared windows (a `cache.AttentionCache`).

    Args:
        prefix: Keys and values of B windows.
        watched: None keeps no attention.

    Attributes:
        weights: Attention (S, heads, K) of the watched tokens on the window's keys, per layer.
    """

    def __init__(self, prefix: GrowingCache, watched: Watched | None = None) -> None:
        self._prefix, self._watched = prefix, watched
        self._layer = 0
        self.length, self.position = prefix.length, prefix.position
        self.weights: list[Tensor] = []

    def append(self, layer: int, k_MGTC: Tensor, v_MGTC: Tensor) -> tuple[Tensor, Tensor]:
        """Remember the layer; the questions' own keys and values are all that is handed on."""
        self._layer = layer
        return k_MGTC, v_MGTC

    def advance(self, tokens: int, position: int) -> None:
        """End the pass."""
        self.length += tokens
        self.position = position

    def attend(self, q_MTAC: Tensor, k_MGTC: Tensor, v_MGTC: Tensor) -> Tensor:
        """Let each token see its window and its question up to itself; (M, T, A * C)."""
        k_BGKC, v_BGKC = self._prefix.layers[self._layer]
        (batch, groups, keys, width), (questions, tokens, heads, _) = k_BGKC.shape, q_MTAC.shape
        each, repeats = questions // batch, heads // groups

        def of_window(x: Tensor) -> Tensor:  # (M, G, ...) -> (B, G, M / B, ...)
            split: Tensor = x.unflatten(0, (batch, each))
            return split.transpose(1, 2)

        q_MGLC = q_MTAC.unflatten(2, (groups, repeats)).transpose(1, 2).flatten(2, 3)
        q_BGELC = of_window(q_MGLC) * width**-0.5
        shared = (q_BGELC.flatten(2, 3) @ k_BGKC.mT).unflatten(2, (each, -1))
        own = q_BGELC @ of_window(k_MGTC).mT
        token_L = torch.arange(tokens * repeats, device=own.device) // repeats
        future_LT = torch.arange(tokens, device=own.device) > token_L[:, None]
        own = own.masked_fill(future_LT, float("-inf"))
        weight = torch.cat((shared, own), dim=-1).softmax(dim=-1)
        shared, own = weight.split((keys, tokens), dim=-1)
        self._keep(shared, repeats)
        out = own @ of_window(v_MGTC)
        out = out + (shared.flatten(2, 3) @ v_BGKC).unflatten(2, (each, -1))
        out_MGLC = out.transpose(1, 2).flatten(0, 1)
        out_MGTRC: Tensor = out_MGLC.unflatten(2, (tokens, repeats))
        return out_MGTRC.transpose(1, 2).flatten(2)

    def _keep(self, weight_BGELK: Tensor, repeats: int) -> None:
        watched = self._watched
        if watched is None or self._layer < watched.first_layer:
            return
        each = weight_BGELK.shape[2]
        window_S, question_S = watched.rows_S // each, watched.rows_S % each
        kept = [
            weight_BGELK[
                window_S, head // repeats, question_S, watched.tokens_S * repeats + head % repeats
            ]
            for head in watched.heads
        ]
        self.weights.append(torch.stack(kept, dim=1))


def token_masks(view: View, ground: Ground, grid_hw: tuple[int, int]) -> Tensor:
    """(N, rows, columns) bool: tokens that words mean; a thing means those it covers enough."""
    ids = torch.from_numpy(view.object_id_NHW)
    frames, height, width = ids.shape
    meant = torch.zeros(frames, *grid_hw, dtype=torch.bool)
    chosen = slice(None) if ground.frame < 0 else slice(ground.frame, ground.frame + 1)
    if ground.pixel is not None:
        row, column = ground.pixel
        meant[chosen, row * grid_hw[0] // height, column * grid_hw[1] // width] = True
    elif ground.objects:
        inside = torch.isin(ids, torch.tensor(ground.objects, dtype=ids.dtype))
        cover = F.adaptive_avg_pool2d(inside.float()[:, None], grid_hw)[:, 0]
        best = cover.flatten(1).amax(1).clamp(min=1e-6)[:, None, None]
        enough = (cover >= _MIN_SHARE) | (cover >= best)
        meant[chosen] = (enough & (cover > 0))[chosen]
    else:
        meant[chosen] = True
    return meant


def grounding_loss(
    weights: Sequence[Tensor], layouts: Sequence[KeyLayout], masks: Sequence[Tensor]
) -> Tensor:
    """Mean over layers, heads and words of -log of the attention on the tokens that are meant.

    Args:
        weights: (S, heads, K) of each layer, from `QuestionAttention`.
        layouts: One per head.
        masks: One (S, N, rows, columns) bool per head.
    """
    sums, counts = [], []
    for weight_SHK in weights:
        for head, (layout, meant) in enumerate(zip(layouts, masks, strict=True)):
            mass_S = (layout.tokens(weight_SHK[:, head].float()) * meant).flatten(1).sum(dim=1)
            known_S = meant.flatten(1).any(dim=1)
            sums.append(-mass_S[known_S].clamp(min=_SMALLEST).log().sum())
            counts.append(known_S.sum())
    return shared_mean(torch.stack(sums), torch.stack(counts)).mean()
