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
from ...generate import DecodeStep, Sampler, decode, prefill_ids
from ...interface import SpatialQuery
from ...model import G2VLM
from ...positions import CacheMark
from ...preprocess import semantic_merged_hw

__all__ = ["QUESTION_TOKENS", "TorchContext", "forked_cache", "prefix_cache", "scene_cache"]

QUESTION_TOKENS = 512  # room for a question and its answer; a cache grows where it is too little


def prefix_cache(model: G2VLM, ids: Sequence[int]) -> KeyValueCache:
    """Keys and values of a fixed text, constant per checkpoint.

    Args:
        model: In evaluation mode.
        ids: Token ids of the text.
    """
    cache = KeyValueCache(model.config, len(ids), device=model.device, dtype=model.dtype)
    prefill_ids(model, ids, cache)
    return cache


def scene_cache(
    model: G2VLM, prefix: KeyValueCache, frames: int, grid_hw: tuple[int, int]
) -> KeyValueCache:
    """A cache that holds a prefix and has room for a scene and its questions.

    Args:
        model: Whose cache it is.
        prefix: Text ahead of the frames; not changed.
        frames: Of the window.
        grid_hw: Rows and columns of geometric patches.
    """
    merged_hw = semantic_merged_hw(model.config)
    blocks = (grid_hw[0] * grid_hw[1] + 2) + (merged_hw[0] * merged_hw[1] + 2)
    capacity = prefix.length + frames * blocks + QUESTION_TOKENS
    return forked_cache(model, prefix, prefix.mark(), capacity)


def forked_cache(
    model: G2VLM, source: KeyValueCache, mark: CacheMark, capacity: int
) -> KeyValueCache:
    """A new cache that starts with the first tokens of another one.

    Args:
        model: Whose cache it is.
        source: Not changed.
        mark: How much of it is taken: a state that it has been in.
        capacity: Tokens that the new cache can hold, at least those taken.
    """
    held = mark.length
    assert held <= min(source.length, capacity), (mark, source.length, capacity)
    fork = KeyValueCache(model.config, capacity, device=model.device, dtype=model.dtype)
    fork.keys[:, :, :, :held] = source.keys[:, :, :, :held]
    fork.values[:, :, :, :held] = source.values[:, :, :, :held]
    fork.advance(held, mark.position)
    return fork


class TorchContext:
    """A `SceneContext`; every method but the constructor runs in inference mode.

    Args:
        model: In evaluation mode.
        cache: Keys and values of prefix and geometric frames.
        reading: What the semantic expert is told of the geometry; None for models without
            `geometry_feedback`.

    Attributes:
        fused: The semantic frames that the cache holds, with geometry in them, in order; empty
            without a reading.
    """

    def __init__(
        self, model: G2VLM, cache: KeyValueCache, reading: GeometryReading | None = None
    ) -> None:
        self.cache = cache
        self.reading = reading
        self.fused: list[FusedImages] = []
        self._model = model
        self._merged_hw = semantic_merged_hw(model.config)
        self._added_1TD: Tensor | None = None
        self._next_V: Tensor | None = None

    def mark(self) -> CacheMark:
        """The cache's state."""
        return self.cache.mark()

    def truncate(self, mark: CacheMark) -> None:
        """Forget every token behind a state."""
        self.cache.truncate(mark.length, mark.position)

    @torch.inference_mode()
    def fork(self, mark: CacheMark) -> TorchContext:
        """A context on a copy of the cache."""
        capacity = self.cache.length + QUESTION_TOKENS
        return TorchContext(
            self._model, forked_cache(self._model, self.cache, mark, capacity), self.reading
        )

    @torch.inference_mode()
    def encode(self, rows_RC: NDArray[np.float32]) -> Tensor:
        """(S, D) semantic tokens of one picture."""
        rows_11RC = torch.from_numpy(rows_RC).to(self._model.device)[None, None]
        merge = self._model.config.vit.spatial_merge_size
        rows, columns = self._merged_hw
        return self._model.encode_semantic(rows_11RC, (rows * merge, columns * merge))[0, 0]

    @torch.inference_mode()
    def append_frame(self, index: int, tokens_SD: Tensor) -> None:
        """Append a frame's semantic tokens between their marks, geometry added to them."""
        merged_hw = self._merged_hw
        self.cache.reserve(len(tokens_SD) + 2)
        tokens_11SD, cameras_11D = tokens_SD[None, None], None
        if self.reading is not None:
            images = self._model.fuse_images(tokens_11SD, merged_hw, self.reading.frame(index))
            tokens_11SD, cameras_11D = images.tokens_BNSD, images.cameras_BND
            self.fused[index:] = [images]
        self._model.prefill_images(tokens_11SD, merged_hw, self.cache, cameras_11D)

    @torch.inference_mode()
    def name(self, references: Sequence[Reference], tokens: int) -> None:
        """Compute what references add to the question that is read next and to its answer."""
        assert self.reading is not None, "references of a scene without images"
        assert self.fused, "references of a scene without images"
        images = FusedImages.joined(self.fused, self.reading)
        named = reference_features(self._model, images, [references], [tokens], tokens + 1)
        self._added_1TD = named.added_MTD

    @torch.inference_mode()
    def read(self, ids: Sequence[int], following: int) -> None:
        """Append the next tokens of the question; the last one's logits begin the answer."""
        self.cache.reserve(len(ids) + following)
        ids_1T = torch.tensor([list(ids)], device=self._model.device)
        hidden_1TD = self._model.prefill_text(ids_1T, self.cache, self._taken(len(ids)))
        self._next_V = self._model.logits(hidden_1TD[:, -1:])[0, 0]

    def decode(self, query: SpatialQuery) -> Iterator[DecodeStep]:
        """Decode the answer token by token, without end."""
        sampler = Sampler(query.temperature, query.seed)
        assert self._next_V is not None, "an answer without a question"
        steps = decode(self._model, self.cache, sampler, logits_V=self._next_V)
        while True:
            # Around each step and not around them all: the mode is the thread's, not this code's.
            with torch.inference_mode():
                step = next(steps)
            yield step

    def _taken(self, count: int) -> Tensor | None:
        """What references add to the next tokens; None where they add nothing."""
        added_1TD = self._added_1TD
        if added_1TD is None:
            return None
        left_1TD = added_1TD[:, count:]
        self._added_1TD = left_1TD if left_1TD.shape[1] else None
        return added_1TD[:, :count]
