# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which frames see each other in the geometric pass, where it is not all of them.

Options that the published architecture lacks: `ModelConfig.geometry_attention` (`frame`, `mixed`
and `frame_causal` beside the published `global`), and `ModelConfig.isolate_geometry`, with which
patches see patches only, neither the text nor the marks, so that a scene's geometry depends on
its pictures alone.

Shape letters: B batch, L queries, K keys (the cache's, then the pass's own), N frames, M = B * N,
A query heads, G key/value heads, C head width, E = A * C.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..cache import AttentionCache
from ..config import ModelConfig
from ..layers import attend_full
from ..mot import FrameAttention, Projected, append_frames, attend_all_frames, attend_frame_causal

__all__ = ["FramePattern", "PatternedAttention", "attend_frame", "attend_global", "frame_attention"]

FramePattern = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]
"""(q_BLAC, k_BGKC, v_BGKC, frames, block) -> attended (B, L, E); the last frames * block keys are
the frames' own, and the queries are an equal number per frame, frame after frame."""


def attend_global(
    q_BLAC: Tensor, k_BGKC: Tensor, v_BGKC: Tensor, frames: int, block: int
) -> Tensor:
    """Let all frames see each other and the prefix."""
    return attend_full(q_BLAC, k_BGKC, v_BGKC)


def attend_frame(q_BLAC: Tensor, k_BGKC: Tensor, v_BGKC: Tensor, frames: int, block: int) -> Tensor:
    """Let each frame see itself and the prefix."""
    batch = q_BLAC.shape[0]
    q_MLAC = q_BLAC.unflatten(1, (frames, -1)).flatten(0, 1)
    out_MLE = attend_full(
        q_MLAC, _per_frame(k_BGKC, frames, block), _per_frame(v_BGKC, frames, block)
    )
    out_BLE: Tensor = out_MLE.unflatten(0, (batch, frames)).flatten(1, 2)
    return out_BLE


def _per_frame(x_BGKC: Tensor, frames: int, block: int) -> Tensor:
    """Split keys into one sequence per frame, each behind a copy of the prefix."""
    prefix = x_BGKC.shape[2] - frames * block
    own_BNGLC: Tensor = x_BGKC[:, :, prefix:].unflatten(2, (frames, block)).transpose(1, 2)
    if prefix == 0:
        return own_BNGLC.flatten(0, 1)
    shared_BNGKC = x_BGKC[:, None, :, :prefix].expand(-1, frames, -1, -1, -1)
    return torch.cat((shared_BNGKC, own_BNGLC), dim=3).flatten(0, 1)


# Layers take the patterns of their kind by turns.
PATTERNS: dict[str, tuple[FramePattern, ...]] = {
    "global": (attend_global,),
    "frame": (attend_frame,),
    "mixed": (attend_frame, attend_global),
    "frame_causal": (attend_frame_causal,),
}


class PatternedAttention:
    """A `FrameAttention` with a pattern for each layer.

    Args:
        kind: Key of `PATTERNS`.
        isolate: Patches see patches only.
    """

    def __init__(self, kind: str, *, isolate: bool) -> None:
        self.patterns = PATTERNS[kind]
        self.isolate = isolate

    def __call__(
        self,
        layer: int,
        marks: Projected,
        patches: Projected,
        frames: int,
        cache: AttentionCache,
    ) -> tuple[Tensor, Tensor]:
        """Append the frames to the cache and attend; see `FrameAttention`."""
        attend = self.patterns[layer % len(self.patterns)]
        k_BGKC, v_BGKC = append_frames(layer, marks, patches, frames, cache)
        own = patches.k_BGLC.shape[2] // frames
        marks_BLE = attend(marks.q_BLAC, k_BGKC, v_BGKC, frames, own + 2)
        if self.isolate:
            return marks_BLE, attend(*patches, frames, own)
        return marks_BLE, attend(patches.q_BLAC, k_BGKC, v_BGKC, frames, own + 2)


def frame_attention(config: ModelConfig, *, causal: bool = False) -> FrameAttention:
    """The attention of the geometric pass that a config asks for.

    Args:
        config: Of the model.
        causal: Let each frame see itself and earlier ones only, whatever the config says.
    """
    kind = "frame_causal" if causal else config.geometry_attention
    if kind == "global" and not config.isolate_geometry:
        return attend_all_frames
    return PatternedAttention(kind, isolate=config.isolate_geometry)
