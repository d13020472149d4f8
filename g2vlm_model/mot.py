"""Mixture of transformers: two experts with their own weights, one attention over all tokens.

Patches of the geometric encoder take the geometric expert; text, semantic patches and the
marks around frames take the semantic one (paper section 3.1). The two kinds of tokens are
kept as two tensors through all layers, so that routing costs nothing; only keys and values
are put into the order of the sequence.

Shape letters: B batch, L tokens, N frames, P patches per frame, D width, A query heads,
G key/value heads, C head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .attention import FramePattern, TextPattern, frame_patterns
from .cache import AttentionCache
from .config import ModelConfig, TextConfig
from .layers import RMSNorm, Rotation, as_residual, rotate, scaled_residual, swiglu
from .sequence import FrameRotations, interleave

__all__ = ["Expert", "MixtureLayer", "MixtureOfTransformers"]


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

    def project(self, x_BLD: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, L, A, C), keys and values (B, G, L, C) of a residual stream."""
        normed_BLD = self.attention_norm(x_BLD)
        heads = (-1, self.head_dim)
        q_BLAC = self.q_norm(self.q_proj(normed_BLD).unflatten(-1, heads))
        k_BLGC = self.k_norm(self.k_proj(normed_BLD).unflatten(-1, heads))
        v_BLGC = self.v_proj(normed_BLD).unflatten(-1, heads)
        k_BGLC = rotate(k_BLGC, rotation).transpose(1, 2)
        return rotate(q_BLAC, rotation), k_BGLC, v_BLGC.transpose(1, 2)

    def finish(self, x_BLD: Tensor, attended_BLD: Tensor) -> Tensor:
        """Add the attention branch and the MLP branch to a residual stream."""
        x_BLD = self._add(x_BLD, self.o_proj(attended_BLD), self.attention_scale)
        normed_BLD = self.mlp_norm(x_BLD)
        hidden = swiglu(self.gate_proj(normed_BLD), self.up_proj(normed_BLD))
        return self._add(x_BLD, self.down_proj(hidden), self.mlp_scale)

    @staticmethod
    def _add(x_BLD: Tensor, branch_BLD: Tensor, scale_D: Tensor | None) -> Tensor:
        if scale_D is None:
            return x_BLD + branch_BLD
        return scaled_residual(x_BLD, branch_BLD, scale_D)


class MixtureLayer(nn.Module):
    """One layer: both experts around one attention."""

    def __init__(
        self, text: TextConfig, index: int, attend_frames: FramePattern, isolate: bool
    ) -> None:
        super().__init__()
        self.index = index
        self.isolate = isolate
        self.attend_frames = attend_frames
        self.semantic = Expert(text, layer_scale=False)
        self.geometric = Expert(text, layer_scale=True)

    def forward(
        self,
        semantic_BLD: Tensor,
        rotation: Rotation,
        cache: AttentionCache,
        attend: TextPattern,
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
        pattern: FramePattern | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run frames: marks (B, 2N, D) semantic, patches (B, N * P, D) geometric."""
        frames = rotations.frames
        attend = pattern or self.attend_frames
        q_marks, k_marks, v_marks = self.semantic.project(marks_BLD, rotations.marks)
        q_patches, k_patches, v_patches = self.geometric.project(patches_BLD, rotations.patches)
        by_frame = (frames, -1)
        k_BGLC = interleave(k_marks.unflatten(2, by_frame), k_patches.unflatten(2, by_frame), 3)
        v_BGLC = interleave(v_marks.unflatten(2, by_frame), v_patches.unflatten(2, by_frame), 3)
        k_all, v_all = cache.append(self.index, k_BGLC, v_BGLC)
        block = k_BGLC.shape[2] // frames
        marks_out = attend(q_marks, k_all, v_all, frames, block)
        if self.isolate:
            patches = k_patches.shape[2] // frames
            patches_out = attend(q_patches, k_patches, v_patches, frames, patches)
        else:
            patches_out = attend(q_patches, k_all, v_all, frames, block)
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
        patterns = frame_patterns(config.geometry_attention, text.num_hidden_layers)
        self.layers = nn.ModuleList(
            MixtureLayer(text, index, pattern, config.isolate_geometry)
            for index, pattern in enumerate(patterns)
        )
        self.semantic_norm = RMSNorm(text.hidden_size, text.rms_norm_eps)
        self.geometric_norm = RMSNorm(text.hidden_size, text.rms_norm_eps)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)

    def semantic_pass(
        self,
        x_BLD: Tensor,
        rotation: Rotation,
        cache: AttentionCache,
        attend: TextPattern,
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
        collect_layers: Sequence[int] = (),
        pattern: FramePattern | None = None,
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Run frames through both experts.

        Args:
            marks_BN2D: Embeddings of start and end of image.
            patches_BNPD: Geometric tokens.
            rotations: Tables of both.
            cache: Holds the prefix; takes keys and values in the order of the sequence.
            collect_layers: Layers whose patch tokens are returned.
            pattern: Which frames see each other, in all layers; None is each layer's own.

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
                marks_BLD, patches_BLD, rotations, cache, pattern
            )
            if index in collect_layers:
                collected[index] = patches_BLD.unflatten(1, by_frame)
        return self.geometric_norm(patches_BLD).unflatten(1, by_frame), collected
