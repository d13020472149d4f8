"""`observe` windows, `ask` about scenes: what every runtime shares, without its framework.

An `Executor` computes; this class checks what comes in, hands out turns, forms the structured
answer, and says so where memory runs out. One geometric pass serves geometry and questions:
its keys and values stay in the scene, and a question prefills only its own words.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from ..interface import (
    AnswerStatus,
    FrameWindow,
    ObservationCancelledError,
    RuntimeInfo,
    Scene,
    SpatialAnswer,
    SpatialQuery,
)
from .drafts import Draft, Stopped, Stopwatch
from .gate import DeviceGate
from .scene import EncodedScene

__all__ = ["MAX_FRAMES", "Executor", "SceneRuntime"]

MAX_FRAMES = 24  # the longest sequence of the published training
SHORTAGE_WORDS = (
    *("out of memory", "can't allocate memory", "not enough memory"),
    *("Failed to allocate memory", "bad_alloc", "bad allocation"),
)

T = TypeVar("T")


class Executor(Protocol):
    """A loaded model: everything that holds memory of the device; dropped by `close`."""

    def observe(self, window: FrameWindow, owner: object) -> EncodedScene:
        """Encode a window; takes an `observation` turn of the gate where it needs the device."""
        ...

    def read(self, scene: Any, query: SpatialQuery) -> Any:
        """A question's words as the model reads them; needs no device.

        Raises:
            ValueError: The question spells a special token.
        """
        ...

    def write(
        self,
        scene: Any,
        question: Any,
        query: SpatialQuery,
        draft: Draft,
        stopwatch: Stopwatch,
        on_text: Callable[[str], None] | None,
    ) -> None:
        """Answer a question; takes a `step` turn of the gate for each piece of work.

        Called with the scene's turn held; leaves the scene as it was.

        Args:
            scene: From `observe`.
            question: From `read`.
            query: With checked marks.
            draft: Filled as the answer grows.
            stopwatch: Asked before each step.
            on_text: Called with the text so far after each token.

        Raises:
            Stopped: Cancelled, or out of time.
        """
        ...

    def close(self) -> None:
        """Give memory back that is not freed by being dropped; a question may still be running."""
        ...


class SceneRuntime:
    """A `SpatialRuntime` around an executor; thread-safe.

    Args:
        load: Makes the executor and says what runs; is given the gate that hands out turns.
        place: Device, for messages.
        release: Gives memory back to the device that nothing uses any more.
        max_frames: Longest window that is accepted.

    Raises:
        RuntimeError: The model does not fit into the device's memory.
    """

    def __init__(
        self,
        load: Callable[[DeviceGate], tuple[Any, RuntimeInfo]],
        place: str,
        release: Callable[[], None] = lambda: None,
        max_frames: int = MAX_FRAMES,
    ) -> None:
        self._place = place
        self._release = release
        self._max_frames = max_frames
        self._owner = object()
        self._gate = DeviceGate()
        self._lock = threading.Lock()
        self._scenes: weakref.WeakSet[EncodedScene] = weakref.WeakSet()
        executor, info = self._guarded("loading the model", lambda: load(self._gate))
        self._executor: Executor | None = executor
        self._info = info

    @property
    def info(self) -> RuntimeInfo:
        """What really runs."""
        return self._info

    def note_fallback(self, reason: str) -> None:
        """Have `info` say why this runs in the place of something better."""
        reasons = "; ".join(filter(None, (reason, self._info.fallback_reason)))
        self._info = replace(self._info, fallback_reason=reasons)

    def observe(self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None) -> Scene:
        """Encode a window once; waits for at most one step of a running question.

        Args:
            window: Within `info.limits`.
            cancelled: Asked before the pass; True ends it.

        Raises:
            ObservationCancelledError: `cancelled` said so.
            ValueError: More frames than the model takes, or a picture of an extreme shape.
            RuntimeError: Out of memory, numbers that are not finite, or the runtime is closed.
        """
        executor = self._open_executor()
        if cancelled is not None and cancelled():
            raise ObservationCancelledError("the observation was cancelled")
        if len(window) > self._max_frames:
            raise ValueError(
                f"window has {len(window)} frames, the model takes at most {self._max_frames}; "
                "give fewer keyframes"
            )
        scene = self._guarded("observing a window", lambda: executor.observe(window, self._owner))
        with self._lock:
            self._scenes.add(scene)
            closed = self._executor is None
        if closed:  # while the window was being encoded
            scene.close()
        return scene

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
        executor = self._open_executor()
        stopwatch = Stopwatch(query, cancelled)
        own = self._own(scene)
        own.window.check_marks(query.marks)
        question = executor.read(own, query)
        draft, status = Draft(), AnswerStatus.TRUNCATED

        def work() -> None:
            with own.turn(stopwatch):
                executor.write(own, question, query, draft, stopwatch, on_text)

        try:
            self._guarded("answering a question", work)
        except Stopped as stop:
            status = stop.status
        if draft.ended:
            status = AnswerStatus.OK
        return self._answer(query, draft, status, stopwatch.seconds)

    def close(self) -> None:
        """Give the model's memory back when a running question ends; scenes keep geometry."""
        with self._gate.observation():
            with self._lock:
                executor, self._executor = self._executor, None
                scenes = list(self._scenes)
            if executor is not None:
                executor.close()
        if executor is not None:
            del executor
            for scene in scenes:  # what they hold for questions holds the model
                scene.close()
            self._release_memory()

    def _answer(
        self, query: SpatialQuery, draft: Draft, status: AnswerStatus, total_s: float
    ) -> SpatialAnswer:
        """What has been written, and how it ended."""
        read_s = total_s if draft.read_s is None else draft.read_s
        messages = {
            AnswerStatus.OK: "",
            AnswerStatus.TRUNCATED: f"the answer was cut after max_tokens={query.max_tokens}",
            AnswerStatus.TIMEOUT: f"the answer was not ready within {query.max_seconds} s",
            AnswerStatus.CANCELLED: "the question was cancelled",
        }
        return SpatialAnswer(
            status=status,
            message=messages[status],
            text=draft.text,
            confidence=draft.confidence,
            prefill_ms=read_s * 1e3,
            decode_ms=(total_s - read_s) * 1e3,
            tokens=len(draft.ids),
            model_id=self._info.model_id,
        )

    def _open_executor(self) -> Executor:
        executor = self._executor
        if executor is None:
            raise RuntimeError("the runtime is closed; load it again")
        return executor

    def _own(self, scene: Scene) -> EncodedScene:
        """The scene, if it is this runtime's and open."""
        if not isinstance(scene, EncodedScene) or scene.owner is not self._owner:
            raise ValueError(
                "the scene was made by another runtime; ask the runtime that observed it"
            )
        if scene.closed:
            raise ValueError("the scene is closed; observe its window again")
        return scene

    def _guarded(self, doing: str, work: Callable[[], T]) -> T:
        """Run work; where memory runs out, free what it took and say so.

        The new error is raised outside the handler: it must not keep the old one's frames, and
        with them the arrays, alive.
        """
        try:
            return work()
        except MemoryError as error:
            problem = str(error) or "MemoryError"
        except RuntimeError as error:
            problem = str(error)
            if not any(words in problem for words in SHORTAGE_WORDS):
                raise
        self._release_memory()
        raise RuntimeError(
            f"{doing} ran out of memory on {self._place}: {problem.splitlines()[0]} "
            "Use fewer frames, close scenes that are not needed, or a smaller precision"
        )

    def _release_memory(self) -> None:
        gc.collect()
        self._release()
