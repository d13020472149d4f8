"""Brings a scene's context into the state that a question needs.

[chat prefix][geometric frames][semantic frames] is what every question stands behind. The
semantic frames are appended at a scene's first question, frame by frame, and stay. Marks that
are drawn into pictures change the semantic tokens of their frames, and with them everything
behind: such a question works on a fork of the context that is dropped afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..config import ModelConfig
from ..extras.references import Reference, find_references
from ..interface import PixelMark, SpatialQuery
from ..marks import draw_marks, question_with_marks
from ..preprocess import semantic_patches
from ..tokenizer import Tokenizer
from .context import SceneContext
from .drafts import Stopwatch
from .gate import DeviceGate
from .scene import EncodedScene

__all__ = ["SceneQuestions"]


class SceneQuestions:
    """Prepares scenes of one model for questions.

    Args:
        config: Of the model.
        tokenizer: Of its folder.
        gate: Turns on the device.
        encode_again: Makes the context of a scene whose `observe` kept none, up to its
            geometric frames; called inside a step. None where every `observe` keeps one.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        gate: DeviceGate,
        encode_again: Callable[[EncodedScene], SceneContext] | None = None,
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._gate = gate
        self._encode_again = encode_again
        self._drawn = config.mark_style == "drawn"

    def text(self, scene: EncodedScene, query: SpatialQuery) -> str:
        """The question as the model reads it: with its marks in words, unless they are drawn."""
        if self._drawn or not query.marks:
            return query.question
        return question_with_marks(query.question, query.marks, scene.sizes_hw)

    def references(
        self, scene: EncodedScene, query: SpatialQuery, text: str
    ) -> tuple[Reference, ...]:
        """Tokens of a question that name marks and frames, where the model was taught them.

        Args:
            scene: What it is about.
            query: With checked marks.
            text: From `text`.
        """
        if not self._config.reference_features:
            return ()
        return find_references(self._tokenizer, text, query.marks, scene.sizes_hw)

    @contextmanager
    def prepared(
        self, scene: EncodedScene, marks: Sequence[PixelMark], stopwatch: Stopwatch
    ) -> Iterator[SceneContext]:
        """A context to write a question and its answer into; the scene is as before afterwards.

        Called with the scene's turn held.

        Args:
            scene: Of this model.
            marks: Of the question.
            stopwatch: Asked before each step.

        Raises:
            ValueError: The scene was closed.
            Stopped: Cancelled, or out of time. Frames that are done are kept.
        """
        context = self._with_geometry(scene, stopwatch)
        self._append_semantic(scene, context, stopwatch)
        if self._drawn and marks:
            yield self._with_drawn_marks(scene, context, marks, stopwatch)
            return
        behind_frames = context.mark()
        try:
            yield context
        finally:
            context.truncate(behind_frames)

    def name(self, context: SceneContext, references: Sequence[Reference], tokens: int) -> None:
        """Let a context know what the next question's references add to it.

        Args:
            context: From `prepared`.
            references: From `references`.
            tokens: Of the question.
        """
        if self._config.reference_features:
            with self._gate.step():
                context.name(references, tokens)

    def _with_geometry(self, scene: EncodedScene, stopwatch: Stopwatch) -> SceneContext:
        """What the scene holds; made here where `observe` kept nothing for questions."""
        if scene.context is not None:
            return scene.context
        if scene.closed or not scene.features or self._encode_again is None:
            raise ValueError("scene is closed; observe the window again")
        stopwatch.check()
        with self._gate.step():
            context = self._encode_again(scene)
        scene.keep(context)
        return context

    def _append_semantic(
        self, scene: EncodedScene, context: SceneContext, stopwatch: Stopwatch
    ) -> None:
        """Append the frames that no earlier question has appended."""
        end = scene.semantic_ends[-1] if scene.semantic_ends else scene.geometric_end
        assert end is not None, "a context without geometric frames"
        context.truncate(end)  # whatever an interrupt left behind
        for index in range(len(scene.semantic_ends), len(scene.window)):
            self._append_frame(scene, index, (), context, stopwatch)
            scene.semantic_ends.append(context.mark())

    def _with_drawn_marks(
        self,
        scene: EncodedScene,
        context: SceneContext,
        marks: Sequence[PixelMark],
        stopwatch: Stopwatch,
    ) -> SceneContext:
        """A fork in which the marked frames, and all behind them, are appended anew."""
        first = min(mark.frame_index for mark in marks)
        start = scene.semantic_ends[first - 1] if first else scene.geometric_end
        assert start is not None, "a context without geometric frames"
        stopwatch.check()
        with self._gate.step():
            fork = context.fork(start)
        for index in range(first, len(scene.window)):
            own = [mark for mark in marks if mark.frame_index == index]
            self._append_frame(scene, index, own, fork, stopwatch)
        return fork

    def _append_frame(
        self,
        scene: EncodedScene,
        index: int,
        marks: Sequence[PixelMark],
        context: SceneContext,
        stopwatch: Stopwatch,
    ) -> None:
        """Append one frame's semantic tokens, in one step of the device.

        Tokens of a frame that nothing is drawn into are kept with its features.
        """
        stopwatch.check()
        features = scene.features[index] if scene.features and not marks else None
        tokens_SD = None if features is None else features.semantic_SD
        rows_RC = None
        if tokens_SD is None:
            image = scene.window.frames[index].image
            picture = draw_marks(image, marks) if marks else image
            rows_RC = semantic_patches(self._config, [picture]).rows_NRC[0]
        with self._gate.step():
            if rows_RC is not None:
                tokens_SD = context.encode(rows_RC)
            context.append_frame(index, tokens_SD)
        if features is not None:
            features.semantic_SD = tokens_SD
