# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The whole model: encoders, mixture of transformers, geometry heads, and its passes.

Every pass appends its keys and values to a cache and moves the cache's rotary position on;
a sequence (reconstruct, chat, training) is nothing but an order of passes:

    cache = KeyValueCache(model.config, capacity)
    model.prefill_text(system_ids_BT, cache)                       # text, causal
    tokens_BNPD = model.encode_geometry(pixels_BN3HW)
    hidden = model.geometry_pass(tokens_BNPD, grid_hw, cache=cache)  # all frames, both experts
    geometry = model.decode_geometry(hidden.hidden_BNPD, grid_hw)
    tokens_BNSD = model.encode_semantic(rows_BNRC, grid_hw)
    model.prefill_images(tokens_BNSD, merged_hw, cache)              # frame after frame
    logits_BTV = model.semantic_logits(question_ids_BT, cache)       # text again

Shape letters: B batch, N frames, P patches per frame, S merged semantic patches per frame,
R rows of a frame before merging, C numbers of a row, T text tokens, D width, V vocabulary,
H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .cache import AttentionCache, GrowingCache
from .config import ModelConfig, SpecialIds
from .dinov2 import DinoV2
from .extras.frame_attention import frame_attention
from .extras.fusion import FusedImages, GeometryFusion
from .extras.match import MatchInjection, PairCues
from .extras.reading import GeometryReading
from .heads import GeometryHeads
from .mot import MixtureOfTransformers, attend_causal, attend_frame_causal
from .poses import GeometryTensors, assemble_geometry
from .quantised import QuantisedEmbedding
from .qwen2_vit import Qwen2Vit
from .sequence import FrameBlocks, MRope

__all__ = ["G2VLM", "GeometryHidden"]


@dataclass(frozen=True)
class GeometryHidden:
    """What the geometric pass computed.

    Args:
        hidden_BNPD: Last layer, final-normed, patch tokens only: what the heads read.
        layers: Patch tokens (B, N, P, D) after each asked layer, not normed.
    """

    hidden_BNPD: Tensor
    layers: dict[int, Tensor]


class G2VLM(nn.Module):
    """Geometry grounded vision language model (arXiv 2511.21688).

    Args:
        config: All sizes and options.
        special_ids: Ids of the special tokens in the folder's tokenizer.

    Raises:
        ValueError: A special id outside the vocabulary.
    """

    def __init__(self, config: ModelConfig, special_ids: SpecialIds | None = None) -> None:
        super().__init__()
        self.config = config
        self.special_ids = special_ids or SpecialIds()
        for name, token_id in vars(self.special_ids).items():
            if not 0 <= token_id < config.text.vocab_size:
                raise ValueError(
                    f"special id {name} is {token_id}, the vocabulary has "
                    f"{config.text.vocab_size}; pass the ids of the model's own tokenizer"
                )
        self.dino = DinoV2(config)
        self.dino_projection = nn.Linear(config.dino.hidden_size, config.text.hidden_size)
        self.vit = Qwen2Vit(config.vit)
        self.trunk = MixtureOfTransformers(config)
        self.heads = GeometryHeads(config)
        self.rope = MRope(config.text)
        # What the published architecture lacks, chosen here once (`extras/`).
        width = config.text.hidden_size
        self.match = MatchInjection(width, config.match_width) if config.match_width else None
        self.fusion = GeometryFusion(config) if config.geometry_feedback else None
        self.always_causal = config.geometry_attention == "frame_causal"
        self.attend_frames = frame_attention(config)
        self.attend_earlier = frame_attention(config, causal=True)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.trunk.semantic_norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the trunk's weights, and so of a cache's memory."""
        return self.trunk.semantic_norm.weight.dtype

    def encode_geometry(self, pixels_BN3HW: Tensor) -> Tensor:
        """Turn pictures into geometric tokens.

        Args:
            pixels_BN3HW: float, normalised with the ImageNet mean and deviation; H and W
                multiples of the patch.

        Returns:
            (B, N, P, D) float, rows of patches from the top left.

        Raises:
            ValueError: H or W is no multiple of the patch.
        """
        return self.dino_projection(self.dino(pixels_BN3HW))  # type: ignore[no-any-return]

    def geometry_pass(
        self,
        tokens_BNPD: Tensor,
        grid_hw: tuple[int, int],
        *,
        start_position: int | None = None,
        cache: AttentionCache | None = None,
        collect_layers: Sequence[int] = (),
        frame_causal: bool = False,
        pair_cues: PairCues | None = None,
    ) -> GeometryHidden:
        """Run all frames through both experts in one pass (paper section 3.1).

        Each frame is [start of image][P patches][end of image]; patches take the geometric
        expert, the two marks the semantic one. All frames see each other and what the cache
        holds, unless the config asks for another attention (`extras.frame_attention`).

        Args:
            tokens_BNPD: From `encode_geometry`.
            grid_hw: Rows and columns of patches, P = rows x columns.
            start_position: Rotary position of the first mark; the cache's where None.
            cache: Holds the prefix (may be empty) and takes this pass's keys and values.
            collect_layers: Indices of layers whose patch tokens are wanted.
            frame_causal: Let each frame see itself and earlier frames only, also in the match
                injection, so that later frames change nothing of it, where the config does not
                say so anyway. A model can be trained for both.
            pair_cues: Of the match injection, see `MatchInjection.forward`; None keeps nothing.
        """
        cache = GrowingCache() if cache is None else cache
        start = cache.position if start_position is None else start_position
        batch, frames, patches = tokens_BNPD.shape[:3]
        blocks = FrameBlocks(frames, *grid_hw)
        assert patches == blocks.patches, (patches, grid_hw)
        rope = self.rope.frames(start, blocks, tokens_BNPD.device)
        causal = frame_causal or self.always_causal
        attend = self.attend_earlier if causal else self.attend_frames
        messages = None
        if self.match is not None:
            messages = self.match(tokens_BNPD, grid_hw, causal, pair_cues)
            tokens_BNPD = tokens_BNPD + messages.early_BNPD
        marks_BN2D = self.image_marks().expand(batch, frames, -1, -1)
        hidden_BNPD, layers = self.trunk.geometric_pass(
            marks_BN2D, tokens_BNPD, rope, cache, attend, collect_layers
        )
        if messages is not None:
            hidden_BNPD = hidden_BNPD + messages.late_BNPD.to(hidden_BNPD.dtype)
        cache.advance(blocks.tokens, start + blocks.advance)
        return GeometryHidden(hidden_BNPD, layers)

    def decode_geometry(
        self,
        hidden_BNPD: Tensor,
        grid_hw: tuple[int, int],
        *,
        pixels_BN3HW: Tensor | None = None,
        with_global: bool = False,
        chunk_frames: int = 0,
    ) -> GeometryTensors:
        """Turn the hidden states of the geometric pass into points and poses.

        Args:
            hidden_BNPD: Final-normed patch tokens.
            grid_hw: Rows and columns of patches.
            pixels_BN3HW: What `encode_geometry` was given; needed by `point_refine` alone.
            with_global: Also run the global-point decoder (inference has no use for it).
            chunk_frames: Decode so many frames at a time to bound memory; 0 is all at once.

        Returns:
            float32 tensors, see `GeometryTensors`.
        """
        outputs = self.heads(hidden_BNPD, grid_hw, with_global, chunk_frames, pixels_BN3HW)
        return assemble_geometry(outputs)

    def encode_semantic(self, rows_BNRC: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Turn pictures into semantic tokens.

        Args:
            rows_BNRC: From `preprocess.semantic_rows`: normalised patches in merge order.
            grid_hw: Rows and columns of patches before merging, R = rows x columns.

        Returns:
            (B, N, S, D) with S = R / merge^2.
        """
        batch, frames = rows_BNRC.shape[:2]
        tokens_MSD: Tensor = self.vit(rows_BNRC.flatten(0, 1), grid_hw)
        tokens_BNSD: Tensor = tokens_MSD.unflatten(0, (batch, frames))
        return tokens_BNSD

    def fuse_images(
        self, tokens_BNSD: Tensor, merged_hw: tuple[int, int], reading: GeometryReading
    ) -> FusedImages:
        """Add geometry to semantic images, see `GeometryFusion.forward`.

        Raises:
            ValueError: The model was built without `geometry_feedback`.
        """
        if self.fusion is None:
            raise ValueError("the model has no geometry_feedback; prefill its images as they are")
        fused: FusedImages = self.fusion(tokens_BNSD, merged_hw, reading)
        return fused

    def prefill_images(
        self,
        tokens_BNSD: Tensor,
        merged_hw: tuple[int, int],
        cache: AttentionCache,
        cameras_BND: Tensor | None = None,
    ) -> Tensor:
        """Append semantic images; each sees the cache, itself and the images before it.

        Args:
            tokens_BNSD: From `encode_semantic`, or fused (`GeometryFusion`).
            merged_hw: Rows and columns after merging, S = rows x columns.
            cache: Holds the prefix and takes the new keys and values.
            cameras_BND: Added to the start marks; None where nothing was fused.

        Returns:
            (B, N * (S + 2), D) final-normed hidden states, marks included.
        """
        batch, frames = tokens_BNSD.shape[:2]
        blocks = FrameBlocks(frames, *merged_hw)
        assert (cameras_BND is None) == (self.fusion is None), "fuse_images goes ahead"
        marks_BN2D = self.image_marks().expand(batch, frames, -1, -1)
        start_BN1D, end_BN1D = marks_BN2D.split(1, dim=2)
        if cameras_BND is not None:
            start_BN1D = start_BN1D + cameras_BND[:, :, None]
        x_BND = torch.cat((start_BN1D, tokens_BNSD, end_BN1D), dim=2)
        start = cache.position
        rope = self.rope.frames(start, blocks, tokens_BNSD.device).interleaved()

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend_frame_causal(q, k, v, blocks.frames, blocks.block)

        hidden_BLD = self.trunk.semantic_pass(x_BND.flatten(1, 2), rope, cache, attend)
        cache.advance(blocks.tokens, start + blocks.advance)
        return hidden_BLD

    def prefill_text(
        self, ids_BT: Tensor, cache: AttentionCache, added_BTD: Tensor | None = None
    ) -> Tensor:
        """Append text; each token sees the cache and the text up to itself.

        Shorter sequences of a batch are padded at their end: no real token sees the padding,
        so no mask is needed (drop the padding's logits and keys).

        Args:
            ids_BT: int64 token ids.
            cache: Holds the prefix and takes the new keys and values.
            added_BTD: Added to the embeddings (`reference_features`); None adds nothing.

        Returns:
            (B, T, D) final-normed hidden states.
        """
        x_BTD = self.trunk.embed_tokens(ids_BT)
        if added_BTD is not None:
            x_BTD = x_BTD + added_BTD
        start, count = cache.position, ids_BT.shape[1]
        rope = self.rope.text(start, count, x_BTD.device)
        hidden_BTD = self.trunk.semantic_pass(x_BTD, rope, cache, attend_causal)
        cache.advance(count, start + count)
        return hidden_BTD

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        """Return (B, T, V) next-token logits of final-normed hidden states."""
        return self.trunk.lm_head(hidden_BTD)  # type: ignore[no-any-return]

    def semantic_logits(
        self, ids_BT: Tensor, cache: AttentionCache, added_BTD: Tensor | None = None
    ) -> Tensor:
        """Teacher-forced logits: `prefill_text` and `logits` of every position.

        Args:
            ids_BT: Question and answer, padded at the end.
            cache: Everything before them (text prefix, geometry, semantic images).
            added_BTD: As in `prefill_text`.

        Returns:
            (B, T, V); position t predicts token t + 1.
        """
        return self.logits(self.prefill_text(ids_BT, cache, added_BTD))

    def decode_step(
        self, ids_B1: Tensor, cache: AttentionCache, added_B1D: Tensor | None = None
    ) -> Tensor:
        """Append one token per sequence; return (B, V) logits of the next."""
        return self.semantic_logits(ids_B1, cache, added_B1D)[:, -1]

    def image_marks(self) -> Tensor:
        """Return the embeddings of start and end of image, (2, D)."""
        special = self.special_ids
        table: nn.Module = self.trunk.embed_tokens
        # Rows by number: ids in a tensor would have to travel to the device on every pass.
        if isinstance(table, QuantisedEmbedding):
            return torch.stack((table.row(special.start_of_image), table.row(special.end_of_image)))
        table_VD = self.trunk.embed_tokens.weight
        return torch.stack((table_VD[special.start_of_image], table_VD[special.end_of_image]))
