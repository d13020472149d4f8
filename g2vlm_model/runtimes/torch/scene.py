"""One encoded window and what its questions share.

The scene owns a preallocated cache: [prefix][geometric frames][semantic frames]. The semantic
part is appended at the first question and stays. A question works behind the held tokens and
is forgotten afterwards, so it can neither change the scene nor a later answer.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...cache import CacheMark, KeyValueCache
from ...fusion import FusedImages
from ...interface import FrameWindow, GeometryPrediction
from ...reading import GeometryReading
from .frames import FrameFeatures

__all__ = ["EncodedFrames", "TorchScene"]


@dataclass(frozen=True)
class EncodedFrames:
    """What questions about a scene stand behind.

    Args:
        cache: Keys and values of prefix, geometric frames and semantic frames.
        reading: What the semantic expert is told of the geometry; None for models without
            `geometry_feedback`.
        fused: The semantic frames that the cache holds, with geometry in them; grows with it.
    """

    cache: KeyValueCache
    reading: GeometryReading | None = None
    fused: list[FusedImages] = field(default_factory=list)

    def images(self) -> FusedImages | None:
        """All semantic frames with geometry in them; None where there is no such thing."""
        if self.reading is None or not self.fused:
            return None
        return FusedImages.joined(self.fused, self.reading)


class TorchScene:
    """A `Scene` of the torch runtime; made by `TorchRuntime.observe`.

    Attributes:
        owner: Identity of the runtime that made it.
        features: What was computed for each frame, shared with other scenes of the same frame.
        turn: Held by the question that is being answered; one at a time per scene.
        geometric_end: State of the cache behind the geometric frames; None until it has them.
        semantic_ends: State of the cache behind each semantic frame that it holds.
    """

    def __init__(
        self,
        owner: object,
        window: FrameWindow,
        geometry: GeometryPrediction,
        features: Sequence[FrameFeatures],
        latency_ms: Mapping[str, float],
    ) -> None:
        self.owner = owner
        self.features = tuple(features)
        self.turn = threading.Lock()
        self.geometric_end: CacheMark | None = None
        self.semantic_ends: list[CacheMark] = []
        self._window = window
        self._geometry = geometry
        self._latency_ms = dict(latency_ms)
        self._encoded: EncodedFrames | None = None
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
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def encoded(self) -> EncodedFrames | None:
        """What questions need; None where closed, or where no question has needed it yet."""
        return self._encoded

    @property
    def cache(self) -> KeyValueCache | None:
        """Keys and values of `encoded`."""
        encoded = self._encoded
        return None if encoded is None else encoded.cache

    def keep(self, encoded: EncodedFrames) -> None:
        """Take what ends behind the geometric frames; a closed scene takes nothing."""
        self.geometric_end = encoded.cache.mark()
        if not self._closed:
            self._encoded = encoded

    def close(self) -> None:
        """Give the cache's memory back; a running question still ends properly."""
        self._closed = True
        self._encoded = None
        self.features = ()
