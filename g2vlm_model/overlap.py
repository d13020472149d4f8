"""How much of each frame the newest one shows too, from what a geometric pass computes anyway.

Each place of a frame is looked for in the newest frame by descriptors, and the mean cosine of the
best matches says how sure the model is to see the same place again: a signal for choosing
keyframes, and a warning where a window's pictures do not belong together. Descriptors are the
fine ones of the match injection where the model has it, else the keys of a layer, which stand in
the scene's cache whichever runtime computed them.

Shape letters: N frames, P patches, S places per frame, E descriptor width, G key heads, L
tokens, C head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .cache import KeyValueCache
from .layers import Rotation, rotate
from .model import G2VLM
from .sequence import FrameBlocks, MRope

__all__ = ["key_descriptors", "match_descriptors", "overlap_with_newest"]


def overlap_with_newest(descriptors_NSE: Tensor) -> Tensor:
    """(N,) mean cosine of the best match of each frame's places in the newest frame, the last.

    1 for the newest itself. What a low value is hangs on the model and the descriptors: take it
    from pairs that are known to overlap.

    Args:
        descriptors_NSE: Unit length; frames in the order of the window.
    """
    newest_SE = descriptors_NSE[-1]
    best = [(places_SE @ newest_SE.T).amax(dim=1).mean() for places_SE in descriptors_NSE]
    return torch.stack(best)


@torch.inference_mode()
def match_descriptors(model: G2VLM, tokens_NPD: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """(N, S, E) fine descriptors, those of the match injection.

    Args:
        model: Has match injection.
        tokens_NPD: From `G2VLM.encode_geometry`, one window.
        grid_hw: Rows and columns of patches.

    Raises:
        ValueError: The model has none.
    """
    if model.match is None:
        raise ValueError("the model has no match injection (match_width is 0); use its keys")
    found: Tensor = model.match.descriptors(tokens_NPD[None].float(), grid_hw)[0]
    return found


@torch.inference_mode()
def key_descriptors(
    cache: KeyValueCache,
    rope: MRope,
    blocks: FrameBlocks,
    start: int,
    position: int,
    layer: int = -1,
) -> Tensor:
    """(N, P, G * C) keys of the frames' patches in one layer, turned back, of unit length.

    Args:
        cache: Holds the geometric pass of one window.
        rope: Of the model.
        blocks: Of that pass.
        start: Tokens ahead of its first frame.
        position: Rotary position of its first mark.
        layer: Whose keys; the last one's tell most (see the benchmark).
    """
    keys_GLC = cache.keys[layer, 0, :, start : start + blocks.tokens].float()
    patches_GNPC = keys_GLC.unflatten(1, (blocks.frames, blocks.block))[:, :, 1:-1]
    turned = rope.frames(position, blocks, keys_GLC.device).patches
    back = Rotation(turned.cos, -turned.sin)
    keys_LGC = rotate(patches_GNPC.flatten(1, 2).transpose(0, 1), back)
    keys_NPE: Tensor = keys_LGC.flatten(1).unflatten(0, (blocks.frames, blocks.patches))
    return F.normalize(keys_NPE, dim=-1)
