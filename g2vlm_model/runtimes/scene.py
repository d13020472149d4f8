"""One encoded window and what its questions share.

The scene owns a context: [prefix][geometric frames][semantic frames]. The semantic part is
appended at the first question and stays. A question works behind the held tokens and is
forgotten afterwards, so it can neither change the scene nor a later answer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ..interface import FrameWindow, GeometryPrediction
from ..positions import CacheMark
from .context import SceneContext
from .drafts import Stopwatch
from .frames import FrameFeatures

__all__ = ["EncodedScene"]


class EncodedScene:
    """A `Scene` of a runtime of this project; made by its `observe`.

    Attributes:
        owner: Identity of the runtime that made it.
        features: What was computed for each frame, shared with other scenes of the same frame.
        geometric_end: State of the context behind the geometric frames; None until it has them.
        semantic_ends: State of the context behind each semantic frame that it holds.
    """

    def __init__(
        self,
        owner: object,
        window: FrameWindow,
        geometry: GeometryPrediction,
        features: Sequence[FrameFeatures],
        latency_ms: Mapping[str, float],
        overlap_N: NDArray[np.float32],
    ) -> None:
        self.owner = owner
        self.features = tuple(features)
        self.geometric_end: CacheMark | None = None
        self.semantic_ends: list[CacheMark] = []
        self._turn = threading.Lock()
        self._window = window
        self._geometry = geometry
        self._latency_ms = dict(latency_ms)
        self._overlap_N = overlap_N
        self._context: SceneContext | None = None
        self._closed = False

    @property
    def window(self) -> FrameWindow:
        """The frames that were encoded."""
        return self._window

    @property
    def geometry(self) -> GeometryPrediction:
        """What the geometric expert says; still readable after `close`."""
        return self._geometry

    @property
    def latency_ms(self) -> dict[str, float]:
        """Time of each step of the pass, and "total"."""
        return dict(self._latency_ms)

    @property
    def overlap(self) -> NDArray[np.float32]:
        """(N,) how much of each frame the newest one shows too, see `extras.overlap`."""
        return self._overlap_N

    @property
    def sizes_hw(self) -> list[tuple[int, int]]:
        """(height, width) of each frame's original picture."""
        return [(frame.image.shape[0], frame.image.shape[1]) for frame in self._window.frames]

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def context(self) -> SceneContext | None:
        """What questions need; None where closed, or where no question has needed it yet."""
        return self._context

    def keep(self, context: SceneContext) -> None:
        """Take what ends behind the geometric frames; a closed scene takes nothing."""
        self.geometric_end = context.mark()
        if not self._closed:
            self._context = context

    @contextmanager
    def turn(self, stopwatch: Stopwatch) -> Iterator[None]:
        """Be the one question that is answered; waiting can be cancelled and time out."""
        while not self._turn.acquire(timeout=0.02):
            stopwatch.check()
        try:
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        """Give the context's memory back; a running question still ends properly."""
        self._closed = True
        self._context = None
        self.features = ()
