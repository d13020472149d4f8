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
from .caches import QUESTION_TOKENS, forked_cache

__all__ = ["TorchContext"]


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

    def mark(self) -> CacheMark:
        """The cache's state."""
        return self.cache.mark()

    def truncate(self, mark: CacheMark) -> None:
        """Forget every token behind a state."""
        self.cache.truncate(mark.length, mark.position)

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
        """Append the next tokens of the question."""
        self.cache.reserve(len(ids) + following)
        prefill_ids(self._model, ids, self.cache, self._taken(len(ids)))

    def decode(self, query: SpatialQuery) -> Iterator[DecodeStep]:
        """Decode the answer token by token, without end."""
        sampler = Sampler(query.temperature, query.seed)
        steps = decode(self._model, self.cache, sampler, added_11D=self._taken(1))
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
