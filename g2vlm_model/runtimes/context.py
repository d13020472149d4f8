"""What a runtime gives for questions: one sequence per scene, to which frames and words append.

Everything that decides (which frames, which words, when to stop) is shared by the runtimes;
behind `SceneContext` stands what computes: torch modules with a torch cache, or exported graphs
with numpy arrays. A context is used by one thread at a time, inside a turn on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..extras.references import Reference
from ..interface import SpatialQuery
from ..positions import CacheMark
from .drafts import Step
from .geometry_engine import Array

__all__ = ["SceneContext"]


class SceneContext(Protocol):
    """Prefix, geometric frames, semantic frames and a question, as keys and values."""

    def mark(self) -> CacheMark:
        """The present state, for `truncate` and `fork`."""
        ...

    def truncate(self, mark: CacheMark) -> None:
        """Forget every token behind a state that it has been in."""
        ...

    def fork(self, mark: CacheMark) -> SceneContext:
        """A new context that starts as this one was in a state; this one is unchanged."""
        ...

    def encode(self, rows_RC: NDArray[np.float32]) -> Array:
        """(S, D) semantic tokens of one picture, on the device.

        Args:
            rows_RC: One picture of `preprocess.semantic_patches`.
        """
        ...

    def append_frame(self, index: int, tokens_SD: Array) -> None:
        """Append a frame's semantic tokens between their marks, geometry added to them.

        Args:
            index: Of the frame in the window.
            tokens_SD: From `encode`.
        """
        ...

    def name(self, references: Sequence[Reference], tokens: int) -> None:
        """Compute what references add to the question that is read next and to its answer.

        Args:
            references: Of the question; empty where it names nothing.
            tokens: Of the question.
        """
        ...

    def read(self, ids: Sequence[int], following: int) -> None:
        """Append the next tokens of the question.

        Args:
            ids: Token ids.
            following: Tokens of question and answer that will come behind them.
        """
        ...

    def decode(self, query: SpatialQuery) -> Iterator[Step]:
        """Decode the answer token by token, without end; the first step starts it.

        Args:
            query: How tokens are chosen.
        """
        ...
