"""Which token sees which: the attention patterns of all passes, over one primitive.

Every function takes queries as (B, L, A, C), the layout that projections give, and keys and
values as (B, G, K, C), the layout of the cache, where the last keys belong to the pass itself
and what stands before them is the cache's prefix. They return (B, L, A * C).

Shape letters: B batch, L queries, K keys, A query heads, G key/value heads (G divides A;
query head a uses key head a // (A / G)), C head width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "FramePattern",
    "TextPattern",
    "attend_causal",
    "attend_frame",
    "attend_frame_causal",
    "attend_full",
    "attend_global",
    "frame_patterns",
]

TextPattern = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(q, k, v) -> attended, all queries in one sequence."""

FramePattern = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]
"""(q, k, v, frames, block) -> attended; the last frames * block keys are the frames' own,
and the queries are an equal number per frame, frame after frame."""


def attend_full(
    q_BLAC: Tensor, k_BGKC: Tensor, v_BGKC: Tensor, mask_LK: Tensor | None = None
) -> Tensor:
    """Let every query see every key (that the mask allows).

    Args:
        q_BLAC: Queries, rotated.
        k_BGKC, v_BGKC: Keys (rotated) and values.
        mask_LK: bool, True where a query sees a key.
    """
    repeats = q_BLAC.shape[2] // k_BGKC.shape[1]
    grouped = repeats > 1
    if grouped and not _kernel_groups_heads(q_BLAC):
        k_BGKC = k_BGKC.repeat_interleave(repeats, dim=1)
        v_BGKC = v_BGKC.repeat_interleave(repeats, dim=1)
        grouped = False
    out_BALC = F.scaled_dot_product_attention(
        q_BLAC.transpose(1, 2), k_BGKC, v_BGKC, attn_mask=mask_LK, enable_gqa=grouped
    )
    return out_BALC.transpose(1, 2).flatten(2)


def _kernel_groups_heads(q: Tensor) -> bool:
    """Whether a fused kernel shares key heads: on CUDA the float32 one does not.

    There the fallback would hold all scores in memory, so repeating the key heads is cheaper.
    """
    return q.device.type != "cuda" or q.dtype in (torch.float16, torch.bfloat16)


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


def attend_global(
    q_BLAC: Tensor, k_BGKC: Tensor, v_BGKC: Tensor, frames: int, block: int
) -> Tensor:
    """Let all frames see each other and the prefix (published)."""
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


def attend_frame_causal(
    q_BLAC: Tensor, k_BGKC: Tensor, v_BGKC: Tensor, frames: int, block: int
) -> Tensor:
    """Let each frame see the prefix, itself and the frames before it."""
    prefix = k_BGKC.shape[2] - frames * block
    parts = []
    for frame, q_BPAC in enumerate(q_BLAC.unflatten(1, (frames, -1)).unbind(1)):
        seen = prefix + (frame + 1) * block
        parts.append(attend_full(q_BPAC, k_BGKC[:, :, :seen], v_BGKC[:, :, :seen]))
    return torch.cat(parts, dim=1)


def frame_patterns(kind: str, layers: int) -> list[FramePattern]:
    """Return each layer's pattern of the geometric pass.

    Args:
        kind: `ModelConfig.geometry_attention`.
        layers: Number of layers.

    Raises:
        ValueError: Unknown kind.
    """
    cycles: dict[str, list[FramePattern]] = {
        "global": [attend_global],
        "frame": [attend_frame],
        "mixed": [attend_frame, attend_global],
        "frame_causal": [attend_frame_causal],
    }
    if kind not in cycles:
        raise ValueError(f"geometry_attention is {kind!r}, expected one of {sorted(cycles)}")
    cycle = cycles[kind]
    return [cycle[layer % len(cycle)] for layer in range(layers)]
