"""A loaded model on one device: `observe` windows, `ask` about scenes.

One geometric pass serves geometry and questions: its keys and values stay in the scene, and a
question prefills only its own words. What needs the device takes turns (`gate.py`); memory is
taken once per scene and given back when the scene is closed or collected.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ...cache import KeyValueCache
from ...checkpoint import load_model, model_id
from ...crosscheck import read_answer
from ...interface import (
    AnswerStatus,
    FrameWindow,
    RuntimeInfo,
    Scene,
    SpatialAnswer,
    SpatialQuery,
)
from ...measure import check_marks, points_at
from ...model import G2VLM
from ...preprocess import geometric_size
from ...reading import read_geometry
from ...tokenizer import prompt_ids
from .answering import AnswerWriter, Draft, Stopped, Stopwatch, Words
from .caches import forked_cache, prefix_cache
from .clock import StageClock
from .frames import FrameStore
from .gate import DeviceGate
from .placement import Placement
from .prediction import predict_geometry
from .questions import SceneQuestions
from .scene import EncodedFrames, TorchScene

__all__ = ["MAX_FRAMES", "TorchRuntime"]

MAX_FRAMES = 24  # the longest sequence of the published training
HEAD_CHUNK_FRAMES = 8  # bounds the heads' memory for long windows

T = TypeVar("T")


@dataclass(frozen=True)
class _Engine:
    """Everything that holds memory of the device; dropped by `close`.

    Args:
        reconstruct_prefix: Of the "published" prompt mode; None where the chat prefix serves.
    """

    model: G2VLM
    frames: FrameStore
    questions: SceneQuestions
    writer: AnswerWriter
    reconstruct_prefix: KeyValueCache | None


class TorchRuntime:
    """A `SpatialRuntime` on torch; thread-safe.

    Args:
        model: Folder, or the name of an embedded model.
        placement: Device and precision.
        prompt_mode: "shared" or "published", see `load_runtime`.
        max_frames: Longest window that is accepted.

    Raises:
        FileNotFoundError: No such folder, or a file of it is missing.
        ValueError: A damaged or unfitting file.
        RuntimeError: The model does not fit into the device's memory.
    """

    def __init__(
        self,
        model: str | Path,
        placement: Placement,
        prompt_mode: str = "shared",
        max_frames: int = MAX_FRAMES,
    ) -> None:
        self._device = placement.device
        self._max_frames = max_frames
        self._owner = object()
        self._gate = DeviceGate()
        engine = self._guarded(
            "loading the model", lambda: self._load(model, placement, prompt_mode)
        )
        self._engine: _Engine | None = engine
        self._info = RuntimeInfo(
            backend="torch",
            device=placement.description,
            precision=placement.precision,
            model_id=model_id(model),
            parameters=sum(weight.numel() for weight in engine.model.parameters()),
            fallback_reason=placement.fallback_reason,
        )

    @property
    def info(self) -> RuntimeInfo:
        """What really runs."""
        return self._info

    def observe(self, window: FrameWindow) -> Scene:
        """Encode a window once; waits for at most one step of a running question.

        Raises:
            ValueError: More frames than the model takes, or a picture of an extreme shape.
            RuntimeError: Out of memory, numbers that are not finite, or the runtime is closed.
        """
        engine = self._open_engine()
        if len(window) > self._max_frames:
            raise ValueError(
                f"window has {len(window)} frames, the model takes at most {self._max_frames}; "
                "give fewer keyframes"
            )
        return self._guarded("observing a window", lambda: self._observe(engine, window))

    def ask(
        self,
        scene: Scene,
        query: SpatialQuery,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> SpatialAnswer:
        """Answer a question about a scene; the scene is unchanged afterwards.

        Questions about one scene are answered one after the other, those about different
        scenes in turns. `query.max_seconds` counts from this call, waiting included.

        Args:
            scene: From `observe` of this runtime.
            query: The question.
            on_text: Called after each token with the text so far.
            cancelled: Asked before each step; True ends with status CANCELLED.

        Raises:
            TypeError: The query is no `SpatialQuery`.
            ValueError: A mark outside its picture or window, a scene of another runtime or a
                closed one, a question that spells a special token.
            RuntimeError: Out of memory, numbers that are not finite, or the runtime is closed.
        """
        if not isinstance(query, SpatialQuery):
            raise TypeError(
                f"query is a {type(query).__name__}, expected a SpatialQuery: "
                'ask(scene, SpatialQuery("How many chairs are there?"))'
            )
        engine = self._open_engine()
        stopwatch = Stopwatch(query, cancelled)
        own = self._own(scene)
        check_marks(own.window, query.marks)
        text = engine.questions.text(own, query)
        question_ids = engine.writer.question_ids(text)
        references = engine.questions.references(own, query, text)
        draft, status = Draft(), AnswerStatus.TRUNCATED

        def work() -> None:
            with (
                torch.inference_mode(),
                _turn(own, stopwatch),
                engine.questions.prepared(own, query.marks, stopwatch) as encoded,
            ):
                added = engine.questions.added(encoded, references, len(question_ids))
                words = Words(question_ids, added)
                engine.writer.write(draft, words, encoded.cache, query, stopwatch, on_text)

        try:
            self._guarded("answering a question", work)
        except Stopped as stop:
            status = stop.status
        if draft.ended:
            status = AnswerStatus.OK
        return self._answer(own, query, draft, status, stopwatch.seconds)

    def close(self) -> None:
        """Give the model's memory back; a running question ends first, scenes keep geometry."""
        with self._gate.observation():
            engine, self._engine = self._engine, None
        if engine is not None:
            del engine
            self._release_memory()

    def _load(self, model: str | Path, placement: Placement, prompt_mode: str) -> _Engine:
        network, tokenizer = load_model(model, placement.device, placement.dtype)
        network.requires_grad_(False)
        # Inference has no use for the global points: neither their time nor their memory.
        del network.heads.global_decoder, network.heads.global_head
        prompts = prompt_ids(tokenizer, network.config.tokens)
        frames = FrameStore(network)
        with torch.inference_mode():
            chat = prefix_cache(network, prompts.system)
            published = prompt_mode == "published"
            reconstruct = prefix_cache(network, prompts.reconstruct) if published else None
        return _Engine(
            model=network,
            frames=frames,
            questions=SceneQuestions(network, tokenizer, frames, self._gate, chat),
            writer=AnswerWriter(network, tokenizer, prompts, self._gate),
            reconstruct_prefix=reconstruct,
        )

    def _observe(self, engine: _Engine, window: FrameWindow) -> TorchScene:
        model, clock = engine.model, StageClock(self._device)
        size_hw = geometric_size(model.config, *window.frames[0].image.shape[:2])
        patch = model.config.patch_size
        grid_hw = (size_hw[0] // patch, size_hw[1] // patch)
        features = engine.frames.of_window(window, size_hw)
        clock.lap("preprocess")
        with self._gate.observation(), torch.inference_mode():
            clock.lap("wait")
            tokens_1NPD = engine.frames.geometric_tokens(features)
            clock.lap("encode")
            cache = self._geometry_cache(engine, len(window), grid_hw)
            hidden = model.geometry_pass(tokens_1NPD, grid_hw, cache=cache)
            clock.lap("expert")
            tensors = model.decode_geometry(
                hidden.hidden_BNPD,
                grid_hw,
                pixels_BN3HW=engine.frames.head_pixels(features),
                chunk_frames=HEAD_CHUNK_FRAMES,
            )
            clock.lap("heads")
            colors_NHW3 = np.stack([one.picture for one in features])
            geometry = predict_geometry(tensors, colors_NHW3, window.frames)
            reading = None
            if model.fusion is not None and engine.reconstruct_prefix is None:
                reading = read_geometry(hidden.hidden_BNPD, grid_hw, tensors)
            clock.lap("confidence")
        scene = TorchScene(self._owner, window, geometry, features, clock.read())
        if engine.reconstruct_prefix is None:
            scene.keep(EncodedFrames(cache, reading))
        return scene

    def _geometry_cache(
        self, engine: _Engine, frames: int, grid_hw: tuple[int, int]
    ) -> KeyValueCache:
        """The cache that a geometric pass runs behind: the scene's own, or one for this pass."""
        prefix = engine.reconstruct_prefix
        if prefix is None:
            return engine.questions.chat_cache(frames, grid_hw)
        capacity = prefix.length + frames * (grid_hw[0] * grid_hw[1] + 2)
        return forked_cache(engine.model, prefix, prefix.mark(), capacity)

    def _answer(
        self,
        scene: TorchScene,
        query: SpatialQuery,
        draft: Draft,
        status: AnswerStatus,
        total_s: float,
    ) -> SpatialAnswer:
        """The structured answer of what has been written."""
        marked = points_at(scene.geometry, scene.window, query.marks)
        reading = read_answer(query.question, draft.text, scene.geometry, marked)
        read_s = total_s if draft.read_s is None else draft.read_s
        messages = {
            AnswerStatus.OK: reading.note,
            AnswerStatus.TRUNCATED: f"the answer was cut after max_tokens={query.max_tokens}",
            AnswerStatus.TIMEOUT: f"the answer was not ready within {query.max_seconds} s",
            AnswerStatus.CANCELLED: "the question was cancelled",
        }
        return SpatialAnswer(
            status=status,
            message=messages[status],
            text=draft.text,
            value=reading.value,
            unit=reading.unit,
            is_metric=reading.is_metric,
            sigma=reading.sigma,
            points=marked.world[marked.found],
            labels=tuple(np.array(marked.labels, dtype=object)[marked.found]),
            confidence=draft.confidence,
            cross_check=reading.cross_check,
            measured_value=reading.measured_value,
            prefill_ms=read_s * 1e3,
            decode_ms=(total_s - read_s) * 1e3,
            tokens=len(draft.ids),
            model_id=self._info.model_id,
        )

    def _open_engine(self) -> _Engine:
        engine = self._engine
        if engine is None:
            raise RuntimeError("the runtime is closed; load it again")
        return engine

    def _own(self, scene: Scene) -> TorchScene:
        """The scene, if it is this runtime's and open."""
        if not isinstance(scene, TorchScene) or scene.owner is not self._owner:
            raise ValueError(
                "the scene was made by another runtime; ask the runtime that observed it"
            )
        if scene.closed:
            raise ValueError("the scene is closed; observe its window again")
        return scene

    def _guarded(self, doing: str, work: Callable[[], T]) -> T:
        """Run work; where memory runs out, free what it took and say so.

        The new error is raised outside the handler: it must not keep the old one's frames, and
        with them the tensors, alive.
        """
        try:
            return work()
        except (torch.OutOfMemoryError, MemoryError) as error:
            problem = str(error)
        except RuntimeError as error:
            problem = str(error)
            if "can't allocate memory" not in problem and "not enough memory" not in problem:
                raise
        self._release_memory()
        raise RuntimeError(
            f"{doing} ran out of memory on {self._device}: {problem.splitlines()[0]} "
            "Use fewer frames, close scenes that are not needed, or a smaller precision"
        )

    def _release_memory(self) -> None:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


@contextmanager
def _turn(scene: TorchScene, stopwatch: Stopwatch) -> Iterator[None]:
    """Hold a scene's turn; a question that waits for it can be cancelled and time out."""
    while not scene.turn.acquire(timeout=0.02):
        stopwatch.check()
    try:
        yield
    finally:
        scene.turn.release()
