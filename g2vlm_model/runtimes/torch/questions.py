"""Brings a scene's cache into the state that a question needs.

[chat prefix][geometric frames][semantic frames] is what every question stands behind. The
semantic frames are appended at a scene's first question, frame by frame, and stay. Marks that
are drawn into pictures change the semantic tokens of their frames, and with them everything
behind: such a question works on a fork of the cache that is dropped afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...cache import KeyValueCache
from ...interface import PixelMark, SpatialQuery
from ...marks import draw_marks, question_with_marks
from ...model import G2VLM
from ...preprocess import semantic_rows
from .answering import Stopwatch
from .caches import forked_cache
from .frames import FrameStore
from .gate import DeviceGate
from .scene import TorchScene

__all__ = ["QUESTION_TOKENS", "SceneQuestions"]

QUESTION_TOKENS = 512  # room for a question and its answer; a cache grows where it is too little


class SceneQuestions:
    """Prepares scenes of one model for questions.

    Args:
        model: In evaluation mode.
        frames: Its frame store.
        gate: Turns on the device.
        chat_prefix: Cache of the text ahead of the frames.
    """

    def __init__(
        self, model: G2VLM, frames: FrameStore, gate: DeviceGate, chat_prefix: KeyValueCache
    ) -> None:
        self._model = model
        self._frames = frames
        self._gate = gate
        self._chat_prefix = chat_prefix
        self._drawn = model.config.mark_style == "drawn"

    def text(self, scene: TorchScene, query: SpatialQuery) -> str:
        """The question as the model reads it: with its marks in words, unless they are drawn."""
        if self._drawn or not query.marks:
            return query.question
        sizes_hw = [frame.image.shape[:2] for frame in scene.window.frames]
        return question_with_marks(query.question, query.marks, sizes_hw)

    def chat_cache(self, frames: int, grid_hw: tuple[int, int]) -> KeyValueCache:
        """A cache that holds the chat prefix and has room for a scene and its questions."""
        merged = self._frames.semantic_merged_hw
        capacity = (
            self._chat_prefix.length
            + frames * (grid_hw[0] * grid_hw[1] + 2)
            + frames * (merged[0] * merged[1] + 2)
            + QUESTION_TOKENS
        )
        return forked_cache(self._model, self._chat_prefix, self._chat_prefix.mark(), capacity)

    @contextmanager
    def cache(
        self, scene: TorchScene, marks: Sequence[PixelMark], stopwatch: Stopwatch
    ) -> Iterator[KeyValueCache]:
        """A cache to write a question and its answer into; the scene is as before afterwards.

        Called with the scene's turn held.

        Args:
            scene: Of this model.
            marks: Of the question.
            stopwatch: Asked before each step.

        Raises:
            ValueError: The scene was closed.
            Stopped: Cancelled, or out of time. Frames that are done are kept.
        """
        cache = self._with_geometry(scene, stopwatch)
        self._append_semantic(scene, cache, stopwatch)
        if self._drawn and marks:
            yield self._with_drawn_marks(scene, cache, marks, stopwatch)
            return
        with cache.scratch():
            yield cache

    def _with_geometry(self, scene: TorchScene, stopwatch: Stopwatch) -> KeyValueCache:
        """The scene's cache; made here where the geometry came from the reconstruct prefix."""
        cache = scene.cache
        if cache is not None:
            return cache
        features = scene.features
        if scene.closed or not features:
            raise ValueError("scene is closed; observe the window again")
        stopwatch.check()
        with self._gate.step():
            patch = self._model.config.patch_size
            height, width = features[0].picture.shape[:2]
            grid_hw = (height // patch, width // patch)
            cache = self.chat_cache(len(features), grid_hw)
            tokens_1NPD = self._frames.geometric_tokens(features)
            self._model.geometry_pass(tokens_1NPD, grid_hw, cache=cache)
        scene.keep(cache)
        return cache

    def _append_semantic(
        self, scene: TorchScene, cache: KeyValueCache, stopwatch: Stopwatch
    ) -> None:
        """Append the frames that no earlier question has appended."""
        end = scene.semantic_ends[-1] if scene.semantic_ends else scene.geometric_end
        assert end is not None, "a cache without geometric frames"
        cache.truncate(end.length, end.position)  # whatever an interrupt left behind
        for index in range(len(scene.semantic_ends), len(scene.window)):
            self._append_frame(scene, index, (), cache, stopwatch)
            scene.semantic_ends.append(cache.mark())

    def _with_drawn_marks(
        self,
        scene: TorchScene,
        cache: KeyValueCache,
        marks: Sequence[PixelMark],
        stopwatch: Stopwatch,
    ) -> KeyValueCache:
        """A fork in which the marked frames, and all behind them, are appended anew."""
        first = min(mark.frame_index for mark in marks)
        start = scene.semantic_ends[first - 1] if first else scene.geometric_end
        assert start is not None, "a cache without geometric frames"
        stopwatch.check()
        with self._gate.step():
            fork = forked_cache(self._model, cache, start, cache.length + QUESTION_TOKENS)
        for index in range(first, len(scene.window)):
            own = [mark for mark in marks if mark.frame_index == index]
            self._append_frame(scene, index, own, fork, stopwatch)
        return fork

    def _append_frame(
        self,
        scene: TorchScene,
        index: int,
        marks: Sequence[PixelMark],
        cache: KeyValueCache,
        stopwatch: Stopwatch,
    ) -> None:
        """Append one frame's semantic tokens, in one step of the device.

        Tokens of a frame that nothing is drawn into are kept with its features.
        """
        stopwatch.check()
        features = scene.features[index] if scene.features and not marks else None
        tokens_SD = None if features is None else features.semantic_SD
        rows = None
        if tokens_SD is None:
            image = scene.window.frames[index].image
            rows = semantic_rows(self._model.config, [draw_marks(image, marks) if marks else image])
        with self._gate.step():
            if rows is not None:
                tokens_SD = self._frames.semantic_tokens(rows)
            assert tokens_SD is not None
            cache.reserve(len(tokens_SD) + 2)
            merged_hw = self._frames.semantic_merged_hw
            self._model.prefill_images(tokens_SD[None, None], merged_hw, cache)
        if features is not None:
            features.semantic_SD = tokens_SD
