# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is kept between `observe` and `ask`: everything that is cached stands in this file.

| what                                    | made by                      | lives as long as        |
|-----------------------------------------|------------------------------|-------------------------|
| a frame's resized picture               | the first window with it     | a window or scene of it |
| a frame's geometric tokens, their mean  | the first pass over it       | the same                |
| a frame's semantic tokens               | the first question about it  | the same                |
| match cues of a pair of frames          | the first pass over both     | both frames             |
| keys and values of the geometric frames | the pass over the window     | the scene               |
| keys and values of the semantic frames  | the scene's first question   | the scene               |
| keys and values of the chat prefix      | the loading of the model     | the runtime             |

The scene owns a context: [prefix][geometric frames][semantic frames]. A question works behind
the held tokens and is forgotten afterwards, so it can neither change the scene nor a later answer.

Shape letters: N frames, P patches of a frame, S merged semantic patches, D width, H W pixels.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, to_device
from numpy.typing import NDArray

from ..extras.references import Reference
from ..interface import Frame, FrameWindow, GeometryPrediction, SpatialQuery
from ..positions import CacheMark, DecodeStep
from ..preprocess import resize_geometric
from .geometry_engine import Array

__all__ = [
    "EncodedScene",
    "FrameFeatures",
    "KnownFrames",
    "Pass",
    "SceneContext",
    "Seen",
    "Sought",
    "encoded",
    "generalised_mean",
    "pictures_of",
]

SAMPLE_STEP = 16  # rows and columns between the pixels that tell a reused buffer
TURN_POLL_S = 0.02
GEM_POWER = 3


class Sought(NamedTuple):
    """Where a question's thing was looked for.

    Attributes:
        reference: The thing.
        weight_NRC: How much each semantic token counts, by frame, row and column; sums to 1.
    """

    reference: Reference
    weight_NRC: NDArray[np.float32]


class SceneContext(ABC):
    """Prefix, geometric frames, semantic frames and a question, as keys and values.

    Behind it stands what computes: torch modules with a torch cache, or exported graphs with
    numpy arrays. Used by one thread at a time, inside a turn on the device.

    Args:
        keys: Of prefix and geometric frames.
        reading: What the semantic expert is told of the geometry; None for models without
            `geometry_feedback`.

    Attributes:
        fused: The semantic frames that the keys hold, with geometry in them, in order; empty
            without a reading.
        sought: The things of the question that was named last.
    """

    def __init__(self, keys: Any, reading: Any) -> None:
        self.keys = keys
        self.reading = reading
        self.fused: list[Any] = []
        self.sought: tuple[Sought, ...] = ()
        self._added_TD: Array | None = None
        self._next_V: Array | None = None

    def mark(self) -> CacheMark:
        """The present state, for `truncate` and `fork`."""
        mark: CacheMark = self.keys.mark()
        return mark

    def truncate(self, mark: CacheMark) -> None:
        """Forget every token behind a state that it has been in."""
        self.keys.truncate(mark.length, mark.position)

    @abstractmethod
    def fork(self, mark: CacheMark) -> SceneContext:
        """A new context that starts as this one was in a state; this one is unchanged."""

    @abstractmethod
    def encode(self, rows_RC: NDArray[np.float32]) -> Array:
        """(S, D) semantic tokens of one picture (of `preprocess.semantic_patches`)."""

    @abstractmethod
    def append_frame(self, index: int, tokens_SD: Array) -> None:
        """Append the semantic tokens of frame `index` between their marks, geometry added."""

    def name(self, references: Sequence[Reference], tokens: int) -> None:
        """Compute what references add to the question of so many tokens that is read next."""
        assert self.fused, "references of a scene without images"
        self._added_TD, self.sought = self._added(references, tokens)

    def read(self, ids: Sequence[int], following: int) -> None:
        """Append the next tokens of the question; the last of all is the start of its answer.

        Args:
            ids: Token ids.
            following: Tokens of question and answer that will come behind them.
        """
        added_TD = self._added_TD
        if added_TD is not None:
            left_TD = added_TD[len(ids) :]
            self._added_TD = left_TD if len(left_TD) else None
            added_TD = added_TD[: len(ids)]
        self._next_V = self._appended(ids, added_TD, following)

    @abstractmethod
    def decode(self, query: SpatialQuery) -> Iterator[DecodeStep]:
        """Decode the answer behind what was read, as the query wants it, without end."""

    @abstractmethod
    def _added(
        self, references: Sequence[Reference], tokens: int
    ) -> tuple[Array, tuple[Sought, ...]]:
        """(tokens + 1, D) what references add to a question and its answer's start; its things."""

    @abstractmethod
    def _appended(self, ids: Sequence[int], added_TD: Array | None, following: int) -> Array:
        """Append words and what is added to them; (V,) logits of the next one."""


class FrameFeatures:
    """Of one frame at one size of the model's picture.

    Args:
        frame: What it was made of; its array is not kept.
        size_hw: Of the model's picture.

    Attributes:
        picture: (H, W, 3) uint8, resized.
        geometric_PD: Tokens of the geometric encoder, on the device; None until encoded.
        mean_D: Their generalised mean, see `TokenScene`; None until encoded.
        semantic_SD: Tokens of the semantic encoder, on the device; None until a question.
        cues: What the search for matches found of this frame in others that are in use.
    """

    def __init__(self, frame: Frame, size_hw: tuple[int, int]) -> None:
        self.picture = resize_geometric(frame.image, size_hw)
        self.geometric_PD: Array | None = None
        self.mean_D: NDArray[np.float32] | None = None
        self.semantic_SD: Array | None = None
        self.cues: weakref.WeakKeyDictionary[FrameFeatures, Array] = weakref.WeakKeyDictionary()
        self._shape = frame.image.shape
        self._image = weakref.ref(frame.image)
        self._sample = _sampled(frame.image)

    def check(self, frame: Frame) -> None:
        """Refuse another picture under the same key.

        The same array is compared by a sample of its pixels, which tells a buffer that is filled
        anew; another array by what the model would see of it.

        Raises:
            ValueError: The pixels differ.
        """
        image = frame.image
        same = image.shape == self._shape and np.array_equal(_sampled(image), self._sample)
        if same and self._image() is not image:
            seen = resize_geometric(image, (self.picture.shape[0], self.picture.shape[1]))
            same = np.array_equal(seen, self.picture)
        if not same:
            raise ValueError(
                f"frame {frame.key!r}: a frame with this key and other pixels is in use; a key "
                "stands for one picture, give each picture a key of its own"
            )


class KnownFrames:
    """Finds features of frames that are in use, or makes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: weakref.WeakValueDictionary[object, FrameFeatures] = (
            weakref.WeakValueDictionary()
        )
        self._newest: tuple[FrameFeatures, ...] = ()

    def of_window(
        self,
        window: FrameWindow,
        size_hw: tuple[int, int],
        semantic_hw: tuple[int, int] | None = None,
    ) -> list[FrameFeatures]:
        """Features of the frames of what becomes the newest window; needs no device.

        Args:
            window: The frames.
            size_hw: Of the model's pictures.
            semantic_hw: Of the semantic encoder's, where that is not the same for all windows.

        Raises:
            ValueError: A frame's key is in use for other pixels.
        """
        features = [self._of_frame(frame, size_hw, semantic_hw) for frame in window.frames]
        with self._lock:
            self._newest = tuple(features)
        return features

    def _of_frame(
        self, frame: Frame, size_hw: tuple[int, int], semantic_hw: tuple[int, int] | None
    ) -> FrameFeatures:
        name = (frame.camera, frame.key, size_hw, semantic_hw)
        with self._lock:
            found = self._known.get(name)
        if found is not None:
            found.check(frame)
            return found
        features = FrameFeatures(frame, size_hw)
        with self._lock:
            return self._known.setdefault(name, features)


class Seen(NamedTuple):
    """A window as a pass reads it, with the features of its frames.

    Attributes:
        grid_hw: Rows and columns of geometric patches.
    """

    window: FrameWindow
    features: list[FrameFeatures]
    grid_hw: tuple[int, int]

    @property
    def first_hw(self) -> tuple[int, int]:
        """(height, width) of the first picture, as it came."""
        height, width = self.window.frames[0].image.shape[:2]
        return height, width


class Pass(NamedTuple):
    """What a pass over a window finds.

    Attributes:
        geometry: What the heads say.
        overlap_N: See `Scene.overlap`.
        context: What questions need, up to the geometric frames; or what makes it at the first
            question, inside a turn on the device.
    """

    geometry: GeometryPrediction
    overlap_N: NDArray[np.float32]
    context: SceneContext | Callable[[], SceneContext]


class EncodedScene:
    """A `Scene` of a runtime of this project; made by its `observe`.

    Args:
        owner: Identity of the runtime that made it.
        seen: What the pass read; features are shared with other scenes of the same frame.
        found: By the pass.
        latency_ms: Of the pass.

    Attributes:
        context: What questions need; None where closed, or where no question has needed it yet.
        ends: States of the context behind the geometric frames, and behind each semantic frame
            that it holds.
        closed: Whether `close` was called.
    """

    def __init__(
        self, owner: object, seen: Seen, found: Pass, latency_ms: dict[str, float]
    ) -> None:
        self.owner = owner
        self.window = seen.window
        self.geometry = found.geometry
        self.overlap = found.overlap_N
        self.features = tuple(seen.features)
        means = [one.mean_D for one in seen.features if one.mean_D is not None]
        self.tokens = np.stack(means) if len(means) == len(seen.features) else None
        self.context: SceneContext | None = None
        self.ends: list[CacheMark] = []
        self.closed = False
        self._turn = threading.Lock()
        self.latency_ms = latency_ms
        self._make: Callable[[], SceneContext] | None = None
        if callable(found.context):
            self._make = found.context
        else:
            self._keep(found.context)

    @property
    def sizes_hw(self) -> list[tuple[int, int]]:
        """(height, width) of each frame's original picture."""
        return [(frame.image.shape[0], frame.image.shape[1]) for frame in self.window.frames]

    def made_context(self) -> SceneContext:
        """The context; made here where `observe` kept nothing for questions. Uses the device.

        Raises:
            ValueError: The scene was closed.
        """
        context, make = self.context, self._make
        if context is not None:
            return context
        if make is None:
            raise ValueError("the scene is closed; observe its window again")
        return self._keep(make())

    @contextmanager
    def turn(self, check: Callable[[], None]) -> Iterator[None]:
        """Be the one question that is answered; `check` may end the waiting by raising."""
        while not self._turn.acquire(timeout=TURN_POLL_S):
            check()
        try:
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        """Give the context's memory back; a running question still ends properly."""
        self.closed = True
        self.context = self._make = None
        self.features = ()

    def _keep(self, context: SceneContext) -> SceneContext:
        """Take what ends behind the geometric frames; a closed scene takes nothing."""
        self.ends = [context.mark()]
        if not self.closed:
            self.context = context
        return context


def pictures_of(features: Sequence[FrameFeatures]) -> NDArray[np.uint8]:
    """(N, H, W, 3) pictures, C-contiguous."""
    return np.stack([one.picture for one in features])


def encoded(
    features: Sequence[FrameFeatures], encode: Callable[[NDArray[np.uint8]], Array]
) -> Array:
    """(N, P, D) geometric tokens; only frames without tokens are encoded.

    Args:
        features: Of a window's frames.
        encode: (N, H, W, 3) pictures to (N, P, D) tokens; uses the device.
    """
    missing = [one for one in features if one.geometric_PD is None]
    if missing:
        tokens_NPD = encode(pictures_of(missing))
        xp = array_namespace(tokens_NPD)
        means_ND = generalised_mean(tokens_NPD)
        for one, tokens_PD, mean_D in zip(missing, tokens_NPD, means_ND, strict=True):
            # Each owns its memory: a view would keep that of all.
            one.geometric_PD = xp.asarray(tokens_PD, copy=True) if missing[1:] else tokens_PD
            one.mean_D = mean_D.copy()
    tokens = [one.geometric_PD for one in features]
    return array_namespace(*tokens).stack(tokens)


def generalised_mean(tokens_NPD: Array) -> NDArray[np.float32]:
    """(N, D) third power mean over the patches of what is positive (Radenovic et al. 2018)."""
    xp = array_namespace(tokens_NPD)
    positive_NPD = xp.clip(xp.astype(tokens_NPD, xp.float32), 1e-6, None)
    mean_ND = xp.mean(positive_NPD**GEM_POWER, axis=1) ** (1 / GEM_POWER)
    return np.asarray(to_device(mean_ND, "cpu"), np.float32)


def _sampled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy of every so many rows and columns."""
    sample: NDArray[np.uint8] = image[::SAMPLE_STEP, ::SAMPLE_STEP].copy()
    return sample
