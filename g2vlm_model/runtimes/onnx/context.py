"""What a question stands behind, computed with exported graphs.

Shape letters: T tokens, D width, M semantic tokens of a frame, R rows of a picture, C numbers of
a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...extras.references import Reference
from ...interface import SpatialQuery
from ...positions import CacheMark
from .keys import SceneKeys
from .named import added_features
from .reading import FusedFrame, SceneReading
from .sampling import NumpySampler, TokenStep

if TYPE_CHECKING:
    from .semantic import SemanticGraphs

__all__ = ["OnnxContext", "frame_positions"]

Floats = NDArray[np.float32]


class OnnxContext:
    """A `SceneContext` on ONNX Runtime.

    Args:
        graphs: Of the model.
        keys: Of prefix and geometric frames.
        reading: What the semantic expert is told of the geometry; None for models without
            `geometry_feedback`.

    Attributes:
        fused: The semantic frames that the keys hold, with geometry in them, in order; empty
            without a reading.
    """

    def __init__(
        self, graphs: SemanticGraphs, keys: SceneKeys, reading: SceneReading | None
    ) -> None:
        self.keys = keys
        self.reading = reading
        self.fused: list[FusedFrame] = []
        self._graphs = graphs
        self._added_TD: Floats | None = None

    def mark(self) -> CacheMark:
        """The keys' state."""
        return self.keys.mark()

    def truncate(self, mark: CacheMark) -> None:
        """Forget every token behind a state."""
        self.keys.truncate(mark)

    def fork(self, mark: CacheMark) -> OnnxContext:
        """A context on a copy of the keys."""
        return OnnxContext(self._graphs, self.keys.fork(mark), self.reading)

    def encode(self, rows_RC: Floats) -> Floats:
        """(M, D) semantic tokens of one picture."""
        return self._graphs.encode(rows_RC)

    def append_frame(self, index: int, tokens_SD: Floats) -> None:
        """Append a frame's semantic tokens between their marks, geometry added to them."""
        start_1D, end_1D = np.split(self._graphs.image_marks_2D, 2)
        if self.reading is not None:
            fused = self._graphs.fuse(tokens_SD, self.reading, index)
            tokens_SD, start_1D = fused.tokens_MD, start_1D + fused.camera_D
            self.fused[index:] = [fused]
        embeddings_TD = np.concatenate((start_1D, tokens_SD, end_1D))
        positions_3T = frame_positions(self.keys.position, self._graphs.merged_hw)
        _, *new = self._graphs.step(embeddings_TD, positions_3T, self.keys, causal=False)
        keys_EGTC, values_EGTC = (array_TEGC.transpose(1, 2, 0, 3) for array_TEGC in new)
        self.keys.append_to_scene(keys_EGTC, values_EGTC, int(positions_3T[0, -1]) + 1)

    def name(self, references: Sequence[Reference], tokens: int) -> None:
        """Compute what references add to the question that is read next and to its answer."""
        assert self.reading is not None, "references of a scene without images"
        assert self.fused, "references of a scene without images"
        self._added_TD = added_features(
            self._graphs.reference_features,
            self._graphs.embed,
            self.fused,
            self.reading,
            references,
            tokens,
        )

    def read(self, ids: Sequence[int], following: int) -> None:
        """Append the next tokens of the question."""
        self.keys.reserve(len(ids) + following)
        self._append(ids)

    def decode(self, query: SpatialQuery) -> Iterator[TokenStep]:
        """Decode the answer token by token, without end."""
        sampler = NumpySampler(query.temperature, query.seed)
        token = self._graphs.start_of_answer
        while True:
            step = sampler(self._append((token,)))
            yield step
            token = step.token

    def _append(self, ids: Sequence[int]) -> Floats:
        """Append words, with what references add to them; (V,) logits of the next one."""
        embeddings_TD, added_TD = self._graphs.embed(ids), self._added_TD
        if added_TD is not None:
            embeddings_TD = embeddings_TD + added_TD[: len(ids)]
            left_TD = added_TD[len(ids) :]
            self._added_TD = left_TD if len(left_TD) else None
        start, end = self.keys.position, self.keys.position + len(ids)
        positions_3T = np.tile(np.arange(start, end), (3, 1))
        logits_V, keys, values = self._graphs.step(
            embeddings_TD, positions_3T, self.keys, causal=True
        )
        self.keys.append(keys, values, end)
        return logits_V


def frame_positions(start: int, grid_hw: tuple[int, int]) -> NDArray[np.int64]:
    """(3, T) rotary positions of a picture between its marks, see `g2vlm_model.sequence`.

    Args:
        start: Of the start mark.
        grid_hw: Rows and columns of the picture's tokens.
    """
    rows, columns = np.indices(grid_hw).reshape(2, -1)
    inside_3T = start + 1 + np.stack((np.zeros_like(rows), rows, columns))
    ends = np.full((3, 2), (start, start + 1 + max(grid_hw)))
    return np.concatenate((ends[:, :1], inside_3T, ends[:, 1:]), axis=1)
