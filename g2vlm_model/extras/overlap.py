# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How much of each frame the newest ones show too, from what a geometric pass computes anyway.

Each place of a frame is looked for in the frames of the newest moment (one, or one of each camera
of a rig) by the keys of its patches, turned back from their rotary positions, and the mean cosine
of the best matches says how sure the model is to see the same place again: a signal for choosing
keyframes, and a warning where a window's frames do not belong together. The keys stand ready
whichever runtime computed the pass.

Written against the array API: tensors on a device and numpy arrays take the same lines.

Shape letters: N frames, P patches, S places per frame, M places of the newest frames together, E
descriptor width, G key heads, L tokens of the frames with their marks, C head width.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from ..config_parts import TextConfig

__all__ = ["frame_overlap", "key_descriptors", "overlap_with_newest"]

Array = Any  # a tensor or a numpy array; what goes in comes out


def frame_overlap(
    keys_GLC: Array, text: TextConfig, grid_hw: tuple[int, int], position: int, newest: int
) -> Array:
    """(N,) float32 in [0, 1]: how much of each frame the newest ones show too.

    Args:
        keys_GLC: Of the frames' tokens in one layer, any precision; the last layer's tell most.
        text: Of the model.
        grid_hw: Rows and columns of patches.
        position: Rotary position of the first frame's first mark.
        newest: Frames of the newest moment, the last ones (`FrameWindow.newest_moment`).
    """
    return overlap_with_newest(key_descriptors(keys_GLC, text, grid_hw, position), newest)


def overlap_with_newest(descriptors_NSE: Array, newest: int = 1) -> Array:
    """(N,) mean cosine of the best match of each frame's places in the newest frames, the last.

    A place may be found in any of them. 1 for the newest themselves; 0 at least, also where a
    number is not finite. What a low value is hangs on the model and the descriptors: take it from
    pairs that are known to overlap.

    Args:
        descriptors_NSE: Unit length, float32; frames in the order of the window.
        newest: Frames that the others are compared with.
    """
    xp = array_namespace(descriptors_NSE)
    frames, _, width = descriptors_NSE.shape
    assert 1 <= newest <= frames, (newest, frames)
    newest_EM = xp.reshape(descriptors_NSE[-newest:], (-1, width)).T
    # Frame by frame: all at once would hold a number for each pair of places.
    earlier = descriptors_NSE[: frames - newest]
    best = [xp.mean(xp.max(places_SE @ newest_EM, axis=1)) for places_SE in earlier]
    overlap_N = xp.stack([*best, *[xp.ones_like(descriptors_NSE[0, 0, 0])] * newest])
    return xp.clip(xp.where(xp.isfinite(overlap_N), overlap_N, 0.0), 0.0, 1.0)


def key_descriptors(
    keys_GLC: Array, text: TextConfig, grid_hw: tuple[int, int], position: int
) -> Array:
    """(N, P, G * C) float32 keys of the frames' patches, turned back, of unit length.

    Args:
        keys_GLC, text, grid_hw, position: See `frame_overlap`.
    """
    xp, (rows, columns) = array_namespace(keys_GLC), grid_hw
    heads, tokens, width = keys_GLC.shape
    frames, rest = divmod(tokens, rows * columns + 2)
    assert not rest, (keys_GLC.shape, grid_hw)
    blocks_GNPC = xp.reshape(keys_GLC, (heads, frames, rows * columns + 2, width))
    patches_GNPC = xp.astype(blocks_GNPC[:, :, 1:-1], xp.float32)
    tables = _rotation(text, frames, grid_hw, position)
    cos, sin = (xp.asarray(table, device=device(keys_GLC)) for table in tables)
    first, second = patches_GNPC[..., : width // 2], patches_GNPC[..., width // 2 :]
    turned = xp.concat((first * cos + second * sin, second * cos - first * sin), axis=-1)
    keys_NPE = xp.reshape(
        xp.permute_dims(turned, (1, 2, 0, 3)), (frames, rows * columns, heads * width)
    )
    lengths_NP1 = xp.linalg.vector_norm(keys_NPE, axis=-1, keepdims=True)
    return keys_NPE / xp.clip(lengths_NP1, 1e-12, None)


@lru_cache(maxsize=4)  # a camera's windows are of one size, but for its first few
def _rotation(
    text: TextConfig, frames: int, grid_hw: tuple[int, int], position: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines (N, P, C / 2) of the patches' rotary angles, see `sequence.MRope`."""
    row_P, column_P = np.indices(grid_hw).reshape(2, -1)
    first_N1 = position + 1 + (max(grid_hw) + 2) * np.arange(frames)[:, None]
    places_3NP = np.stack((first_N1 + 0 * row_P, first_N1 + row_P, first_N1 + column_P))
    axis_of_pair = np.repeat(np.arange(3), text.mrope_section)
    frequencies = text.rope_theta ** (-2.0 * np.arange(len(axis_of_pair)) / text.head_dim)
    angles = np.moveaxis(places_3NP[axis_of_pair], 0, -1) * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
