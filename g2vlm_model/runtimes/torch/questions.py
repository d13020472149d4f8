"""Brings a scene's cache into the state that a question needs.

[chat prefix][geometric frames][semantic frames] is what every question stands behind. The
semantic frames are appended at a scene's first question, frame by frame, and stay. Marks that
are drawn into pictures change the semantic tokens of their frames, and with them everything
behind: such a question works on a fork of the cache that is dropped afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from ...cache import KeyValueCache
from ...fusion import FusedImages
from ...generate import read_frames
from ...interface import PixelMark, SpatialQuery
from ...marks import draw_marks, question_with_marks
from ...model import G2VLM
from ...preprocess import semantic_rows
from ...references import Reference, find_references, reference_features
from ...tokenizer import Tokenizer
from .answering import Stopwatch
from .caches import forked_cache
from .frames import FrameStore
from .gate import DeviceGate
from .scene import EncodedFrames, TorchScene

__all__ = ["QUESTION_TOKENS", "SceneQuestions"]

QUESTION_TOKENS = 512  # room for a question and its answer; a cache grows where it is too little


class SceneQuestions:
    """Prepares scenes of one model for questions.

    Args:
        model: In evaluation mode.
        tokenizer: Of its folder.
        frames: Its frame store.
        gate: Turns on the device.
        chat_prefix: Cache of the text ahead of the frames.
    """

    def __init__(
        self,
        model: G2VLM,
        tokenizer: Tokenizer,
        frames: FrameStore,
        gate: DeviceGate,
        chat_prefix: KeyValueCache,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._frames = frames
        self._gate = gate
        self._chat_prefix = chat_prefix
        self._drawn = model.config.mark_style == "drawn"

    def text(self, scene: TorchScene, query: SpatialQuery) -> str:
        """The question as the model reads it: with its marks in words, unless they are drawn."""
        if self._drawn or not query.marks:
            return query.question
        return question_with_marks(query.question, query.marks, _sizes_hw(scene))

    def references(
        self, scene: TorchScene, query: SpatialQuery, text: str
    ) -> tuple[Reference, ...]:
        """Tokens of a question that name marks and frames, where the model was taught them.

        Args:
            scene: What it is about.
            query: With checked marks.
            text: From `text`.
        """
        if not self._model.config.reference_features:
            return ()
        return find_references(self._tokenizer, text, query.marks, _sizes_hw(scene))

    def added(
        self, encoded: EncodedFrames, references: Sequence[Reference], tokens: int
    ) -> Tensor | None:
        """What references add to a question and its answer's start; None is nothing.

        Args:
            encoded: From `prepared`.
            references: From `references`.
            tokens: Of the question.

        Returns:
            (1, tokens + 1, D).
        """
        if not self._model.config.reference_features:
            return None
        with self._gate.step():
            images = encoded.images()
            assert images is not None, "references of a scene without images"
            named = reference_features(self._model, images, [references], [tokens], tokens + 1)
            return named.added_MTD

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
    def prepared(
        self, scene: TorchScene, marks: Sequence[PixelMark], stopwatch: Stopwatch
    ) -> Iterator[EncodedFrames]:
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
        encoded = self._with_geometry(scene, stopwatch)
        self._append_semantic(scene, encoded, stopwatch)
        if self._drawn and marks:
            yield self._with_drawn_marks(scene, encoded, marks, stopwatch)
            return
        with encoded.cache.scratch():
            yield encoded

    def _with_geometry(self, scene: TorchScene, stopwatch: Stopwatch) -> EncodedFrames:
        """What the scene holds; made here where its geometry came from the reconstruct prefix."""
        if scene.encoded is not None:
            return scene.encoded
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
            hidden = self._model.geometry_pass(tokens_1NPD, grid_hw, cache=cache)
            pixels = self._frames.head_pixels(features)
            reading = read_frames(self._model, hidden, grid_hw, pixels)
        encoded = EncodedFrames(cache, reading)
        scene.keep(encoded)
        return encoded

    def _append_semantic(
        self, scene: TorchScene, encoded: EncodedFrames, stopwatch: Stopwatch
    ) -> None:
        """Append the frames that no earlier question has appended."""
        cache = encoded.cache
        end = scene.semantic_ends[-1] if scene.semantic_ends else scene.geometric_end
        assert end is not None, "a cache without geometric frames"
        cache.truncate(end.length, end.position)  # whatever an interrupt left behind
        for index in range(len(scene.semantic_ends), len(scene.window)):
            images = self._append_frame(scene, index, (), encoded, stopwatch)
            if images is not None:
                encoded.fused[index:] = [images]
            scene.semantic_ends.append(cache.mark())

    def _with_drawn_marks(
        self,
        scene: TorchScene,
        encoded: EncodedFrames,
        marks: Sequence[PixelMark],
        stopwatch: Stopwatch,
    ) -> EncodedFrames:
        """A fork in which the marked frames, and all behind them, are appended anew."""
        first = min(mark.frame_index for mark in marks)
        start = scene.semantic_ends[first - 1] if first else scene.geometric_end
        assert start is not None, "a cache without geometric frames"
        stopwatch.check()
        cache = encoded.cache
        with self._gate.step():
            fork = forked_cache(self._model, cache, start, cache.length + QUESTION_TOKENS)
        forked = EncodedFrames(fork, encoded.reading)
        for index in range(first, len(scene.window)):
            own = [mark for mark in marks if mark.frame_index == index]
            self._append_frame(scene, index, own, forked, stopwatch)
        return forked

    def _append_frame(
        self,
        scene: TorchScene,
        index: int,
        marks: Sequence[PixelMark],
        encoded: EncodedFrames,
        stopwatch: Stopwatch,
    ) -> FusedImages | None:
        """Append one frame's semantic tokens, in one step of the device.

        Tokens of a frame that nothing is drawn into are kept with its features. What the
        geometry adds to them depends on the window; it is returned where there is any.
        """
        stopwatch.check()
        features = scene.features[index] if scene.features and not marks else None
        tokens_SD = None if features is None else features.semantic_SD
        rows = None
        if tokens_SD is None:
            image = scene.window.frames[index].image
            rows = semantic_rows(self._model.config, [draw_marks(image, marks) if marks else image])
        cache, reading, merged_hw = encoded.cache, encoded.reading, self._frames.semantic_merged_hw
        with self._gate.step():
            if rows is not None:
                tokens_SD = self._frames.semantic_tokens(rows)
            assert tokens_SD is not None
            cache.reserve(len(tokens_SD) + 2)
            tokens_11SD, images, cameras_11D = tokens_SD[None, None], None, None
            if reading is not None:
                images = self._model.fuse_images(tokens_11SD, merged_hw, reading.frame(index))
                tokens_11SD, cameras_11D = images.tokens_BNSD, images.cameras_BND
            self._model.prefill_images(tokens_11SD, merged_hw, cache, cameras_11D)
        if features is not None:
            features.semantic_SD = tokens_SD
        return images


def _sizes_hw(scene: TorchScene) -> list[tuple[int, int]]:
    return [(frame.image.shape[0], frame.image.shape[1]) for frame in scene.window.frames]
