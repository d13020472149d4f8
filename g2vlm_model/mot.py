# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Mixture of transformers: two experts with their own weights, one attention over all tokens.

Patches of the geometric encoder take the geometric expert; text, semantic patches and the
marks around frames take the semantic one (paper section 3.1). The two kinds of tokens are
kept as two tensors through all layers, so that routing costs nothing; only keys and values
are put into the order of the sequence. What a pass lets its tokens see is an argument of the
pass: `attend_causal` for text, `attend_frame_causal` for semantic frames, `attend_all_frames`
for the geometric pass.

Shape letters: B batch, L tokens (queries), K keys (the cache's, then the pass's own), N frames,
P patches per frame, D width, A query heads, G key/value heads, C head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cache import AttentionCache
from .config import ModelConfig, TextConfig
from .layers import (
    RMSNorm,
    Rotation,
    as_residual,
    attend_full,
    by_tokens,
    rotate,
    scaled_residual,
    swiglu,
)
from .sequence import FrameRotations, interleave

__all__ = [
    "Expert",
    "FrameAttention",
    "MixtureLayer",
    "MixtureOfTransformers",
    "Projected",
    "TextAttention",
    "append_frames",
    "attend_all_frames",
    "attend_causal",
    "attend_frame_causal",
]


class Projected(NamedTuple):
    """Queries (B, L, A, C) of some tokens with their keys and values (B, G, L, C)."""

    q_BLAC: Tensor
    k_BGLC: Tensor
    v_BGLC: Tensor


TextAttention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(q_BLAC, k_BGKC, v_BGKC) -> attended (B, L, A * C), all queries in one sequence."""

FrameAttention = Callable[[int, Projected, Projected, int, AttentionCache], tuple[Tensor, Tensor]]
"""(layer, marks, patches, frames, cache) -> what the marks and the patches of all frames attended
to. It appends their keys and values to the cache (`append_frames`)."""


def attend_causal(q_BLAC: Tensor, k_BGKC: Tensor, v_BGKC: Tensor) -> Tensor:
    """Let each query see the prefix, itself and the queries before it."""
    queries, keys = q_BLAC.shape[1], k_BGKC.shape[2]
    if queries == 1:
        return _attend_one(q_BLAC, k_BGKC, v_BGKC)
    mask_LK = torch.ones(queries, keys, dtype=torch.bool, device=q_BLAC.device)
    return attend_full(q_BLAC, k_BGKC, v_BGKC, mask_LK.tril(keys - queries))


def _attend_one(q_B1AC: Tensor, k_BGKC: Tensor, v_BGKC: Tensor) -> Tensor:
    """Attend with one query; the heads that share a key head become rows of one product."""
    batch, _, heads, width = q_B1AC.shape
    groups = k_BGKC.shape[1]
    q_BGRC = q_B1AC.reshape(batch, groups, heads // groups, width)
    out_BGRC = F.scaled_dot_product_attention(q_BGRC, k_BGKC, v_BGKC)
    return out_BGRC.reshape(batch, 1, heads * width)


def attend_frame_causal(
    q_BLAC: Tensor, k_BGKC: Tensor, v_BGKC: Tensor, frames: int, block: int
) -> Tensor:
    """Let each frame see the prefix, itself and the frames before it.

    Args:
        q_BLAC: Queries, an equal number per frame, frame after frame.
        k_BGKC, v_BGKC: The last frames * block keys are the frames' own.
        frames, block: Number of frames, and keys of each.
    """
    prefix = k_BGKC.shape[2] - frames * block
    parts = []
    for frame, q_BPAC in enumerate(q_BLAC.unflatten(1, (frames, -1)).unbind(1)):
        seen = prefix + (frame + 1) * block
        parts.append(attend_full(q_BPAC, k_BGKC[:, :, :seen], v_BGKC[:, :, :seen]))
    return torch.cat(parts, dim=1)


def attend_all_frames(
    layer: int, marks: Projected, patches: Projected, frames: int, cache: AttentionCache
) -> tuple[Tensor, Tensor]:
    """Let all frames see each other, their marks and what the cache holds (published)."""
    k_BGKC, v_BGKC = append_frames(layer, marks, patches, frames, cache)
    return (
        attend_full(marks.q_BLAC, k_BGKC, v_BGKC),
        attend_full(patches.q_BLAC, k_BGKC, v_BGKC),
    )


def append_frames(
    layer: int, marks: Projected, patches: Projected, frames: int, cache: AttentionCache
) -> tuple[Tensor, Tensor]:
    """Append frames to a layer of a cache in the order of the sequence.

    Returns:
        All keys and values of the layer, (B, G, K, C); the last frames * (P + 2) are the frames'.
    """

    def in_order(marks_BGLC: Tensor, patches_BGLC: Tensor) -> Tensor:
        by_frame = (frames, -1)
        return interleave(marks_BGLC.unflatten(2, by_frame), patches_BGLC.unflatten(2, by_frame), 3)

    k_BGLC = in_order(marks.k_BGLC, patches.k_BGLC)
    return cache.append(layer, k_BGLC, in_order(marks.v_BGLC, patches.v_BGLC))


class Expert(nn.Module):
    """One expert's weights of one layer.

    Queries and keys are normalised per head ahead of the rotation. The geometric expert scales
    both branches (`layer_scale`).
    """

    attention_scale: nn.Parameter | None
    mlp_scale: nn.Parameter | None

    def __init__(self, text: TextConfig, *, layer_scale: bool) -> None:
        super().__init__()
        width, head, eps = text.hidden_size, text.head_dim, text.rms_norm_eps
        kv_width = text.num_key_value_heads * head
        self.head_dim = head
        self.hidden = text.intermediate_size
        self.attention_norm = RMSNorm(width, eps)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, kv_width)
        self.v_proj = nn.Linear(width, kv_width)
        self.q_norm = RMSNorm(head, eps)
        self.k_norm = RMSNorm(head, eps)
        self.o_proj = nn.Linear(width, width, bias=False)
        self.mlp_norm = RMSNorm(width, eps)
        self.gate_proj = nn.Linear(width, text.intermediate_size, bias=False)
        self.up_proj = nn.Linear(width, text.intermediate_size, bias=False)
        self.down_proj = nn.Linear(text.intermediate_size, width, bias=False)
        for name in ("attention_scale", "mlp_scale"):
            scale = nn.Parameter(torch.full((width,), 0.01)) if layer_scale else None
            self.register_parameter(name, scale)

    def project(self, x_BLD: Tensor, rotation: Rotation) -> Projected:
        """Return queries, keys and values of a residual stream."""
        normed_BLD = self.attention_norm(x_BLD)
        heads = (-1, self.head_dim)
        q_BLAC = self.q_norm(self.q_proj(normed_BLD).unflatten(-1, heads))
        k_BLGC = self.k_norm(self.k_proj(normed_BLD).unflatten(-1, heads))
        v_BLGC = self.v_proj(normed_BLD).unflatten(-1, heads)
        k_BGLC = rotate(k_BLGC, rotation).transpose(1, 2)
        return Projected(rotate(q_BLAC, rotation), k_BGLC, v_BLGC.transpose(1, 2))

    def finish(self, x_BLD: Tensor, attended_BLD: Tensor) -> Tensor:
        """Add the attention branch and the MLP branch to a residual stream."""
        x_BLD = self._add(x_BLD, self.o_proj(attended_BLD), self.attention_scale)
        branch_BLD = by_tokens(self._mlp, self.mlp_norm(x_BLD), self.hidden)
        return self._add(x_BLD, branch_BLD, self.mlp_scale)

    def _mlp(self, normed_LD: Tensor) -> Tensor:
        hidden = swiglu(self.gate_proj(normed_LD), self.up_proj(normed_LD))
        return self.down_proj(hidden)  # type: ignore[no-any-return]

    @staticmethod
    def _add(x_BLD: Tensor, branch_BLD: Tensor, scale_D: Tensor | None) -> Tensor:
        if scale_D is None:
            return x_BLD + branch_BLD
        return scaled_residual(x_BLD, branch_BLD, scale_D)


class MixtureLayer(nn.Module):
    """One layer: both experts around one attention."""

    def __init__(self, text: TextConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.semantic = Expert(text, layer_scale=False)
        self.geometric = Expert(text, layer_scale=True)

    def forward(
        self,
        semantic_BLD: Tensor,
        rotation: Rotation,
        cache: AttentionCache,
        attend: TextAttention,
    ) -> Tensor:
        """Run tokens that all take the semantic expert."""
        q, k, v = self.semantic.project(semantic_BLD, rotation)
        attended_BLD = attend(q, *cache.append(self.index, k, v))
        return self.semantic.finish(semantic_BLD, attended_BLD)

    def forward_frames(
        self,
        marks_BLD: Tensor,
        patches_BLD: Tensor,
        rotations: FrameRotations,
        cache: AttentionCache,
        attend: FrameAttention,
    ) -> tuple[Tensor, Tensor]:
        """Run frames: marks (B, 2N, D) semantic, patches (B, N * P, D) geometric."""
        marks = self.semantic.project(marks_BLD, rotations.marks)
        patches = self.geometric.project(patches_BLD, rotations.patches)
        marks_out, patches_out = attend(self.index, marks, patches, rotations.frames, cache)
        return (
            self.semantic.finish(marks_BLD, marks_out),
            self.geometric.finish(patches_BLD, patches_out),
        )


class MixtureOfTransformers(nn.Module):
    """Embedding, layers, both final norms, and the language head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        text = config.text
        self.embed_tokens = nn.Embedding(text.vocab_size, text.hidden_size)
        self.layers = nn.ModuleList(
            MixtureLayer(text, index) for index in range(text.num_hidden_layers)
        )
        self.semantic_norm = RMSNorm(text.hidden_size, text.rms_norm_eps)
        self.geometric_norm = RMSNorm(text.hidden_size, text.rms_norm_eps)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)

    def semantic_pass(
        self,
        x_BLD: Tensor,
        rotation: Rotation,
        cache: AttentionCache,
        attend: TextAttention,
    ) -> Tensor:
        """Run tokens through the semantic expert.

        Args:
            x_BLD: Embeddings.
            rotation: Tables (L, 1, C / 2).
            cache: Holds what they may attend to besides each other; takes their keys, values.
            attend: Which of them sees what.

        Returns:
            (B, L, D) final-normed.
        """
        x_BLD = as_residual(x_BLD)
        for layer in self.layers:
            x_BLD = layer(x_BLD, rotation, cache, attend)
        return self.semantic_norm(x_BLD)  # type: ignore[no-any-return]

    def geometric_pass(
        self,
        marks_BN2D: Tensor,
        patches_BNPD: Tensor,
        rotations: FrameRotations,
        cache: AttentionCache,
        attend: FrameAttention = attend_all_frames,
        collect_layers: Sequence[int] = (),
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Run frames through both experts.

        Args:
            marks_BN2D: Embeddings of start and end of image.
            patches_BNPD: Geometric tokens.
            rotations: Tables of both.
            cache: Holds the prefix; takes keys and values in the order of the sequence.
            attend: Which of them sees what.
            collect_layers: Layers whose patch tokens are returned.

        Returns:
            (B, N, P, D) final-normed patches, and patches after each asked layer.

        Raises:
            ValueError: A collected layer does not exist.
        """
        for index in collect_layers:
            if not 0 <= index < len(self.layers):
                raise ValueError(f"collect_layers has {index}, the model has {len(self.layers)}")
        frames, patches = patches_BNPD.shape[1:3]
        by_frame = (frames, patches)
        marks_BLD = as_residual(marks_BN2D.flatten(1, 2))
        patches_BLD = as_residual(patches_BNPD.flatten(1, 2))
        collected: dict[int, Tensor] = {}
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, MixtureLayer)
            marks_BLD, patches_BLD = layer.forward_frames(
                marks_BLD, patches_BLD, rotations, cache, attend
            )
            if index in collect_layers:
                collected[index] = patches_BLD.unflatten(1, by_frame)
        return self.geometric_norm(patches_BLD).unflatten(1, by_frame), collected
