# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a question stands behind, computed with torch modules into a preallocated cache.

Shape letters: S merged semantic patches of a frame, D width, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache import KeyValueCache
from ...extras.fusion import FusedImages
from ...extras.named_features import reference_features
from ...extras.reading import GeometryReading
from ...extras.references import Reference
from ...generate import Sampler, decode, prefill_ids
from ...interface import SpatialQuery
from ...model import G2VLM
from ...positions import CacheMark, DecodeStep
from ...preprocess import semantic_merged_hw
from ..scene import SceneContext, Sought

__all__ = ["QUESTION_TOKENS", "TorchContext", "forked_cache", "prefix_cache", "scene_cache"]

QUESTION_TOKENS = 512  # room for a question and its answer; a cache grows where it is too little


def prefix_cache(model: G2VLM, ids: Sequence[int]) -> KeyValueCache:
    """Keys and values of a fixed text, constant per checkpoint."""
    cache = KeyValueCache(model.config, len(ids), device=model.device, dtype=model.dtype)
    prefill_ids(model, ids, cache)
    return cache


def scene_cache(
    model: G2VLM,
    prefix: KeyValueCache,
    frames: int,
    grid_hw: tuple[int, int],
    first_hw: tuple[int, int] | None = None,
) -> KeyValueCache:
    """A cache that holds a prefix and has room for a scene and its questions.

    Args:
        model, frames: Whose cache it is, and of how many frames.
        prefix: Text ahead of the frames; not changed.
        grid_hw: Rows and columns of geometric patches.
        first_hw: Of the first picture, see `semantic_size`.
    """
    merged_hw = semantic_merged_hw(model.config, first_hw)
    blocks = (grid_hw[0] * grid_hw[1] + 2) + (merged_hw[0] * merged_hw[1] + 2)
    capacity = prefix.length + frames * blocks + QUESTION_TOKENS
    return forked_cache(model, prefix, prefix.mark(), capacity)


def forked_cache(
    model: G2VLM, source: KeyValueCache, mark: CacheMark, capacity: int
) -> KeyValueCache:
    """A new cache of so many tokens that starts as another one was in a state."""
    held = mark.length
    assert held <= min(source.length, capacity), (mark, source.length, capacity)
    fork = KeyValueCache(model.config, capacity, device=model.device, dtype=model.dtype)
    fork.keys[:, :, :, :held] = source.keys[:, :, :, :held]
    fork.values[:, :, :, :held] = source.values[:, :, :, :held]
    fork.advance(held, mark.position)
    return fork


class TorchContext(SceneContext):
    """On torch; every method that computes runs in inference mode.

    Args:
        model: In evaluation mode.
        keys: Of prefix and geometric frames.
        merged_hw: Rows and columns of a frame's semantic tokens.
        reading: See `SceneContext`.
    """

    keys: KeyValueCache
    fused: list[FusedImages]

    def __init__(
        self,
        model: G2VLM,
        keys: KeyValueCache,
        merged_hw: tuple[int, int],
        reading: GeometryReading | None = None,
    ) -> None:
        super().__init__(keys, reading)
        self._model = model
        self._merged_hw = merged_hw

    @torch.inference_mode()
    def fork(self, mark: CacheMark) -> TorchContext:
        """See `SceneContext.fork`."""
        capacity = self.keys.length + QUESTION_TOKENS
        keys = forked_cache(self._model, self.keys, mark, capacity)
        return TorchContext(self._model, keys, self._merged_hw, self.reading)

    @torch.inference_mode()
    def encode(self, rows_RC: NDArray[np.float32]) -> Tensor:
        """See `SceneContext.encode`."""
        rows_11RC = torch.from_numpy(rows_RC).to(self._model.device)[None, None]
        merge = self._model.config.vit.spatial_merge_size
        rows, columns = self._merged_hw
        return self._model.encode_semantic(rows_11RC, (rows * merge, columns * merge))[0, 0]

    @torch.inference_mode()
    def append_frame(self, index: int, tokens_SD: Tensor) -> None:
        """See `SceneContext.append_frame`."""
        merged_hw = self._merged_hw
        self.keys.reserve(len(tokens_SD) + 2)
        tokens_11SD, cameras_11D = tokens_SD[None, None], None
        if self.reading is not None:
            images = self._model.fuse_images(tokens_11SD, merged_hw, self.reading.frame(index))
            tokens_11SD, cameras_11D = images.tokens_BNSD, images.cameras_BND
            self.fused[index:] = [images]
        self._model.prefill_images(tokens_11SD, merged_hw, self.keys, cameras_11D)

    def decode(self, query: SpatialQuery) -> Iterator[DecodeStep]:
        """See `SceneContext.decode`."""
        sampler = Sampler(query.temperature, query.seed)
        assert self._next_V is not None, "an answer without a question"
        steps = decode(self._model, self.keys, sampler, logits_V=self._next_V)
        while True:
            # Around each step and not around them all: the mode is the thread's, not this code's.
            with torch.inference_mode():
                step = next(steps)
            yield step

    @torch.inference_mode()
    def _added(
        self, references: Sequence[Reference], tokens: int
    ) -> tuple[Tensor, tuple[Sought, ...]]:
        images = FusedImages.joined(self.fused, self.reading)
        named = reference_features(self._model, images, [references], [tokens], tokens + 1)
        sought: tuple[Sought, ...] = ()
        if named.weight_RNS is not None:
            weight_RNHW = named.weight_RNS.unflatten(2, self._merged_hw).float().cpu().numpy()
            things = [reference for _, reference in named.things]
            sought = tuple(map(Sought, things, weight_RNHW))
        return named.added_MTD[0], sought

    @torch.inference_mode()
    def _appended(self, ids: Sequence[int], added_TD: Tensor | None, following: int) -> Tensor:
        self.keys.reserve(len(ids) + following)
        ids_1T = torch.tensor([list(ids)], device=self._model.device)
        added_1TD = None if added_TD is None else added_TD[None]
        hidden_1TD = self._model.prefill_text(ids_1T, self.keys, added_1TD)
        return self._model.logits(hidden_1TD[:, -1:])[0, 0]
